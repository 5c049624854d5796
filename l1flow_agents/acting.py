"""Acting: plans, their execution chunk by chunk, and stable-baselines3's contract of `predict`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from gymnasium import spaces

from l1flow_agents.checks import read_as
from l1flow_agents.errors import ObservationError
from l1flow_agents.kinds import Count, Whole
from l1flow_agents.noise import standard_normal
from l1flow_agents.policy import ChunkPolicy, to_tensor
from l1flow_agents.replaying import ReplayedPlans
from l1flow_agents.settings import AgentSettings
from l1flow_agents.spaces import Observation, keyed_spaces, read_observation
from l1flow_agents.state import EARLIER, NOTHING_SEEN, PLANS, SEED, USED, Layout, State, begin_episodes, remember


class Actor:
    """Acts with a policy, and holds no memory: all that it remembers of an environment is in the state it returns.

    Attributes:
        policy: the weights, on ``device``.
        observation_space, action_space: of one environment.
        spaces_by_key: boxes of observations in alphabetical order; a bare box is called ``observation``.
        settings: what the policy is made of; ``horizon``, ``n_obs_steps`` and ``n_action_steps`` are its lengths.
    """

    def __init__(
        self,
        policy: ChunkPolicy,
        observation_space: spaces.Box | spaces.Dict,
        action_space: spaces.Box,
        device: torch.device,
    ) -> None:
        self.policy, self._device = policy.to(device).eval().requires_grad_(False), device
        self._replayed = ReplayedPlans(self.policy) if device.type == "cuda" else None
        self.observation_space, self.action_space = observation_space, action_space
        self.spaces_by_key = keyed_spaces(observation_space)
        chunk = (self.n_action_steps, *action_space.shape)
        self._layout = Layout(self.spaces_by_key, self.n_obs_steps, chunk, action_space.dtype)

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def settings(self) -> AgentSettings:
        return self.policy.settings

    @property
    def horizon(self) -> int:
        return self.settings.horizon

    @property
    def n_obs_steps(self) -> int:
        return self.settings.n_obs_steps

    @property
    def n_action_steps(self) -> int:
        return self.settings.n_action_steps

    def predict(
        self,
        observation: Observation,
        state: State | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, State]:
        """The next action of every environment; stable-baselines3's contract for recurrent policies.

        With the returned ``state`` passed back, a chunk is planned when the last one is used up, in one batch for
        the environments that need it. Without it, every call plans anew from this observation alone.

        Args:
            observation: one observation, or a batch of n of them (for a dict, each key with n rows). Images may
                also come channels-first; other numbers may have any whole or floating dtype.
            state: what the last call returned, None at first.
            episode_start: (n,) bool; True forgets what environment i saw and planned before.
            deterministic: True draws the noise of an episode's k-th plan from a fixed seed, the same in every
                environment and episode, so that equal observations give equal actions. False takes the noise stream
                of ``state``, seeded from torch's global generator where ``state`` is None; it goes on over episodes.

        Returns:
            Action (action_dim,) or (n, action_dim), clipped to the action space, and the next state.

        Raises:
            ObservationError: names key, expected and given shape or dtype, or a value that is not finite.
        """
        observations, n, single = read_observation(observation, self.spaces_by_key)
        counters, chunk, *history = self._layout.new(n) if state is None else self._layout.check(state, n)
        counters, chunk = counters.copy(), chunk.copy()
        if episode_start is not None:
            begin_episodes(counters, episode_start)
        fresh = counters[:, USED] == NOTHING_SEEN
        history = remember(history, observations, fresh)

        waiting = fresh | (counters[:, USED] >= self.n_action_steps)
        if waiting.any():
            due = slice(None) if waiting.all() else waiting  # a slice copies nothing
            rows = {key: past[due] for key, past in zip(self.spaces_by_key, history, strict=True)}
            planned = self._plan(rows, self._noise_of(counters[due], deterministic))
            chunk[due] = planned[:, : self.n_action_steps]
            counters[due, USED] = 0
            counters[due, PLANS] += 1
        action = chunk[np.arange(n), counters[:, USED]]
        counters[:, USED] += 1
        return (action[0] if single else action), (counters, chunk, *history)

    def predict_chunk(self, observation: Observation, deterministic: bool = False) -> np.ndarray:
        """The whole plan for this observation alone, for those who execute it themselves.

        Returns:
            (horizon - n_obs_steps + 1, action_dim), or (n, ...) for a batch: the first row is the action for now.
            The first ``n_action_steps`` rows are what `predict` would execute.
        """
        observations, n, single = read_observation(observation, self.spaces_by_key)
        counters, _, *history = self._layout.new(n)
        history = remember(history, observations, np.ones(n, bool))
        rows = dict(zip(self.spaces_by_key, history, strict=True))
        chunk = self._plan(rows, self._noise_of(counters, deterministic))
        return chunk[0] if single else chunk

    def sample(self, observation: Observation, n: int, seed: int = 0) -> np.ndarray:
        """``n`` independent plans for one observation, to see the modes: (n, horizon - n_obs_steps + 1, action_dim)."""
        observations, _, single = read_observation(observation, self.spaces_by_key)
        if not single:
            raise ObservationError("sample expects one observation, got a batch")
        n, seed = read_as(Count, n, "sample", "n"), read_as(Whole, seed, "sample", "seed")
        history = remember(self._layout.new(1)[2:], observations, np.ones(1, bool))
        repeated = {key: past.repeat(n, axis=0) for key, past in zip(self.spaces_by_key, history, strict=True)}
        return self._plan(repeated, self.noise(np.full(n, seed), np.arange(n)))

    def plan(
        self,
        history: Mapping[str, np.ndarray],
        noise: np.ndarray,
        settled: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> np.ndarray:
        """Plans from full histories and given noise; what every way of acting comes down to.

        Args:
            history: (n, n_obs_steps, *shape) a key, oldest first.
            noise: (n, horizon, action_dim) standard normal.
            settled: what the plans continue, as real-time chunking does (arXiv 2506.07339): actions shaped as the
                result, and weights (n, horizon - n_obs_steps + 1) from 1, settled, to 0, free.

        Returns:
            (n, horizon - n_obs_steps + 1, action_dim), clipped to the action space; row 0 is the action for now.
        """
        recorded = self._replayed if settled is None else None
        where = torch.device("cpu") if recorded else self.device  # a recording has buffers of its own
        tensors = {key: to_tensor(array, where) for key, array in history.items()}
        if recorded:
            planned = recorded.plan(tensors, to_tensor(noise, where))
        else:
            planned = self.policy.plan(tensors, to_tensor(noise, where), self._from_the_past(settled))
        chunk = planned.cpu().numpy()[:, self.n_obs_steps - 1 :]
        if self.action_space.dtype.kind != "f":
            chunk = chunk.round()
        return chunk.clip(self.action_space.low, self.action_space.high)

    def noise(self, seeds: np.ndarray, plans: np.ndarray) -> np.ndarray:
        """Standard normal (n, horizon, action_dim) float32; row i is a function of ``seeds[i], plans[i]`` alone."""
        return standard_normal((self.horizon, self.action_space.shape[0]), seeds, plans)

    def initial_state(self, n: int, noise_seeds: np.ndarray | None = None) -> State:
        """The state of ``n`` environments that have seen nothing; ``noise_seeds`` (n,) fixes what they will draw."""
        return self._layout.new(n, noise_seeds)

    def _plan(self, history: Mapping[str, np.ndarray], noise: np.ndarray) -> np.ndarray:
        """`plan` in the actions' dtype; nobody is handed an action that is no number."""
        chunk = self.plan(history, noise)
        if not np.isfinite(chunk).all():
            raise ObservationError("the plan is not finite: the observations lie too far from all that was learned")
        return chunk.astype(self.action_space.dtype, copy=False)

    def _from_the_past(self, settled: tuple[np.ndarray, np.ndarray] | None) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Rows from the first observation on, those before the newest free."""
        if settled is None:
            return None
        actions, weights = (
            np.pad(array, [(0, 0), (self.n_obs_steps - 1, 0)] + [(0, 0)] * (array.ndim - 2)) for array in settled
        )
        return to_tensor(actions, self.device), to_tensor(weights, self.device)

    def _noise_of(self, counters: np.ndarray, deterministic: bool) -> np.ndarray:
        if deterministic:
            return self.noise(np.zeros(len(counters), np.int64), counters[:, PLANS])
        return self.noise(counters[:, SEED], counters[:, PLANS] + counters[:, EARLIER])
