"""The learned part of an agent: normaliser, observation encoder, network and method as one module."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from l1flow_agents.checks import build
from l1flow_agents.data.normalizer import ACTION, Normalizer
from l1flow_agents.methods import METHODS
from l1flow_agents.methods.base import Network
from l1flow_agents.names import choose
from l1flow_agents.networks import NETWORKS, ObservationEncoder
from l1flow_agents.networks.frames import FRAME, FRAMES, check
from l1flow_agents.networks.traced import TracedNetwork
from l1flow_agents.networks.trial import made_and_tried
from l1flow_agents.networks.widening import copy_widened
from l1flow_agents.settings import AgentSettings


class ChunkPolicy(nn.Module):
    """Observations in, action chunks out, both in the environment's units.

    Args:
        observation_spaces: a box a key, images uint8 (H, W, C).
        action_space: (action_dim,).
        settings: network, method and lengths.
    """

    def __init__(
        self, observation_spaces: Mapping[str, spaces.Box], action_space: spaces.Box, settings: AgentSettings
    ) -> None:
        super().__init__()
        self.settings = settings
        shapes = {key: space.shape for key, space in observation_spaces.items()}
        self.chunk = chunk = (settings.horizon, action_space.shape[0])
        network = choose(settings.network, NETWORKS, "network")
        method = choose(settings.method, METHODS, "method")
        self.frame = choose(settings.frame, FRAMES, "frame") if settings.frame else None
        encoded = dict(shapes)
        if self.frame is not None:
            check(self.frame, {**shapes, ACTION: action_space.shape})
            encoded[FRAME] = (self.frame.dim,)
        make = partial(make_network, network, settings, encoded, chunk, method.told_dim)
        self.encoder, self.network = made_and_tried(
            make, encoded, settings.n_obs_steps, chunk, settings.network, method.told_dim
        )
        self._traced = TracedNetwork(self.network)
        self.normalizer = Normalizer.for_spaces(observation_spaces, action_space, self.encoder.quaternions)
        self.method = build(method, what=settings.method, settings=settings.method_kwargs)
        self.method.fit_to(*chunk, self.encoder.cond_dim)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def follow(self, teacher: ChunkPolicy) -> None:
        """Start as a copy of ``teacher``, same network and spaces, whose method this one can be distilled from."""
        for part in ("encoder", "normalizer"):
            getattr(self, part).load_state_dict(getattr(teacher, part).state_dict())
        copy_widened(teacher.network, self.network, self.chunk, self.encoder.cond_dim, self.method.told_dim)
        self.method.follow(teacher.method, teacher.network)

    def kept_state(self) -> dict[str, Tensor]:
        """The state that acting needs: all but the method's helper."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("method.helper.")}

    def encode(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Raw observations (batch, n_obs_steps, *shape) a key -> condition (batch, cond_dim)."""
        normalized = {key: self._normalized(key, value) for key, value in observations.items()}
        if self.frame is not None:
            normalized[FRAME] = self.frame.seen(observations)
        cond: Tensor = self.encoder(normalized)
        return cond

    def loss(
        self, observations: Mapping[str, Tensor], actions: Tensor, valid: Tensor, noise_samples: int = 1
    ) -> Tensor:
        """The method's loss of demonstrated chunks.

        Args:
            observations: (batch, n_obs_steps, *shape) a key.
            actions: (batch, horizon, action_dim) in the environment's units.
            valid: (batch, horizon), 0 where a step does not count.
            noise_samples: draws of noise and time for each observation; an image is encoded once for all of them.
        """
        cond = self.encode(observations)
        x1 = self._sampled_as(actions, observations)
        cond, x1, valid = (part.repeat_interleave(noise_samples, dim=0) for part in (cond, x1, valid))
        return self.method.loss(self.network, x1, cond, valid)

    @torch.inference_mode()
    def plan(
        self, observations: Mapping[str, Tensor], noise: Tensor, settled: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Chunks (batch, horizon, action_dim), one for each row of ``noise`` (same shape), not yet clipped.

        Args:
            settled: actions (batch, horizon, action_dim) that the chunks continue, and weights (batch, horizon).
        """
        if self._traced.network is not self.network:
            self._traced = TracedNetwork(self.network)
        network: Network = self._traced
        if settled is not None:
            actions, weight = settled
            network = self.method.imposing(network, self._sampled_as(actions, observations), weight)
        where = noise.device.type
        if torch.is_autocast_enabled(where):  # a caller's; plans are made in float32
            with torch.autocast(where, enabled=False):
                return self.sampled(network, observations, noise)
        return self.sampled(network, observations, noise)

    def sampled(self, network: Network, observations: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        """`plan` by whatever stands for the network."""
        chunk = self.method.sample(network, noise, self.encode(observations))
        return self.frame.left(chunk, observations) if self.frame else self.normalizer.unnormalize(ACTION, chunk)

    def _sampled_as(self, actions: Tensor, observations: Mapping[str, Tensor]) -> Tensor:
        """Actions (batch, horizon, action_dim) in the units in which the method makes them."""
        return self.frame.entered(actions, observations) if self.frame else self._normalized(ACTION, actions)

    def _normalized(self, key: str, value: Tensor) -> Tensor:
        """float32 whatever came: the one place where the environment's and the data's dtypes end."""
        value = value if value.ndim > 2 else value[..., None]  # a box of no axes is one number
        return self.normalizer.normalize(key, value).float()


def make_network(
    network: type[nn.Module],
    settings: AgentSettings,
    shapes: Mapping[str, tuple[int, ...]],
    chunk: tuple[int, int],
    told_dim: int,
) -> tuple[ObservationEncoder, nn.Module]:
    """The encoder of observations with ``shapes``, and ``network`` of chunks (horizon, action_dim), which is told
    ``told_dim`` numbers more.
    """
    encoder = build(ObservationEncoder, shapes, settings.n_obs_steps, what="encoder", settings=settings.encoder_kwargs)
    cond_dim = encoder.cond_dim + told_dim
    made = build(network, *chunk, cond_dim, what=settings.network, settings=settings.network_kwargs)
    return encoder, made


def to_tensor(array: np.ndarray, device: torch.device) -> Tensor:
    """What a policy takes: uint8 as it is, a quarter of float32 to move, and every other number as float32."""
    if array.dtype != np.uint8:
        array = array.astype(np.float32, copy=False)  # here, since torch lacks some of NumPy's dtypes and byte orders
    return torch.from_numpy(array).to(device)
