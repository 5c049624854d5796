"""The folder of a training: its logs, and the checkpoints from which it is continued."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from stable_baselines3.common.logger import Logger, make_output_format
from torch import Tensor, nn

from l1flow_agents.checkpoint import WEIGHTS, check_weights, read_config, write_agent
from l1flow_agents.errors import ConfigError
from l1flow_agents.files import replaced_folder
from l1flow_agents.training.loop import Training
from l1flow_agents.weights import fill

TRAINING = "training.safetensors"
KEPT = 2  # newest checkpoints of a run


class RunFolder:
    """``path`` with ``progress.csv``, TensorBoard's events and ``checkpoints/<step>``.

    Args:
        path: made with the first log.
        config: the ``config.yaml`` of its checkpoints, but for the number of steps done.

    Raises:
        ConfigError: it holds a run with other settings or other data.
    """

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path, self.config = path, config
        for leftover in self._checkpoints.glob(".*"):  # a kill while saving
            shutil.rmtree(leftover)
        found = checkpoints(path)
        self.newest = found[-1] if found else None
        if self.newest is not None:
            self._check_same_run(read_config(self.newest))

    def resume(self, training: Training) -> None:
        """Put ``training`` where the newest checkpoint was made; nothing where there is none."""
        if self.newest is None:
            return
        check_weights(self.newest, read_config(self.newest), training.policy.kept_state())
        fill(self.newest / WEIGHTS, training.policy.kept_state())
        trained = [parameter for parameter in training.model.parameters() if parameter.requires_grad]
        for parameter in trained:  # moments exist only after the first step; made to be filled
            training.optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        fill(self.newest / TRAINING, _tensors(training.model, training.optimizer))
        training.step = int(self.newest.name)

    def save(self, training: Training) -> None:
        """Write ``checkpoints/<step>``: the agent, and in ``training.safetensors`` all that the next step needs."""
        config = {**self.config, "training": {**self.config["training"], "steps_done": training.step}}
        with replaced_folder(self._checkpoints / f"{training.step:08d}") as folder:
            write_agent(folder, config, training.policy)
            tensors = _tensors(training.model, training.optimizer)
            on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            save_file(on_cpu, folder / TRAINING, {"step": str(training.step)})
        for outdated in checkpoints(self.path)[:-KEPT]:
            shutil.rmtree(outdated)

    def logger(self, first_step: int) -> Logger:
        """SB3's logger to ``progress.csv`` and TensorBoard; a continued run adds ``progress_<step>.csv``."""
        folder, suffix = str(self.path), f"_{first_step}" if first_step else ""
        return Logger(folder, [make_output_format(kind, folder, suffix) for kind in ("csv", "tensorboard")])

    @property
    def _checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def _check_same_run(self, found: Mapping[str, Any]) -> None:
        parts = [(found.get(p) or {}, self.config.get(p) or {}) for p in ("agent", "observation_space", "action_space")]
        parts.append((found.get("teacher") or {}, self.config.get("teacher") or {}))
        parts.append(({**found["training"], "steps_done": None}, {**self.config["training"], "steps_done": None}))
        for there, wanted in parts:
            for name in {**there, **wanted}:
                if there.get(name) != wanted.get(name):
                    raise ConfigError(
                        f"{self.path} holds a run with {name} = {there.get(name)!r}, asked for {wanted.get(name)!r}; "
                        "continue it with its own settings or choose another run directory"
                    )


def checkpoints(path: Path) -> list[Path]:
    """The checkpoints of the run in ``path``, oldest first."""
    return sorted(one for one in (path / "checkpoints").glob("[0-9]*") if one.name.isdecimal())


def newest_record(path: Path) -> dict[str, Any]:
    """What the newest checkpoint of the run in ``path`` says of its training; empty where there is none."""
    found = checkpoints(path)
    return read_config(found[-1])["training"] if found else {}


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for moment, tensor in optimizer.state[parameter].items():
            tensors[f"optimizer.{moment}.{name}"] = tensor
    return tensors
