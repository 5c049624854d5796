"""Settings of a training."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch

from l1flow_agents.data.actions import OUTSIDE
from l1flow_agents.data.symmetry import SYMMETRIES
from l1flow_agents.errors import ConfigError
from l1flow_agents.names import check_names, choose

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one training; the defaults are Diffusion Policy's, which the L1 Flow code shares."""

    batch_size: int = 256
    """Windows a gradient step."""
    learning_rate: float = 1e-4
    """Peak of the cosine, AdamW."""
    weight_decay: float = 1e-6
    warmup_steps: int = 500
    """Linear, before the cosine."""
    grad_clip: float = 1.0
    """Largest norm of the gradient, 0 for no limit."""
    ema_power: float = 0.75
    """Decay of the moving average at step k: 1 - (1 + k) ** -power, at most 0.9999."""
    history_dropout: float = 0.1
    """Share of windows whose history is replaced by the newest observation, which is all that a call of
    ``predict`` without state has."""
    noise_samples: int = 1
    """Draws of noise and flow time for each window; more of them use an expensive encoding better."""
    precision: str = "float32"
    """Of matrix products in the loss: ``bfloat16`` is faster on GPUs and on CPUs with AMX; weights stay float32."""
    symmetry: str = ""
    """A name in `data.symmetry.SYMMETRIES`: each of its maps is applied to half of the windows."""
    actions: str = "refuse"
    """Of demonstrations that lie outside the action space: ``refuse`` the data, or ``clip`` them."""
    val_fraction: float = 0.02
    """Episodes held out."""
    log_every: int = 100
    validate_every: int = 2000
    checkpoint_every: int = 1000
    seed: int = 0
    """Determines initial weights (through the agent), order of windows and every random draw."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "noise_samples", "log_every", "validate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"training: {name} must be at least 1, got {getattr(self, name)}")
        if self.symmetry:
            choose(self.symmetry, SYMMETRIES, "symmetry")
        choose(self.precision, PRECISIONS, "precision")
        choose(self.actions, OUTSIDE, "what to do with actions outside the action space")
        if not self.learning_rate > 0:
            raise ConfigError(f"training: learning_rate must be positive, got {self.learning_rate}")
        for name in ("history_dropout", "val_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"training: {name} must lie in [0, 1), got {getattr(self, name)}")

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> TrainingConfig:
        """From keyword arguments or YAML; an unknown name raises a ConfigError with the nearest one."""
        defaults = {field.name: field.default for field in fields(cls)}
        check_names(settings, defaults, "training")
        values: dict[str, Any] = {}
        for name, value in settings.items():
            kind = type(defaults[name])
            values[name] = str(value) if kind is str else as_number(name, value, kind)
        return cls(**values)


def as_number(name: str, value: Any, kind: type) -> Any:
    """``value`` as an int or float; YAML reads 1e-4, which lacks a dot, as text."""
    try:
        if isinstance(value, bool) or kind(value) != float(value):
            raise ValueError
        return kind(value)
    except (TypeError, ValueError):
        expected = "a whole number" if kind is int else "a number"
        raise ConfigError(f"training: {name} must be {expected}, got {value!r}") from None
