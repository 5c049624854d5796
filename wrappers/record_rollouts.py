"""Episodes as demonstrations on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from l1flow_agents.demonstration import Demonstration
from l1flow_agents.errors import ConfigError
from l1flow_agents.wrappers.episode_recorder import EpisodeRecorder


class Writer(Protocol):
    """What takes demonstrations: `l1flow_agents.data.robomimic_writer.RobomimicWriter`, a list, or your own."""

    def append(self, demonstration: Demonstration, /) -> object: ...


class RecordRollouts(EpisodeRecorder):
    """Hands every episode to a writer, such as the one of robomimic files, as soon as it is over.

    Recorded are the observations and actions that pass through here, so the place among other wrappers decides their
    form: below `Rotation6dAction`, `ActionChunk` and `ObservationHistory` they are the environment's own. A bare
    observation is recorded under the key ``observation``. ``dones`` is 1 at a success and at the last step, as in
    RoboMimic's data sets.

    An episode succeeded if any of its steps said so; one that `reset` or `close` cuts short counts as it stands.

    Args:
        env: with an action of one axis.
        writer: stays open; environments of one process may share it.
        keep: ``all``, ``success`` or ``failure``.
        success_key: the entry of ``info`` that tells success.
        get_state: the unwrapped environment -> ``{"states": (S,), "model": str}``, the flattened simulator state and
            the episode's MJCF (optional), for replays. By default the environment's own method of this name, as
            robomimic's and this library's have; without one, states have width 0, which is enough for training.

    Raises:
        ConfigError: one of the above is not so, or ``info`` had no ``success_key`` in a whole episode.
        DatasetError: an episode holds a NaN, or the writer refuses it, such as one that is not like the others.

    Example:
        >>> from l1flow_agents.data.robomimic_writer import RobomimicWriter
        >>> with RobomimicWriter("pusht.hdf5", {"env_name": "PushT-v0", "type": 2, "env_kwargs": {}}) as writer:
        ...     env = RecordRollouts(gym.make("PushT-v0", obs_type="state"), writer, keep="success")
    """

    def __init__(
        self,
        env: gym.Env,
        writer: Writer,
        keep: str = "all",
        success_key: str = "is_success",
        get_state: Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> None:
        if not isinstance(env.action_space, spaces.Box) or len(env.action_space.shape) != 1:
            raise ConfigError(f"RecordRollouts: expected actions of shape (action_dim,), got {env.action_space}")
        RecordConstructorArgs.__init__(
            self, _disable_deepcopy=True, writer=writer, keep=keep, success_key=success_key, get_state=get_state
        )
        super().__init__(env, keep, success_key)
        self.writer = writer
        own = getattr(type(self.unwrapped), "get_state", lambda env: {"states": ()})
        self._get_state: Callable[[Any], Mapping[str, Any]] = get_state or own

    def begin(self, observation: Any) -> None:
        state = self._state()
        self._observations, self._states, self._model_file = [_copy(observation)], [state["states"]], state.get("model")
        self._steps: list[tuple[np.ndarray, float, bool]] = []

    def add(self, action: Any, observation: Any, reward: float, success: bool) -> None:
        self._steps.append((np.array(action), reward, success))
        self._observations.append(_copy(observation))
        self._states.append(self._state()["states"])

    def end(self, success: bool, kept: bool) -> None:
        if not kept:
            return
        actions, rewards, dones = map(np.array, zip(*self._steps, strict=True))
        dones[-1] = True
        past = {key: np.stack([one[key] for one in self._observations]) for key in self._observations[0]}
        self.writer.append(
            Demonstration(
                observations={key: array[:-1] for key, array in past.items()},
                actions=actions,
                states=np.stack(self._states[:-1]),
                rewards=rewards,
                dones=dones,
                model_file=self._model_file,
                next_observations={key: array[1:] for key, array in past.items()},
            )
        )

    def _state(self) -> Mapping[str, Any]:
        state = self._get_state(self.unwrapped)
        if not isinstance(state, Mapping) or "states" not in state:
            raise ConfigError(f"RecordRollouts: expected get_state to return a dict with 'states', got {state!r:.80}")
        return {**state, "states": np.array(state["states"], np.float64)}


def _copy(observation: Any) -> dict[str, np.ndarray]:
    """As a dict; the environment may write into its own arrays again."""
    by_key = observation if isinstance(observation, dict) else {"observation": observation}
    return {key: np.array(value) for key, value in by_key.items()}
