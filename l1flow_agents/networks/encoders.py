"""Encoders of observations: what the robot feels and sees becomes one condition vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from l1flow_agents.errors import ConfigError
from l1flow_agents.kinds import Count, Levels, Part, Size, Whole
from l1flow_agents.networks.embedding import FourierFeatures

Turn = tuple[Whole | None, Whole, Count]
MOST_FREQUENCIES = 24  # beyond it neighbouring float32 numbers are a full turn apart


class ObservationEncoder(nn.Module):
    """Normalised observations -> condition.

    Low-dimensional keys are concatenated in alphabetical order; every image key has an encoder of its own.

    Args:
        shapes: shape of one observation a key; three axes are an image (H, W, C).
        n_obs_steps: length of the history.
        fourier: frequencies of the features of low-dimensional keys, 0 for none.
        quaternions: key -> where quaternions (xyzw) begin in it, such as ``{"object": [3, 10]}``. Each becomes the
            first two rows of its matrix (Zhou et al. 2019): q and -q are one rotation, between which simulators jump.
        turns: key -> triples (a, b, n) of its ``quaternions``: by how much part b is turned about part a's z axis, n
            times over, is shown too, as (cos, sin). A small network hardly learns this from few demonstrations of parts
            that must be aligned. n: b looks the same after an n-th of a turn. None for a: b is told in a's frame.
        channels, n_keypoints, feature_dim, crop: see `ImageEncoder`.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        n_obs_steps: int,
        *,
        fourier: Annotated[Whole, Field(le=MOST_FREQUENCIES)] = 0,
        quaternions: Mapping[str, Sequence[Whole]] | None = None,
        turns: Mapping[str, Sequence[Turn]] | None = None,
        channels: Levels = (64, 128, 256, 512),
        n_keypoints: Size = 32,
        feature_dim: Size = 64,
        crop: Part = 0.875,
    ) -> None:
        super().__init__()
        self.image_keys = sorted(key for key, shape in shapes.items() if len(shape) == 3)
        self.state_keys = sorted(key for key in shapes if key not in self.image_keys)
        self.quaternions = _checked(_lists("quaternions", quaternions), shapes)
        self.turns = _checked_turns(_lists("turns", turns), self.quaternions)
        self.fourier = FourierFeatures(fourier)
        self.images = nn.ModuleDict(
            {key: ImageEncoder(shapes[key], channels, n_keypoints, feature_dim, crop) for key in self.image_keys}
        )
        state_dim = sum(torch.Size(shapes[key]).numel() for key in self.state_keys)
        state_dim += 2 * sum(map(len, self.quaternions.values())) + 2 * sum(map(len, self.turns.values()))
        self.cond_dim = n_obs_steps * (self.fourier.out_dim(state_dim) + feature_dim * len(self.image_keys))

    def forward(self, observations: Mapping[str, Tensor]) -> Tensor:
        """(batch, n_obs_steps, *shape) a key -> (batch, cond_dim)."""
        parts = []
        if self.state_keys:
            states = [rotations_6d(observations[k].flatten(2), self.quaternions.get(k, ())) for k in self.state_keys]
            states += [turns_between(observations[k].flatten(2), turns) for k, turns in self.turns.items()]
            parts.append(self.fourier(states[0] if len(states) == 1 else torch.cat(states, dim=-1)).flatten(1))
        for key, encoder in self.images.items():
            image = observations[key]
            parts.append(encoder(image.flatten(0, 1)).view(image.shape[0], -1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def rotations_6d(x: Tensor, quaternions: Sequence[int]) -> Tensor:
    """(..., dim) with quaternions xyzw that begin at ``quaternions`` -> (..., dim + 2 a quaternion)."""
    parts, end = [], 0
    for start in quaternions:
        parts += [x[..., end:start], _two_rows(*_unit(x, start))]
        end = start + 4
    return torch.cat([*parts, x[..., end:]], dim=-1) if parts else x


def turns_between(x: Tensor, turns: Sequence[Turn]) -> Tensor:
    """(..., dim) with quaternions xyzw that begin at a and b -> (..., 2 a turn): cos and sin of b's to a, n times.

    They shrink to 0 as b's x axis leaves the plane across a's z axis.
    """
    parts = []
    for a, b, n in turns:
        ahead = _two_axes(x, b)[..., 0, :]
        seen = ahead[..., :2] if a is None else (_two_axes(x, a) * ahead[..., None, :]).sum(-1)
        parts.append(torch.view_as_real(torch.view_as_complex(seen.contiguous()) ** n))
    return torch.cat(parts, dim=-1)


def _unit(x: Tensor, start: int) -> tuple[Tensor, ...]:
    """The quaternion xyzw that begins at ``start``, made of length 1: its four numbers, (...) each."""
    return nn.functional.normalize(x[..., start : start + 4], dim=-1).unbind(-1)


def _two_rows(i: Tensor, j: Tensor, k: Tensor, w: Tensor) -> Tensor:
    """The first two rows of a unit quaternion's matrix, (..., 6)."""
    first = [1 - 2 * (j * j + k * k), 2 * (i * j - k * w), 2 * (i * k + j * w)]
    second = [2 * (i * j + k * w), 1 - 2 * (i * i + k * k), 2 * (j * k - i * w)]
    return torch.stack(first + second, dim=-1)


def _two_axes(x: Tensor, start: int) -> Tensor:
    """The x and y axis of the frame whose quaternion begins at ``start``, (..., 2, 3): rows of its inverse."""
    i, j, k, w = _unit(x, start)
    rows = _two_rows(i, j, k, -w)
    return rows.view(*rows.shape[:-1], 2, 3)


def _lists(what: str, given: Mapping[str, Sequence[Any]] | None) -> Mapping[str, Sequence[Any]]:
    """What a file may have told otherwise: a mapping of lists."""
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not all(isinstance(value, (list, tuple)) for value in given.values()):
        raise ConfigError(f"encoder: expected {what} as lists under the names of observations, got {given!r}")
    return given


def _checked(quaternions: Mapping[str, Sequence[int]], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, list[int]]:
    """Sorted, of known keys of one axis, and not overlapping."""
    for key, starts in quaternions.items():
        dim = shapes[key][0] if len(shapes.get(key, ())) == 1 else 0
        fits = all(isinstance(start, int) for start in starts) and all(
            end <= start
            for end, start in zip([0, *(start + 4 for start in sorted(starts))], [*sorted(starts), dim], strict=True)
        )
        if not fits:
            raise ConfigError(
                f"encoder: quaternions {dict(quaternions)} do not fit observations of shapes {dict(shapes)}"
            )
    return {key: sorted(starts) for key, starts in quaternions.items()}


def _checked_turns(
    turns: Mapping[str, Sequence[Turn]], quaternions: Mapping[str, Sequence[int]]
) -> dict[str, list[Turn]]:
    """Of quaternions that are known as such, without keys of none."""
    for key, triples in turns.items():
        known = quaternions.get(key, ())
        if not all(
            isinstance(one, (list, tuple))
            and len(one) == 3
            and one[0] in (None, *known)
            and one[1] in known
            and isinstance(one[2], int)
            and one[2] > 0
            for one in triples
        ):
            raise ConfigError(
                f"encoder: turns {dict(turns)} must be triples (a, b, n), quaternions {dict(quaternions)}"
            )
    return {key: list(triples) for key, triples in turns.items() if triples}


class ImageEncoder(nn.Module):
    """ResNet-18 with GroupNorm, spatial softmax and a linear layer (Diffusion Policy's encoder, from scratch).

    Args:
        shape: (H, W, C).
        channels: of the four stages. A stage halves the picture where it changes the number of channels, so
            (64, 128, 256, 512) is ResNet-18 and (32, 64, 128, 128) a light one that keeps a finer last map.
        n_keypoints: maps of the spatial softmax, each giving one (x, y).
        feature_dim: length of the output.
        crop: side of the crop as a share of the picture's: random in training, centred otherwise. 0.875 is the
            published 84 of 96.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        channels: Sequence[int],
        n_keypoints: int,
        feature_dim: int,
        crop: float,
    ) -> None:
        super().__init__()
        if not 0 < crop <= 1:
            raise ConfigError(f"encoder: crop must lie in (0, 1], got {crop}")
        height, width, depth = shape
        self.crop = (round(height * crop), round(width * crop))
        c = channels[0]
        stages: list[nn.Module] = [nn.Conv2d(depth, c, 7, 2, 3, bias=False), _norm(c), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        for dim in channels:
            stages += [_ResidualBlock(c, dim), _ResidualBlock(dim, dim)]
            c = dim
        self.resnet = nn.Sequential(*stages).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.to_keypoints = nn.Conv2d(c, n_keypoints, 1)
        self.out = nn.Linear(2 * n_keypoints, feature_dim)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, H, W, C) in [-1, 1] -> (batch, feature_dim)."""
        x = self._cropped(image).permute(0, 3, 1, 2)  # channels-last in memory, as the convolutions like it
        features: Tensor = self.out(spatial_softmax(self.to_keypoints(self.resnet(x)).float()))
        return features

    def _cropped(self, image: Tensor) -> Tensor:
        (h, w), (height, width) = self.crop, image.shape[1:3]
        if not self.training:
            top, left = (height - h) // 2, (width - w) // 2
            return image[:, top : top + h, left : left + w]
        n = len(image)
        rows = torch.randint(height - h + 1, (n, 1), device=image.device) + torch.arange(h, device=image.device)
        cols = torch.randint(width - w + 1, (n, 1), device=image.device) + torch.arange(w, device=image.device)
        return image[torch.arange(n, device=image.device)[:, None, None], rows[:, :, None], cols[:, None, :]]


def spatial_softmax(maps: Tensor) -> Tensor:
    """Feature maps (batch, K, H, W) -> expected positions (batch, 2 K) in [-1, 1] (Levine et al. 2016)."""
    n, k, h, w = maps.shape
    attention = maps.flatten(2).softmax(dim=-1).view(n, k, h, w)
    x = (attention.sum(dim=2) * torch.linspace(-1, 1, w, device=maps.device)).sum(dim=-1)
    y = (attention.sum(dim=3) * torch.linspace(-1, 1, h, device=maps.device)).sum(dim=-1)
    return torch.cat([x, y], dim=-1)


def _norm(channels: int) -> nn.GroupNorm:
    # Never BatchNorm: its running statistics and an EMA of the weights do not go together.
    return nn.GroupNorm(max(channels // 16, 1), channels)


class _ResidualBlock(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        stride = 1 if c_in == c_out else 2
        self.first = nn.Sequential(nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), _norm(c_out), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), _norm(c_out))
        same = c_in == c_out
        self.skip = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), _norm(c_out))
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(self.first(x)) + self.skip(x))
