"""L1FlowAgent: a chunked visuomotor policy with stable-baselines3's contract."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from l1flow_agents import checkpoint
from l1flow_agents.building import outlined, unfilled
from l1flow_agents.data import Episodes
from l1flow_agents.data.chunks import check_chunk_lengths
from l1flow_agents.data.normalizer import ACTION, is_image
from l1flow_agents.errors import CheckpointError, ConfigError, ObservationError
from l1flow_agents.methods import METHODS
from l1flow_agents.names import choose, plain
from l1flow_agents.policy import ChunkPolicy
from l1flow_agents.safe_yaml import one_line
from l1flow_agents.training import Callback, TrainingConfig, train
from l1flow_agents.weights import fill

State = tuple[np.ndarray, ...]
"""What `predict` returns and takes back: ``(counters, chunk, *history)``, a row an environment.

``counters`` (n, 3) int64: actions of the chunk already used (-1: nothing seen yet), noise seed, plans made.
``chunk`` (n, n_action_steps, action_dim) in the actions' dtype. Then one history (n, n_obs_steps, *shape) an
observation key, in alphabetical order.
"""
Observation = np.ndarray | Mapping[str, np.ndarray]
EnvOrSpaces = gym.Env | tuple[spaces.Space, spaces.Space]
MALFORMED = (
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    MemoryError,
)
BARE = "observation"  # the key of an observation that is an array and no dict


class L1FlowAgent:
    """An agent that plans chunks of actions with L1 Flow and learns them from demonstrations.

    Args:
        network: ``unet``, ``transformer`` or ``mlp``.
        env: an environment, or ``(observation_space, action_space)``. Observations are a box or a dict of boxes
            (images uint8, height x width x channels), actions a box of one axis.
        method: a name in ``l1flow_agents.methods.METHODS``.
        horizon: length of a chunk.
        n_obs_steps: observations that a plan looks at.
        n_action_steps: actions executed before the next plan.
        network_kwargs, encoder_kwargs, method_kwargs: settings of the network class, of `ObservationEncoder` and
            of the method class.
        seed: of the initial weights.
        device: ``auto`` takes a GPU where there is one.

    Raises:
        ConfigError: a space, name or length that cannot be used.

    Example:
        >>> box = spaces.Box(-1, 1, (3,), np.float32)
        >>> agent = L1FlowAgent("mlp", (box, box), network_kwargs={"width": 32})
        >>> action, state = agent.predict(np.zeros(3, np.float32))
        >>> action.shape
        (3,)
    """

    def __init__(
        self,
        network: str,
        env: EnvOrSpaces,
        method: str = "l1flow",
        *,
        horizon: int = 16,
        n_obs_steps: int = 2,
        n_action_steps: int = 8,
        network_kwargs: Mapping[str, Any] | None = None,
        encoder_kwargs: Mapping[str, Any] | None = None,
        method_kwargs: Mapping[str, Any] | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
    ) -> None:
        check_chunk_lengths(horizon, n_obs_steps, n_action_steps)
        self.observation_space, self.action_space = spaces_of(env)
        self.env_id, self.env_kwargs = spec_of(env)
        self.horizon, self.n_obs_steps, self.n_action_steps = horizon, n_obs_steps, n_action_steps
        self.device = pick_device(device)
        self.settings: dict[str, Any] = {
            **{"network": network, "method": method, "horizon": horizon},
            **{"n_obs_steps": n_obs_steps, "n_action_steps": n_action_steps},
            "network_kwargs": dict(network_kwargs or {}),
            "encoder_kwargs": dict(encoder_kwargs or {}),
            "method_kwargs": dict(method_kwargs or {}),
        }
        self.spaces_by_key = keyed_spaces(self.observation_space)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.policy = ChunkPolicy(
                self.spaces_by_key,
                self.action_space,
                network,
                method,
                horizon=horizon,
                n_obs_steps=n_obs_steps,
                network_kwargs=network_kwargs,
                encoder_kwargs=encoder_kwargs,
                method_kwargs=method_kwargs,
            )
        self.policy.to(self.device).eval().requires_grad_(False)
        self.num_timesteps = 0
        self.training_record: dict[str, Any] = {}
        self.score: dict[str, Any] = {}
        self.teacher: dict[str, Any] = {}  # what it was distilled from
        self._logger = Logger(None, [])
        self._env = env if isinstance(env, gym.Env) else None

    # ---- acting ---------------------------------------------------------------------------------------------------

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
                also come channels-first.
            state: what the last call returned, None at first.
            episode_start: (n,) bool; True forgets what environment i saw and planned before.
            deterministic: True draws noise from a fixed seed, the same in every environment, so that equal
                observations and states give equal actions. False takes the noise stream of ``state``, seeded from
                torch's global generator where ``state`` is None.

        Returns:
            Action (action_dim,) or (n, action_dim), clipped to the action space, and the next state.

        Raises:
            ObservationError: names key, expected and given shape or dtype, or a value that is not finite.
        """
        observations, single = self._prepare(observation)
        n = len(next(iter(observations.values())))
        counters, chunk, *history = self._checked_state(state, n) if state is not None else self.initial_state(n)
        counters, chunk = counters.copy(), chunk.copy()
        if episode_start is not None:
            counters[self._checked_starts(episode_start, n), 0] = -1
        history = self._remember(history, observations, counters[:, 0] == -1)

        due = (counters[:, 0] == -1) | (counters[:, 0] >= self.n_action_steps)
        if due.any():
            rows = {key: past[due] for key, past in zip(self.spaces_by_key, history, strict=True)}
            seeds, plans = counters[due, 1], counters[due, 2]
            planned = self.plan(rows, self.noise(seeds * (not deterministic), plans))
            chunk[due] = planned[:, : self.n_action_steps]
            counters[due, 0] = 0
            counters[due, 2] += 1
        action = chunk[np.arange(n), counters[:, 0]]
        counters[:, 0] += 1
        return (action[0] if single else action), (counters, chunk, *history)

    def predict_chunk(self, observation: Observation, deterministic: bool = False) -> np.ndarray:
        """The whole plan for this observation alone, for those who execute it themselves.

        Returns:
            (horizon - n_obs_steps + 1, action_dim), or (n, ...) for a batch: the first row is the action for now.
            The first ``n_action_steps`` rows are what `predict` would execute.
        """
        observations, single = self._prepare(observation)
        n = len(next(iter(observations.values())))
        counters, _, *history = self.initial_state(n)
        history = self._remember(history, observations, np.ones(n, bool))
        noise = self.noise(counters[:, 1] * (not deterministic), counters[:, 2])
        chunk = self.plan(dict(zip(self.spaces_by_key, history, strict=True)), noise)
        return chunk[0] if single else chunk

    def sample(self, observation: Observation, n: int, seed: int = 0) -> np.ndarray:
        """``n`` independent plans for one observation, to see the modes: (n, horizon - n_obs_steps + 1, action_dim)."""
        observations, single = self._prepare(observation)
        if not single:
            raise ObservationError("sample expects one observation, got a batch")
        history = self._remember(self.initial_state(1)[2:], observations, np.ones(1, bool))
        repeated = {key: past.repeat(n, axis=0) for key, past in zip(self.spaces_by_key, history, strict=True)}
        return self.plan(repeated, self.noise(np.full(n, seed), np.arange(n)))

    def plan(self, history: Mapping[str, np.ndarray], noise: np.ndarray) -> np.ndarray:
        """Plans from full histories and given noise; what every way of acting comes down to.

        Args:
            history: (n, n_obs_steps, *shape) a key, oldest first.
            noise: (n, horizon, action_dim) standard normal.

        Returns:
            (n, horizon - n_obs_steps + 1, action_dim), clipped to the action space; row 0 is the action for now.
        """
        tensors = {key: torch.from_numpy(array).to(self.device) for key, array in history.items()}
        chunk = self.policy.plan(tensors, torch.from_numpy(noise).to(self.device)).cpu().numpy()
        return chunk[:, self.n_obs_steps - 1 :].clip(self.action_space.low, self.action_space.high)

    def noise(self, seeds: np.ndarray, plans: np.ndarray) -> np.ndarray:
        """Standard normal (n, horizon, action_dim) float32; row i is a function of ``seeds[i], plans[i]`` alone."""
        shape = (self.horizon, self.action_space.shape[0])
        streams = (np.random.Generator(np.random.Philox(key=key)) for key in zip(seeds, plans, strict=True))
        return np.stack([stream.standard_normal(shape, np.float32) for stream in streams])

    def initial_state(self, n: int, noise_seeds: np.ndarray | None = None) -> State:
        """The state of ``n`` environments that have seen nothing; ``noise_seeds`` (n,) fixes what they will draw."""
        counters = np.zeros((n, 3), np.int64)
        counters[:, 0] = -1
        counters[:, 1] = torch.randint(1, 2**62, (n,)).numpy() if noise_seeds is None else noise_seeds
        chunk = np.zeros((n, self.n_action_steps, *self.action_space.shape), self.action_space.dtype)
        history = [np.zeros((n, self.n_obs_steps, *box.shape), box.dtype) for box in self.spaces_by_key.values()]
        return (counters, chunk, *history)

    def _prepare(self, observation: Observation) -> tuple[dict[str, np.ndarray], bool]:
        """Checked arrays (n, *shape) a key in alphabetical order, and whether a single observation was given."""
        if isinstance(observation, tuple):
            raise ObservationError(
                "expected an observation, got a tuple; did you pass (observation, info), as reset returns?"
            )
        if not isinstance(observation, Mapping):
            if isinstance(self.observation_space, spaces.Dict):
                raise ObservationError(
                    f"expected a dict with keys {list(self.spaces_by_key)}, got {type(observation).__name__}"
                )
            observation = {BARE: observation}
        arrays, singles = {}, []
        for key, space in self.spaces_by_key.items():
            if key not in observation:
                raise ObservationError(
                    f"key {key!r} is missing, expected {list(self.spaces_by_key)}, got {sorted(observation)}"
                )
            array, is_single = check_array(key, observation[key], space)
            arrays[key] = array[None] if is_single else array
            singles.append(is_single)
        lengths = {key: len(array) for key, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise ObservationError(f"expected the same number of rows for every key, got {lengths}")
        if 0 in lengths.values():
            raise ObservationError("expected at least one observation, got an empty batch")
        return arrays, all(singles)

    def _remember(
        self, history: Sequence[np.ndarray], observations: dict[str, np.ndarray], fresh: np.ndarray
    ) -> list[np.ndarray]:
        """Histories with the newest observation appended, or filled with it in the ``fresh`` rows."""
        updated = []
        for past, newest in zip(history, observations.values(), strict=True):
            newest = newest[:, None]
            pushed = np.concatenate([past[:, 1:], newest], axis=1) if self.n_obs_steps > 1 else newest.copy()
            if fresh.any():
                pushed[fresh] = newest[fresh]
            updated.append(pushed)
        return updated

    def _checked_state(self, state: State, n: int) -> State:
        expected = [
            (n, 3),
            (n, self.n_action_steps, *self.action_space.shape),
            *[(n, self.n_obs_steps, *box.shape) for box in self.spaces_by_key.values()],
        ]
        given = [np.shape(part) for part in state] if isinstance(state, tuple | list) else type(state).__name__
        if given != expected:
            raise ObservationError(f"state does not belong to {n} environments of this agent: {given} not {expected}")
        return state

    @staticmethod
    def _checked_starts(episode_start: np.ndarray, n: int) -> np.ndarray:
        starts = np.atleast_1d(np.asarray(episode_start))
        if starts.shape != (n,) or starts.dtype.kind not in "bif":
            raise ObservationError(
                f"episode_start must be ({n},) booleans, got shape {starts.shape}, dtype {starts.dtype}"
            )
        return starts.astype(bool)

    @classmethod
    def from_teacher(
        cls, teacher: L1FlowAgent, method: str, method_kwargs: Mapping[str, Any] | None = None
    ) -> L1FlowAgent:
        """A copy of a trained agent with a method that `learn` distils from it: ``consistency`` or ``onedp``.

        Raises:
            ConfigError: the method learns from data alone, or from teachers of another method.
        """
        allowed = choose(method, METHODS, "method").teachers
        if teacher.settings["method"] not in allowed:
            wanted = f"a teacher of method {' or '.join(allowed)}" if allowed else "no teacher, it learns from data"
            raise ConfigError(f"{method}: expected {wanted}, got one of method {teacher.settings['method']}")
        settings: dict[str, Any] = {**teacher.settings, "method": method, "method_kwargs": dict(method_kwargs or {})}
        student = cls(env=(teacher.observation_space, teacher.action_space), device=teacher.device, **settings)
        student.env_id, student.env_kwargs = teacher.env_id, dict(teacher.env_kwargs)
        student.policy.follow(teacher.policy)
        student.policy.eval().requires_grad_(False)
        student.teacher = plain(
            {"method": teacher.settings["method"], "steps_done": teacher.num_timesteps, **teacher.training_record}
        )
        return student

    def with_method_settings(self, **changed: Any) -> L1FlowAgent:
        """The same weights under other settings of the method, such as ``n_steps`` or ``t_mid`` of its sampler."""
        settings = {**self.settings, "method_kwargs": {**self.settings["method_kwargs"], **changed}}
        other = type(self)(env=(self.observation_space, self.action_space), device=self.device, **settings)
        other.env_id, other.env_kwargs = self.env_id, dict(self.env_kwargs)
        other.policy.load_state_dict(self.policy.kept_state())
        other.num_timesteps, other.training_record, other.teacher = (
            self.num_timesteps,
            dict(self.training_record),
            dict(self.teacher),
        )
        return other

    # ---- learning -------------------------------------------------------------------------------------------------

    def learn(
        self,
        dataset: Episodes,
        total_steps: int,
        callback: Callback = None,
        progress_bar: bool = False,
        run_dir: str | os.PathLike | None = None,
        **settings: Any,
    ) -> L1FlowAgent:
        """Offline behaviour cloning: ``total_steps`` gradient steps on ``dataset``.

        Args:
            callback: stable-baselines3 callbacks, called after every gradient step; ``predict`` and ``save`` use
                the moving average of the weights.
            run_dir: folder for logs and checkpoints. A run found there is continued where it stopped.
            settings: fields of `TrainingConfig`.

        Raises:
            ConfigError: a bad setting, or ``run_dir`` holds another run.
            DatasetError: the data do not fit the spaces.
        """
        config = TrainingConfig.from_settings(settings)
        train(self, dataset, total_steps, config, callback, progress_bar, Path(run_dir) if run_dir else None)
        return self

    @property
    def logger(self) -> Logger:
        return self._logger

    def set_logger(self, logger: Logger) -> None:
        """Use an SB3 logger; `learn` with a ``run_dir`` sets its own."""
        self._logger = logger

    def get_env(self) -> VecEnv | None:
        """The environment as stable-baselines3's callbacks expect it, None if the agent was made from spaces."""
        env = self._env
        return None if env is None else DummyVecEnv([lambda: env])

    def get_vec_normalize_env(self) -> None:
        """None: normalisation is part of the agent (asked for by stable-baselines3's callbacks)."""
        return None

    # ---- saving ---------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """All but the weights, as plain values; what ``config.yaml`` holds."""
        config = {
            "agent": self.settings,
            "env": {"id": self.env_id, "kwargs": self.env_kwargs},
            "observation_space": {key: checkpoint.space_to_dict(box) for key, box in self.spaces_by_key.items()},
            "bare_observation": not isinstance(self.observation_space, spaces.Dict),
            "action_space": checkpoint.space_to_dict(self.action_space),
            "normalizer": self.policy.normalizer.kinds,
            "training": {"steps_done": self.num_timesteps, **self.training_record},
            "score": self.score,
            **({"teacher": self.teacher} if self.teacher else {}),
        }
        return plain(config)

    def save(self, path: str | os.PathLike, half: bool = False) -> None:
        """Write the checkpoint folder ``path``, replacing one that is there; ``half`` stores weights in float16."""
        checkpoint.save_agent(checkpoint.without_suffix(path), self.config(), self.policy, half)

    @classmethod
    def load(
        cls, path: str | os.PathLike, env: EnvOrSpaces | None = None, device: str | torch.device = "auto"
    ) -> L1FlowAgent:
        """An agent from a checkpoint folder, a bundled name such as ``pusht-state``, or a Hub id ``owner/name``.

        Args:
            env: optional; the spaces are compared with the checkpoint's.

        Raises:
            CheckpointError: nothing there, or it is foreign, truncated, altered or made for other spaces.
        """
        folder = checkpoint.find(path)
        config = checkpoint.read_config(folder)
        try:
            boxes = checkpoint.spaces_from_dict(config["observation_space"])
            observation_space = boxes[BARE] if config.get("bare_observation") else spaces.Dict(list(boxes.items()))
            action_space = checkpoint.spaces_from_dict({ACTION: config["action_space"]})[ACTION]
            with outlined():  # names and shapes first: nothing is allocated, read or hashed for what cannot fit
                outline = cls(env=(observation_space, action_space), device="meta", **config["agent"])
            checkpoint.check_weights(folder, config, outline.policy.kept_state())
            with unfilled():
                agent = cls(env=(observation_space, action_space), device=device, **config["agent"])
            agent.env_id, agent.env_kwargs = config["env"]["id"], dict(config["env"]["kwargs"])
            agent.training_record = dict(config.get("training") or {})
            agent.num_timesteps = int(agent.training_record.pop("steps_done", 0))
            agent.score = dict(config.get("score") or {})
            agent.teacher = dict(config.get("teacher") or {})
        except CheckpointError:
            raise
        except ConfigError as e:
            raise CheckpointError(f"{folder / checkpoint.CONFIG}: {one_line(e)}") from e
        except MALFORMED as e:
            raise CheckpointError(f"{folder / checkpoint.CONFIG}: {type(e).__name__}: {one_line(e)}") from e
        fill(folder / checkpoint.WEIGHTS, agent.policy.kept_state())
        if env is not None:
            check_same_spaces(folder, agent, env)
            agent._env = env if isinstance(env, gym.Env) else None
        return agent


def check_array(key: str, value: Any, space: spaces.Box) -> tuple[np.ndarray, bool]:
    """``value`` as an array of the space's dtype, (*shape) or (n, *shape), and whether it is a single one."""
    array = np.asarray(value)
    shape = space.shape
    if array.shape != shape and array.shape[1:] != shape and is_image(space):
        first = (shape[2], *shape[:2])  # SB3's VecTransposeImage
        if array.shape == first or array.shape[1:] == first:
            array = np.moveaxis(array, -3, -1)
    single = array.shape == shape
    if not single and (array.ndim != len(shape) + 1 or array.shape[1:] != shape):
        raise ObservationError(f"key {key!r}: expected shape {shape} or (n, {str(shape)[1:]}, got {array.shape}")
    if array.dtype != space.dtype and (is_image(space) or array.dtype.kind not in "fiu"):
        raise ObservationError(f"key {key!r}: expected dtype {space.dtype}, got {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ObservationError(f"key {key!r}: expected finite numbers, got {array[~np.isfinite(array)][0]}")
    return array.astype(space.dtype, copy=False), single


def spaces_of(env: EnvOrSpaces) -> tuple[spaces.Box | spaces.Dict, spaces.Box]:
    """The checked spaces of an environment, or of a pair."""
    pair = (env.observation_space, env.action_space) if isinstance(env, gym.Env) else env
    if not (isinstance(pair, tuple) and len(pair) == 2):
        raise ConfigError(
            f"expected an environment or (observation_space, action_space), got {type(env).__name__} {env!r}"
        )
    observation_space, action_space = pair
    parts = observation_space.spaces.values() if isinstance(observation_space, spaces.Dict) else [observation_space]
    if not parts or not all(isinstance(part, spaces.Box) for part in parts):
        raise ConfigError(f"expected observations that are a box or a dict of boxes, got {observation_space}")
    assert isinstance(observation_space, spaces.Box | spaces.Dict)
    if not (isinstance(action_space, spaces.Box) and len(action_space.shape) == 1):
        raise ConfigError(f"expected actions in a box of one axis, got {action_space}")
    for key in keyed_spaces(observation_space):
        if key == ACTION or "." in key or hasattr(torch.nn.ModuleDict(), key):
            raise ConfigError(f"observation key {key!r} is reserved or holds a dot; give it another name")
    return observation_space, action_space


def spec_of(env: EnvOrSpaces) -> tuple[str | None, dict[str, Any]]:
    """Id and keyword arguments with which the environment can be made again."""
    spec = env.spec if isinstance(env, gym.Env) else None
    if spec is None:
        return None, {}
    return spec.id, {name: value for name, value in spec.kwargs.items() if name != "render_mode"}


def keyed_spaces(observation_space: spaces.Box | spaces.Dict) -> dict[str, spaces.Box]:
    """Boxes by key in alphabetical order, also for a bare box."""
    if isinstance(observation_space, spaces.Dict):
        return {key: box for key, box in sorted(observation_space.spaces.items()) if isinstance(box, spaces.Box)}
    return {BARE: observation_space}


def check_same_spaces(folder: Path, agent: L1FlowAgent, env: EnvOrSpaces) -> None:
    """Raise CheckpointError unless the environment offers what the agent needs: its keys, and its actions."""
    observation_space, action_space = spaces_of(env)
    offered = keyed_spaces(observation_space)
    for key, box in agent.spaces_by_key.items():
        if offered.get(key) != box:
            raise CheckpointError(f"{folder}: trained with observation {key!r} = {box}, got {offered.get(key)}")
    if action_space != agent.action_space:
        raise CheckpointError(f"{folder}: trained for actions {agent.action_space}, got {action_space}")


def pick_device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
        torch.empty(0, device=picked)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from None
    return picked
