"""Affine normalisation, fitted on a data set and saved with the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from l1flow_agents.data.episodes import Episodes

ACTION = "action"
MIN_RANGE = 1e-4  # a dimension that moves less than this is a constant (Diffusion Policy's value)


class Normalizer(nn.Module):
    """Maps each key to about [-1, 1] and back: ``x * scale + offset`` a dimension.

    Kinds: ``limits`` (minimum..maximum of the data to [-1, 1], a constant dimension to 0), ``identity``, and
    ``image`` (uint8 0..255 to [-1, 1]). ``quaternions``: where in a key quaternions begin; they stay as they are.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        kinds: Mapping[str, str],
        quaternions: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.kinds = dict(kinds)
        starts = quaternions or {}
        self.affine = nn.ModuleDict(
            {key: _Affine(shape, starts.get(key, ())) for key, shape in shapes.items() if kinds[key] == "limits"}
        )

    @classmethod
    def for_spaces(
        cls,
        observation_spaces: Mapping[str, spaces.Box],
        action_space: spaces.Box,
        quaternions: Mapping[str, Sequence[int]] | None = None,
    ) -> Normalizer:
        """The kinds that fit the spaces; call `fit` before use.

        uint8 boxes are images, keys ending in ``quat`` and actions already in [-1, 1] stay as they are.
        """
        shapes = {key: space.shape for key, space in observation_spaces.items()}
        kinds = {key: _kind(key, space) for key, space in observation_spaces.items()}
        unit = bool(np.all(action_space.low == -1) and np.all(action_space.high == 1))
        shapes[ACTION] = action_space.shape
        kinds[ACTION] = "identity" if unit else "limits"
        return cls(shapes, kinds, quaternions)

    def fit(self, episodes: Episodes) -> None:
        """Set the limits from all rows of ``episodes``."""
        for key, module in self.affine.items():
            array = episodes.actions if key == ACTION else episodes.observations[key]
            assert isinstance(module, _Affine)
            module.fit(array.min(axis=0), array.max(axis=0))

    def normalize(self, key: str, x: Tensor) -> Tensor:
        if key in self.affine:
            module = self.affine[key]
            return torch.addcmul(module.offset, x.to(module.scale.dtype), module.scale)  # type: ignore[arg-type]
        return x.float() * (2 / 255) - 1 if self.kinds[key] == "image" else x

    def unnormalize(self, key: str, x: Tensor) -> Tensor:
        if key in self.affine:
            module = self.affine[key]
            return (x - module.offset) / module.scale  # type: ignore[operator]
        return (x + 1) * (255 / 2) if self.kinds[key] == "image" else x


class _Affine(nn.Module):
    scale: Tensor
    offset: Tensor

    def __init__(self, shape: tuple[int, ...], quaternions: Sequence[int]) -> None:
        super().__init__()
        self.fixed = [start + k for start in quaternions for k in range(4)]
        self.register_buffer("scale", torch.ones(shape))
        self.register_buffer("offset", torch.zeros(shape))

    def fit(self, low: np.ndarray, high: np.ndarray) -> None:
        low, high = low.astype(np.float64), high.astype(np.float64)
        constant = high - low < MIN_RANGE
        scale = np.where(constant, 1.0, 2 / np.where(constant, 1.0, high - low))
        offset = np.where(constant, -low, -1 - low * scale)
        if self.fixed:  # a box of no axes has no indices
            scale[self.fixed], offset[self.fixed] = 1.0, 0.0
        self.scale.copy_(torch.from_numpy(scale))
        self.offset.copy_(torch.from_numpy(offset))


def is_image(space: spaces.Space) -> bool:
    """A uint8 box of three axes."""
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3


def _kind(key: str, space: spaces.Space) -> str:
    if is_image(space):
        return "image"
    return "identity" if key.endswith("quat") else "limits"
