"""Frames of tasks: where things lie and actions lead, seen from one of them, so that like situations look alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from l1flow_agents.data.normalizer import ACTION
from l1flow_agents.errors import ConfigError
from l1flow_agents.layouts import LAYOUTS, PUSHT_MARK

FRAME = "frame"  # among normalised observations: what is seen in the frame
Observations = Mapping[str, Tensor]


class Frame(Protocol):
    """A frame that observations (batch, n_obs_steps, *shape) a key determine; values in it are about of size 1."""

    shapes: Mapping[str, tuple[int, ...]]
    """Of the observations that it needs and of "action"."""
    dim: int
    """Numbers that are seen in it."""

    def seen(self, observations: Observations) -> Tensor:
        """(batch, n_obs_steps, dim), each observation in its own frame."""

    def entered(self, actions: Tensor, observations: Observations) -> Tensor:
        """Actions (batch, horizon, action_dim) in the newest observation's frame."""

    def left(self, chunk: Tensor, observations: Observations) -> Tensor:
        """The inverse of `entered`."""


def check(frame: Frame, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise a ConfigError unless ``shapes``, with that of "action", has what the frame needs."""
    for key, shape in frame.shapes.items():
        if shapes.get(key) != shape:
            raise ConfigError(f"agent: this frame needs {key} {shape}; got {dict(shapes)}")


class PushTFrame:
    """PushT seen from the block: where the finger and the mark are. Actions are from the finger on.

    How a push turns and moves the block does not depend on where in the world that happens.
    """

    parts = LAYOUTS["PushT-v0"]
    shapes: Mapping[str, tuple[int, ...]] = {"state": (parts.dim,), ACTION: (2,)}
    dim = 6
    near, far = 100.0, 256.0  # pixels that are 1: of what is seen, of actions

    def seen(self, observations: Observations) -> Tensor:
        finger, block, angle = self._parts(observations)
        x, y, mark_angle = PUSHT_MARK
        mark = torch.cat([x - block[..., :1], y - block[..., 1:]], dim=-1)
        places = [_turned(place, -angle) / self.near for place in (finger - block, mark)]
        turned = angle - mark_angle
        return torch.cat([*places, turned.cos(), turned.sin()], dim=-1)

    def entered(self, actions: Tensor, observations: Observations) -> Tensor:
        finger, _, angle = (part[:, -1:] for part in self._parts(observations))
        return _turned(actions - finger, -angle) / self.far

    def left(self, chunk: Tensor, observations: Observations) -> Tensor:
        finger, _, angle = (part[:, -1:] for part in self._parts(observations))
        return _turned(chunk * self.far, angle) + finger

    def _parts(self, observations: Observations) -> tuple[Tensor, Tensor, Tensor]:
        finger, block, angle = (observations["state"].float()[..., part] for part in self.parts.values())
        return finger, block, angle


def _turned(vectors: Tensor, angle: Tensor) -> Tensor:
    """(..., 2) turned by ``angle`` (..., 1) radians."""
    x, y = vectors[..., :1], vectors[..., 1:]
    return torch.cat([angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y], dim=-1)


FRAMES: dict[str, Frame] = {"pusht": PushTFrame()}
