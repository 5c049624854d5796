"""The learned part of an agent: normaliser, observation encoder, network and method as one module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from l1flow_agents.checks import build
from l1flow_agents.data.normalizer import ACTION, Normalizer
from l1flow_agents.methods import METHODS
from l1flow_agents.names import choose
from l1flow_agents.networks import NETWORKS, ObservationEncoder
from l1flow_agents.networks.trial import check_network


class ChunkPolicy(nn.Module):
    """Observations in, action chunks out, both in the environment's units.

    Args:
        observation_spaces: a box a key, images uint8 (H, W, C).
        action_space: (action_dim,).
        network, method: names in `NETWORKS` and `METHODS`; ``*_kwargs`` are the settings of those classes.
        horizon: length of a chunk.
        n_obs_steps: length of the observation history.
    """

    def __init__(
        self,
        observation_spaces: Mapping[str, spaces.Box],
        action_space: spaces.Box,
        network: str,
        method: str,
        *,
        horizon: int,
        n_obs_steps: int,
        network_kwargs: Mapping[str, Any] | None = None,
        encoder_kwargs: Mapping[str, Any] | None = None,
        method_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        shapes = {key: space.shape for key, space in observation_spaces.items()}
        chunk = (horizon, action_space.shape[0])
        network_class = choose(network, NETWORKS, "network")

        def parts() -> tuple[ObservationEncoder, nn.Module]:
            encoder = build(ObservationEncoder, shapes, n_obs_steps, what="encoder", settings=encoder_kwargs)
            return encoder, build(network_class, *chunk, encoder.cond_dim, what=network, settings=network_kwargs)

        check_network(parts, shapes, n_obs_steps, chunk, network)
        self.encoder, self.network = parts()
        self.normalizer = Normalizer.for_spaces(observation_spaces, action_space, self.encoder.quaternions)
        self.method = build(choose(method, METHODS, "method"), what=method, settings=method_kwargs)
        self.method.fit_to(*chunk, self.encoder.cond_dim)

    def follow(self, teacher: ChunkPolicy) -> None:
        """Start as a copy of ``teacher``, same network and spaces, whose method this one can be distilled from."""
        for part in ("encoder", "normalizer", "network"):
            getattr(self, part).load_state_dict(getattr(teacher, part).state_dict())
        self.method.follow(teacher.method, teacher.network)

    def kept_state(self) -> dict[str, Tensor]:
        """The state that acting needs: all but the method's helper."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("method.helper.")}

    def encode(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Raw observations (batch, n_obs_steps, *shape) a key -> condition (batch, cond_dim)."""
        return self.encoder({key: self.normalizer.normalize(key, value) for key, value in observations.items()})

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
        cond, x1 = self.encode(observations), self.normalizer.normalize(ACTION, actions)
        cond, x1, valid = (part.repeat_interleave(noise_samples, dim=0) for part in (cond, x1, valid))
        return self.method.loss(self.network, x1, cond, valid)

    @torch.inference_mode()
    def plan(self, observations: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        """Chunks (batch, horizon, action_dim), one for each row of ``noise`` (same shape), not yet clipped."""
        chunk = self.method.sample(self.network, noise, self.encode(observations))
        return self.normalizer.unnormalize(ACTION, chunk)
