"""Settings of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field

from l1flow_agents.checks import DATACLASS, read_as
from l1flow_agents.data.actions import OUTSIDE
from l1flow_agents.data.hindsight import HINDSIGHT
from l1flow_agents.data.symmetry import SYMMETRIES
from l1flow_agents.kinds import Count, Few, NotNegative, Positive, Share, Whole
from l1flow_agents.names import choose
from l1flow_agents.training.precision import Precision

C = TypeVar("C", bound="TrainingConfig")


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one training; the defaults are Diffusion Policy's, which the L1 Flow code shares."""

    __pydantic_config__ = DATACLASS

    batch_size: Annotated[Count, Field(le=2**20)] = 256
    """Windows a gradient step."""
    learning_rate: Positive = 1e-4
    """Peak of the cosine, AdamW."""
    betas: tuple[Share, Share] | None = None
    """Of AdamW; by default the method's: (0.95, 0.999), and OneDP's (0, 0.999)."""
    weight_decay: NotNegative = 1e-6
    """Of AdamW."""
    warmup_steps: Whole = 500
    """Linear, before the cosine."""
    grad_clip: NotNegative = 1.0
    """Largest norm of the gradient, 0 for no limit."""
    ema_power: Positive = 0.75
    """Decay of the moving average at step k: 1 - (1 + k) ** -power, at most 0.9999."""
    history_dropout: Share = 0.1
    """Share of windows whose history is replaced by the newest observation, which is all that a call of ``predict``
    without state has."""
    noise_samples: Few = 1
    """Draws of noise and flow time for each window; more of them use an expensive encoding better."""
    precision: Precision = "auto"
    """Of matrix products in the loss; weights stay float32. ``auto`` takes what is faster on the device."""
    symmetry: str = ""
    """A name in `data.symmetry.SYMMETRIES`: each of its maps is applied to half of the windows."""
    hindsight: str = ""
    """A name in `data.hindsight.HINDSIGHT`: demonstrations are moved, each as a whole, to end exactly at the goal."""
    idle: Share = 0.0
    """Steps are left out in which no number of the observations goes farther than this share of its range, 0 for none;
    see `data.idle.moving_rows`."""
    actions: str = "refuse"
    """Of demonstrations that lie outside the action space: ``refuse`` the data, or ``clip`` them."""
    val_fraction: Share = 0.02
    """Episodes held out."""
    log_every: Count = 100
    """Gradient steps between rows of the log."""
    validate_every: Count = 2000
    """Gradient steps between losses on the episodes held out."""
    checkpoint_every: Count = 1000
    """Gradient steps between checkpoints, from which an interrupted run goes on."""
    seed: Whole = 0
    """Determines order of windows and every random draw, and in an experiment the initial weights too."""

    def __post_init__(self) -> None:
        if self.symmetry:
            choose(self.symmetry, SYMMETRIES, "symmetry")
        if self.hindsight:
            choose(self.hindsight, HINDSIGHT, "hindsight")
        choose(self.actions, OUTSIDE, "what to do with actions outside the action space")

    @classmethod
    def from_settings(cls: type[C], settings: Mapping[str, Any]) -> C:
        """From keyword arguments or YAML.

        Raises:
            ConfigError: names every setting that is unknown, with the nearest one, or out of range.
        """
        config: C = read_as(cls, settings, name="training")
        return config
