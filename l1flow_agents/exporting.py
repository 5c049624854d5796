"""An agent's plan as one file for other programs: ONNX, or torch.export's. Nothing here is ever loaded as an agent."""

from __future__ import annotations

import copy
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from l1flow_agents.acting import Actor
from l1flow_agents.errors import ConfigError
from l1flow_agents.files import replacing
from l1flow_agents.policy import to_tensor
from l1flow_agents.spaces import kept_dtype

SUFFIXES = {".onnx": "onnx", ".pt2": "torch"}
METADATA = "l1flow_agents"  # the name under which a file tells what it is
TOLERANCE = 1e-5  # between a file's plan and the agent's, as a part of the plan's largest number or of 1
CHECKED_BATCHES = 1, 3
MOST_ROWS = 4096  # of a batch, as torch.export wants to know

Inputs = tuple[dict[str, Tensor], Tensor]
Runner = Callable[[Mapping[str, np.ndarray], np.ndarray], np.ndarray]


class ExportedPlan(nn.Module):
    """What `Actor.plan` computes, as one module of tensors: a copy of the weights, on the CPU."""

    low: Tensor
    high: Tensor

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        self.policy = copy.deepcopy(actor.policy).cpu()
        self.policy.method.helper = None  # only training needs it
        self.n_obs_steps, self.whole = actor.n_obs_steps, actor.action_space.dtype.kind != "f"
        for name in ("low", "high"):
            self.register_buffer(name, to_tensor(getattr(actor.action_space, name), torch.device("cpu")))

    def forward(self, history: dict[str, Tensor], noise: Tensor) -> Tensor:
        chunk = self.policy.sampled(self.policy.network, history, noise)[:, self.n_obs_steps - 1 :]
        return (chunk.round() if self.whole else chunk).clamp(self.low, self.high)


def export(actor: Actor, path: str | os.PathLike[str], format: str | None, metadata: Mapping[str, Any]) -> None:
    """Write the plan to ``path``, whole or not at all, once it is known to plan as the agent does.

    Raises:
        ConfigError: no such format, a package is missing, or the method's sampler cannot be written down as a graph.
    """
    path = Path(path)
    kind = SUFFIXES.get(path.suffix) if format is None else format
    if kind not in WRITERS:
        raise ConfigError(
            f"export: expected a file .onnx or .pt2, or format onnx or torch, got {path.name} and {format}"
        )
    described = json.dumps({**signature(actor), **metadata})
    with _quiet():
        program = traced(actor)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            run = WRITERS[kind](program, temporary, [*actor.spaces_by_key, "noise"], described)
            _check(actor, run)


def signature(actor: Actor) -> dict[str, Any]:
    """What a program must know to feed the file: inputs, and what to do with the output."""
    inputs = {
        key: {"shape": ["batch", actor.n_obs_steps, *box.shape], "dtype": np.dtype(kept_dtype(box)).name}
        for key, box in actor.spaces_by_key.items()
    }
    size = actor.action_space.shape[0]
    noise = {"shape": ["batch", actor.horizon, size], "dtype": "float32"}
    return {
        "inputs": {**inputs, "noise": noise},
        "output": {"plan": {"shape": ["batch", actor.horizon - actor.n_obs_steps + 1, size], "dtype": "float32"}},
        "n_obs_steps": actor.n_obs_steps,
        "n_action_steps": actor.n_action_steps,
        "action_low": actor.action_space.low.tolist(),
        "action_high": actor.action_space.high.tolist(),
    }


def traced(actor: Actor) -> torch.export.ExportedProgram:
    """The plan as a graph whose batch may have any size.

    Raises:
        ConfigError: the sampler asks for values, as those do that draw noise on their way.
    """
    batch = torch.export.Dim("batch", min=1, max=MOST_ROWS)
    history, noise = inputs(actor, 2)
    shapes = ({key: {0: batch} for key in history}, {0: batch})
    tensors = {key: torch.from_numpy(array) for key, array in history.items()}, torch.from_numpy(noise)
    try:
        with torch.no_grad():
            return torch.export.export(ExportedPlan(actor).eval(), tensors, dynamic_shapes=shapes)
    except Exception as error:  # torch's many kinds, and whatever a method of another package raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"export: method {actor.settings.method!r} with {actor.settings.method_kwargs} makes no graph; those that "
            f"draw noise on their way do not ({reason[:200]})"
        ) from error


def inputs(actor: Actor, n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Histories of ``n`` environments, drawn from where the normaliser expects them, and noise."""
    rng, history = np.random.default_rng(n), {}
    for key, box in actor.spaces_by_key.items():
        drawn = rng.uniform(-1, 1, (n, actor.n_obs_steps, *box.shape)).astype(np.float32)
        with torch.no_grad():
            array = actor.policy.normalizer.unnormalize(key, to_tensor(drawn, actor.device)).cpu().numpy()
        history[key] = array.astype(kept_dtype(box))
    return history, actor.noise(np.arange(n), np.zeros(n, np.int64))


def _write_onnx(program: torch.export.ExportedProgram, path: Path, names: list[str], described: str) -> Runner:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # torch's exporter needs it, and says so less plainly
    except ImportError as error:
        raise ConfigError(f"export: ONNX needs {error.name}: pip install 'l1flow-agents[export]'") from None
    made = torch.onnx.export(program, input_names=names, output_names=["plan"], dynamo=True, verbose=False)
    assert made is not None
    made.model.metadata_props[METADATA] = described
    made.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda history, noise: session.run(None, {**history, "noise": noise})[0]


def _write_torch(program: torch.export.ExportedProgram, path: Path, names: list[str], described: str) -> Runner:
    torch.export.save(program, path, extra_files={f"{METADATA}.json": described})
    module = torch.export.load(path).module()

    def run(history: Mapping[str, np.ndarray], noise: np.ndarray) -> np.ndarray:
        tensors = {key: torch.from_numpy(array) for key, array in history.items()}
        plan: np.ndarray = module(tensors, torch.from_numpy(noise)).numpy(force=True)
        return plan

    return run


WRITERS: dict[str | None, Callable[[torch.export.ExportedProgram, Path, list[str], str], Runner]] = {
    "onnx": _write_onnx,
    "torch": _write_torch,
}


def _check(actor: Actor, run: Runner) -> None:
    """Raise ConfigError if the file plans otherwise than the agent, in a batch of one or of several."""
    for n in CHECKED_BATCHES:
        history, noise = inputs(actor, n)
        expected, found = actor.plan(history, noise), run(history, noise)
        apart = np.abs(found - expected).max() / max(1.0, np.abs(expected).max())
        if not apart <= TOLERANCE:
            raise ConfigError(f"export: the file's plans differ from the agent's by {apart:.1e} of their size")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's notes: packages that no agent needs, and the whole graph where there is none."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
