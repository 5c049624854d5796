"""Promise: on a GPU nothing waits for the host, a step is one graph, and it learns what the plain step learns.

No GPU is needed: torch's meta device has shapes and no values, so that whoever asks it for one is caught.
"""

from __future__ import annotations

import logging
import math
import os
import warnings
from contextlib import nullcontext, suppress
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import OBSERVATION, new_agent, random_episodes
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from l1flow_agents import Episodes, L1FlowAgent, gpu_sharing
from l1flow_agents.data import ChunkSampler
from l1flow_agents.data.symmetry import SYMMETRIES
from l1flow_agents.methods import METHODS
from l1flow_agents.methods.row_noise import RowNoise, counted, digests
from l1flow_agents.training import Training, TrainingConfig, batches, step
from l1flow_agents.training.batches import HostBatches, PrefetchedBatches, ResidentBatches
from l1flow_agents.training.loop import drop_history

META = torch.device("meta")
MAKERS = {torch.tensor, torch.as_tensor, torch.from_numpy, Tensor.new_tensor}


class Waits(AssertionError):
    """A GPU would have to tell the host a value, or the host to send it one."""


class _Moved(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        places = {one.device.type for one in tensors if one.ndim} | {str((kwargs or {}).get("device") or "meta")}
        indices = [one for one in tree_leaves(args[1:2]) if isinstance(one, Tensor)] if "index" in str(func) else []
        masks = any(one.dtype in (torch.bool, torch.uint8) for one in indices)
        asked = any(name in str(func) for name in ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero"))
        if asked or masks or places != {"meta"}:
            raise Waits(f"{func} of tensors on {sorted(places)}")
        return func(*args, **(kwargs or {}))


class nothing_waits(TorchFunctionMode):
    """Raises where a tensor is made of the host's numbers, moved, or asked for its value."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        lists = func in (Tensor.__getitem__, Tensor.__setitem__) and any(
            isinstance(one, list | np.ndarray) for one in (args[1] if isinstance(args[1], tuple) else [args[1]])
        )
        if func in MAKERS or lists:
            raise Waits(f"{func.__name__}: numbers of the host")
        return func(*args, **(kwargs or {}))

    def __enter__(self):
        self.moved = _Moved()
        self.moved.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.moved.__exit__(*error)


def on_meta(method: str, **kwargs) -> L1FlowAgent:
    """An agent to be trained, on the meta device."""
    teachers = METHODS[method].teachers
    agent = new_agent(method=teachers[0] if teachers else method, method_kwargs={} if teachers else kwargs)
    if teachers:
        agent = L1FlowAgent.from_teacher(agent, method, kwargs)
        for teacher in agent.policy.method._teacher:
            teacher.to(META)
    agent.policy.to(META).train().requires_grad_(True)
    return agent


def told(agent: L1FlowAgent, n: int = 6) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    observations = {
        key: torch.empty((n, 2, *box.shape), dtype=torch.uint8 if box.dtype == np.uint8 else None, device=META)
        for key, box in agent.spaces_by_key.items()
    }
    return observations, torch.empty(n, 16, 2, device=META), torch.empty(n, 16, dtype=torch.bool, device=META)


@pytest.mark.parametrize(
    "method, kwargs",
    [
        *((name, {}) for name in ("l1flow", "flow_matching", "ddpm", "l1_regression", "edm", "consistency", "onedp")),
        *((name, {}) for name in ("mip", "shortcut")),
        *(("l1flow", {"time": time, "space": "velocity", "sampler": "euler"}) for time in ("beta", "uniform")),
        *[("ddpm", {"sampler": "ddim"}), ("edm", {"n_steps": 1}), ("consistency", {"n_steps": 3})],
        ("onedp", {"stochastic": False}),
    ],
)
def test_no_loss_and_no_sampler_waits(method, kwargs):
    agent = on_meta(method, **kwargs)
    observations, actions, valid = told(agent)
    with nothing_waits():
        agent.policy.loss(observations, actions, valid, noise_samples=2).backward()
        agent.policy.method.sample(lambda x, t, cond: x * t[:, None, None], actions, agent.policy.encode(observations))


def test_every_method_is_tried_here():
    tried = {given[0] for mark in test_no_loss_and_no_sampler_waits.pytestmark for given in mark.args[1]}
    assert tried == set(METHODS)


@pytest.mark.parametrize("network", ["mlp", "unet", "transformer"])
def test_no_network_waits(network):
    agent = new_agent(network, OBSERVATION)
    agent.policy.to(META).train().requires_grad_(True)
    observations, actions, valid = told(agent)
    with nothing_waits():
        agent.policy.loss(drop_history(observations, 0.5), actions, valid).backward()


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.any()),
        lambda x: x[x > 0],
        lambda x: x.masked_fill_(x > 0, 0).__setitem__(x > 0, 0.0),
        lambda x: x[..., [1, 0]],
        lambda x: x + torch.ones(16, 2),
        lambda x: x + torch.ones(16, 2).to(x),
        lambda x: x.cpu(),
        lambda x: x * torch.tensor([1.0, 2.0], device=x.device),
    ],
)
def test_what_waits_is_caught(wait):
    with pytest.raises((Waits, NotImplementedError, RuntimeError)), nothing_waits():
        wait(torch.empty(3, 16, 2, device=META))


# ---- data on the device -------------------------------------------------------------------------------------------


def windows_of(episodes: Episodes) -> ChunkSampler:
    return ChunkSampler(episodes, 16, 2, 8)


def task(symmetry: str, n: int = 40) -> Episodes:
    """Random demonstrations with the shapes of a symmetry's task, in float64."""
    rng = np.random.default_rng(0)
    arrays = {
        key: rng.integers(256, size=(n, *shape), dtype=np.uint8) if len(shape) == 3 else rng.normal(size=(n, *shape))
        for key, shape in SYMMETRIES[symmetry].shapes.items()
    }
    return Episodes({key: array for key, array in arrays.items() if key != "action"}, arrays["action"], [15, n])


@pytest.mark.parametrize("source", [ResidentBatches, PrefetchedBatches])
@pytest.mark.parametrize("symmetry", ["", *SYMMETRIES])
@pytest.mark.parametrize("batch_size", [7, 1000])
def test_windows_are_the_same_wherever_they_lie(source, symmetry, batch_size):
    windows = windows_of(task(symmetry or "pusht"))
    config = TrainingConfig(symmetry=symmetry, batch_size=batch_size, seed=3)
    host, other = (kind(windows, config, torch.device("cpu")) for kind in (HostBatches, source))
    for k in (0, 1, 2, 7, 40):  # through epochs, and as a run that is continued
        found = []
        for one in (host, other):
            torch.manual_seed(k)
            one.place(k)
            found.append(one.read())
        (expected, got) = found
        assert torch.equal(got.valid, expected.valid)
        torch.testing.assert_close(got.actions, expected.actions, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(got.observations, expected.observations, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("symmetry", ["", *SYMMETRIES])
def test_reading_windows_waits_for_nothing(symmetry):
    made = ResidentBatches(windows_of(task(symmetry or "pusht")), TrainingConfig(symmetry=symmetry, batch_size=5), META)
    made.place(0)
    made.read()  # constants are made once, before a capture
    with nothing_waits():
        made.read()


def test_data_that_the_card_cannot_hold_are_prefetched(monkeypatch, caplog):
    windows, config = windows_of(random_episodes(images=True)), TrainingConfig()
    needed = batches.resident_bytes(windows)
    assert needed == 62 * (24 * 20 * 3 + 4 * 3 + 4 * 2) + 24 * len(windows)
    kinds = {}
    for name in ("ResidentBatches", "PrefetchedBatches"):
        monkeypatch.setattr(batches, name, lambda *_, name=name: kinds.setdefault(name, name))
    for free in (needed / batches.RESIDENT_SHARE * 1.01, needed / batches.RESIDENT_SHARE * 0.99):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10 * free))
        with caplog.at_level(logging.INFO):
            batches.batches(windows, config, torch.device("cuda:0"))
    assert list(kinds) == ["ResidentBatches", "PrefetchedBatches"]
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith("data: 0.0 GB, prefetched")


# ---- one graph a step ---------------------------------------------------------------------------------------------


class Recorded:
    """CUDA's side of a graph, played by the CPU: a capture computes nothing, a replay fills what it returned."""

    def __init__(self, monkeypatch, waits: bool = False, error: str = "") -> None:
        self.waits, self.error, self.plain, self.replays = waits, error, 0, 0
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
        monkeypatch.setattr(step, "warmed_up", self.warmed_up)
        monkeypatch.setattr(step, "captured", self.captured)

    def warmed_up(self, once, stream):
        self.plain += 1
        return once(), self.waits

    def captured(self, once, stream):
        if self.error:
            raise RuntimeError(self.error)

        def replay():
            self.replays += 1
            return once()

        return replay


def trained(n: int = 12, graphed: bool = False, first: int = 0, **settings) -> Training:
    """A training of ``n`` steps from data that lie on the device."""
    agent, config = new_agent(), TrainingConfig(batch_size=8, warmup_steps=3, seed=2, **settings)
    training = Training(agent.policy, random_episodes(), n, config)
    if graphed:
        training.batches = ResidentBatches(training.windows, config, torch.device("cpu"))
        training._learn = step.GraphedStep(training._gradient_step, torch.device("cpu"))
        for group in training.optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float64)
    for _ in range(first, n):
        training.advance()
    return training


def test_a_graph_learns_what_the_plain_step_learns(monkeypatch):
    graph = Recorded(monkeypatch)
    plain, graphed = trained(), trained(graphed=True)
    assert (graph.plain, graph.replays) == (step.WARM_UP, 12 - step.WARM_UP)
    for one, other in zip(plain.policy.parameters(), graphed.policy.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "trouble, why, plain",
    [
        ({"waits": True}, "it waits for the GPU", step.WARM_UP),
        ({"error": "operation not permitted when stream is capturing\nand more"}, "operation not permitted", 3),
    ],
)
def test_what_cannot_be_captured_is_still_trained(trouble, why, plain, monkeypatch, caplog):
    graph = Recorded(monkeypatch, **trouble)
    with caplog.at_level(logging.INFO):
        graphed = trained(graphed=True)
    assert (graph.plain, graph.replays) == (plain, 0)
    assert len(caplog.messages) == 1 and why in caplog.messages[0] and "\n" not in caplog.messages[0]
    for one, other in zip(trained().policy.parameters(), graphed.policy.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


@pytest.fixture
def cuda(monkeypatch) -> Mock:
    """torch's CUDA calls, written down. What they do only a GPU can show."""
    fake = Mock(spec=["CUDAGraph", "Generator", *PATCHED])
    fake.default_generators = [Mock(**{"initial_seed.return_value": 7})]
    fake.get_sync_debug_mode.return_value = 0
    fake.stream.return_value = fake.graph.return_value = nullcontext()
    for name in ("CUDAGraph", *PATCHED):
        monkeypatch.setattr(torch.cuda, name, getattr(fake, name))
    monkeypatch.setattr(torch, "Generator", fake.Generator)
    return fake


PATCHED = (
    *("current_stream", "default_generators", "get_sync_debug_mode", "graph", "set_stream", "set_sync_debug_mode"),
    *("stream", "synchronize"),
)
SIDE = Mock(device=torch.device("cuda:0"))
SUMS = torch.tensor(3.0), torch.tensor(4.0)


def test_a_capture_as_torch_wants_it(cuda):
    replay = step.captured(lambda: SUMS, SIDE)
    cuda.graph.assert_called_once_with(cuda.CUDAGraph(), stream=SIDE, capture_error_mode="thread_local")
    cuda.default_generators[0].manual_seed.assert_called_once_with(7)
    made = replay()
    cuda.CUDAGraph().replay.assert_called_once_with()
    assert made == SUMS and made[0] is not SUMS[0], "a callback may keep the loss, which the next replay overwrites"


def test_a_capture_that_fails_leaves_nothing_behind(cuda):
    with pytest.raises(RuntimeError, match="not permitted"):
        step.captured(Mock(side_effect=RuntimeError("not permitted")), SIDE)
    cuda.set_stream.assert_called_once_with(cuda.current_stream())
    cuda.Generator().manual_seed.assert_called_once_with(7)
    cuda.default_generators[0].graphsafe_set_state.assert_called_once_with(cuda.Generator().graphsafe_get_state())


@pytest.mark.parametrize("waits", [True, False])
def test_a_step_that_waits_is_noticed(waits, cuda, recwarn):
    def once():
        if waits:
            warnings.warn("called a synchronizing CUDA operation (Triggered internally)", stacklevel=1)
        return SUMS

    assert step.warmed_up(once, SIDE) == (SUMS, waits)
    assert [one.args for one in cuda.set_sync_debug_mode.call_args_list] == [("warn",), (0,)]
    SIDE.wait_stream.assert_called_with(cuda.current_stream())
    cuda.current_stream().wait_stream.assert_called_with(SIDE)
    assert not recwarn.list


def test_a_whole_gradient_step_waits_for_nothing():
    """Windows, history, loss, backward, clipping: one graph on a GPU. AdamW's fused kernel is torch's own affair."""
    agent, config = new_agent(), TrainingConfig(batch_size=8)
    training = Training(agent.policy, random_episodes(), 10, config)
    training.model.to(META)
    training.batches = ResidentBatches(training.windows, config, META)
    training.optimizer = torch.optim.SGD(training.model.parameters(), lr=0.1)
    training.batches.place(0)
    with nothing_waits():
        training._gradient_step()


# ---- many processes on one GPU ------------------------------------------------------------------------------------


@pytest.fixture
def control(monkeypatch, tmp_path) -> Path:
    """A stand-in for NVIDIA's command: writes down how it was called and where its service would lie."""
    command, calls = tmp_path / gpu_sharing.CONTROL, tmp_path / "calls"
    command.write_text(f'#!/bin/sh\necho "$CUDA_MPS_PIPE_DIRECTORY $*$([ $# = 0 ] && cat)" >> {calls}\n')
    command.chmod(0o755)
    calls.touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv(gpu_sharing.PIPE, raising=False)
    monkeypatch.setattr(gpu_sharing, "is_running", lambda: False)
    return calls


@pytest.mark.parametrize("works", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_mps_is_started_and_stopped(works, fails, control, monkeypatch, caplog):
    monkeypatch.setattr(gpu_sharing, "works", lambda: works)
    with caplog.at_level(logging.INFO), suppress(ZeroDivisionError), gpu_sharing.shared_gpu(3):
        inside = os.environ.get(gpu_sharing.PIPE)
        assert len(control.read_text().splitlines()) == (1 if works else 2)
        assert fails is False or 1 / 0
    assert (inside is not None) is works and gpu_sharing.PIPE not in os.environ
    [(folder, started), (again, stopped)] = [line.split(" ") for line in control.read_text().splitlines()]
    assert folder == again and (started, stopped) == ("-d", "quit") and inside in (folder, None)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("n, runs", [(1, False), (3, True)])
def test_mps_is_left_alone(n, runs, control, monkeypatch):
    monkeypatch.setattr(gpu_sharing, "is_running", lambda: runs)
    with gpu_sharing.shared_gpu(n):
        assert control.read_text() == ""


# ---- noise of a row -----------------------------------------------------------------------------------------------


def test_counted_noise_is_standard_normal_and_a_rows_own():
    keys = digests(torch.randn(400, 16, 2))
    drawn = counted(keys, 0, 320).double()
    assert drawn.mean().item() == pytest.approx(0, abs=0.01)
    assert drawn.std().item() == pytest.approx(1, abs=0.01)
    for quantile in (0.01, 0.2, 0.5, 0.9, 0.999):
        expected = math.sqrt(2) * torch.erfinv(torch.tensor(2 * quantile - 1)).item()
        assert drawn.flatten().quantile(quantile).item() == pytest.approx(expected, abs=0.06)
    assert torch.corrcoef(drawn.T).fill_diagonal_(0).abs().max() < 0.3  # 4.5 / sqrt(400), and some
    assert torch.corrcoef(drawn).fill_diagonal_(0).abs().max() < 0.35
    assert torch.equal(counted(keys[7:8], 100, 220)[0], counted(keys, 0, 320)[7, 100:])


def test_rows_noise_is_drawn_on():
    noise = RowNoise(torch.randn(4, 16, 2))
    one, two = noise.draw(), noise.draw(3)
    assert one.shape == (1, 4, 16, 2) and two.shape == (3, 4, 16, 2)
    assert not torch.equal(one[0], two[0])
