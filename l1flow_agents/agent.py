"""ChunkAgent: a chunked visuomotor policy with stable-baselines3's contract."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from l1flow_agents import checkpoint
from l1flow_agents.acting import Actor
from l1flow_agents.building import materialize, outlined
from l1flow_agents.card import CARD, Notes, model_card
from l1flow_agents.checks import build, read_as
from l1flow_agents.data import Episodes
from l1flow_agents.data.normalizer import ACTION
from l1flow_agents.device import pick_device
from l1flow_agents.env_description import EnvDescription
from l1flow_agents.envs.described import check_described
from l1flow_agents.errors import CheckpointError, ConfigError
from l1flow_agents.files import SoleWriter, output_path
from l1flow_agents.hub import check_id, push_agent
from l1flow_agents.kinds import Count
from l1flow_agents.methods import METHODS
from l1flow_agents.methods.base import check_sampler_only
from l1flow_agents.names import choose, plain, shown
from l1flow_agents.networks import NETWORKS
from l1flow_agents.networks.parts import numbered
from l1flow_agents.policy import ChunkPolicy
from l1flow_agents.provenance import Provenance
from l1flow_agents.safe_yaml import one_line
from l1flow_agents.settings import SETTINGS, AgentSettings, check_changeable
from l1flow_agents.spaces import (
    BARE,
    EnvOrSpaces,
    check_same_spaces,
    keyed_spaces,
    opened,
    space_to_dict,
    spaces_from_dict,
    spaces_of,
)
from l1flow_agents.training import Callback, RunFolder, Training, TrainingConfig, as_callback, fitting, training_record
from l1flow_agents.training.precision import decide
from l1flow_agents.training.run_folder import newest_record
from l1flow_agents.versions import versions
from l1flow_agents.weights import fill

MALFORMED = (
    *(LookupError, TypeError, ValueError, ArithmeticError),
    *(AttributeError, AssertionError, RuntimeError, MemoryError),
)
log = logging.getLogger(__name__)


class ChunkAgent(Actor):
    """An agent that plans chunks of actions, with L1 Flow unless told otherwise, and learns from demonstrations.

    Args:
        network: ``unet``, ``transformer`` or ``mlp``.
        env: an environment, a vector of equal ones (stable-baselines3's or Gymnasium's), an id such as ``PushT-v0``,
            or ``(observation_space, action_space)``. Observations are a box or a dict of boxes (images uint8,
            height x width x channels), actions a box of one axis.
        method: a name in ``l1flow_agents.methods.METHODS``.
        horizon: length of a chunk.
        n_obs_steps: observations that a plan looks at.
        n_action_steps: actions executed before the next plan.
        frame: that a task's observations and actions are seen in, such as ``pusht``; see `networks.frames`.
        network_kwargs, encoder_kwargs, method_kwargs: settings of the network class, of `ObservationEncoder`
            (which may name parts of observations, see `networks.parts`) and of the method class.
        seed: of the initial weights.
        device: ``auto`` takes a GPU where there is one.

    Attributes:
        settings: the frozen record of all of the above but ``env``, ``seed`` and ``device``; `with_settings` makes an
            agent with others.
        provenance: the frozen record of environment, training, teacher, score and versions.

    Raises:
        ConfigError: a space, name or length that cannot be used.

    Example:
        >>> box = spaces.Box(-1, 1, (3,))
        >>> agent = ChunkAgent("mlp", (box, box), network_kwargs={"width": 32})
        >>> action, state = agent.predict([0.1, 0.2, 0.3])
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
        frame: str = "",
        network_kwargs: Mapping[str, Any] | None = None,
        encoder_kwargs: Mapping[str, Any] | None = None,
        method_kwargs: Mapping[str, Any] | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
    ) -> None:
        env, picked = opened(env), pick_device(device)
        settings = AgentSettings(
            network=network,
            method=method,
            horizon=horizon,
            n_obs_steps=n_obs_steps,
            n_action_steps=n_action_steps,
            frame=frame,
            network_kwargs=network_kwargs or {},
            encoder_kwargs=numbered(encoder_kwargs or {}, layouts_of(env)),
            method_kwargs=method_kwargs or {},
        )
        observation_space, action_space = spaces_of(env)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            policy = ChunkPolicy(keyed_spaces(observation_space), action_space, settings)
        super().__init__(policy, observation_space, action_space, picked)
        self.provenance = Provenance(env=EnvDescription.of(env), versions=versions())
        self._logger = Logger(None, [])
        self._env = env

    # ---- what it is -----------------------------------------------------------------------------------------------

    @property
    def num_timesteps(self) -> int:
        """Gradient steps done; the name is stable-baselines3's."""
        return self.provenance.steps_done

    @property
    def env_id(self) -> str | None:
        """The id by which ``gymnasium.make`` makes the agent's environment, None if it was made from spaces."""
        return self.provenance.env.usable_id if self.provenance.env else None

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """A copy of the keyword arguments with which ``gymnasium.make`` makes the agent's environment."""
        copied: dict[str, Any] = plain(self.provenance.env.kwargs) if self.provenance.env else {}
        return copied

    def make_env(self, **kwargs: Any) -> gym.Env:
        """The agent's environment again, with its step limit and wrappers; ``kwargs`` as in ``gymnasium.make``.

        Raises:
            ConfigError: it is not known, or cannot be made again; names what is in the way.
        """
        if self.provenance.env is None:
            raise ConfigError("the agent does not know its environment: it was made from spaces")
        return self.provenance.env.maker()(**kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in SETTINGS:
            check_changeable(self.settings, {name: value})
            raise ConfigError(f"{name} is frozen; agent.with_settings({name}={value!r}) gives an agent with it")
        if name == "device":
            raise ConfigError(f"device is fixed; agent.with_settings(device={str(value)!r}) gives an agent there")
        if name == "settings":
            raise ConfigError("settings are frozen; agent.with_settings(...) gives an agent with others")
        super().__setattr__(name, value)

    def with_settings(self, *, device: str | torch.device | None = None, **changes: Any) -> ChunkAgent:
        """Another agent with a copy of these weights and some settings changed; neither sees what becomes of the other.

        Args:
            device: where it acts, by default where this one does.
            changes: ``n_action_steps``, or ``method_kwargs``: those settings of the method's sampler that are to be
                others, such as ``{"n_steps": 5}``.

        Raises:
            ConfigError: a setting on which the weights depend, or a value that cannot be.

        Example:
            >>> box = spaces.Box(-1, 1, (3,))
            >>> agent = ChunkAgent("mlp", (box, box), network_kwargs={"width": 32})
            >>> agent.with_settings(n_action_steps=4, method_kwargs={"t_mid": 0.4}).n_action_steps
            4
        """
        check_changeable(self.settings, changes)
        new = replace(self.settings, **changes)
        trained = self.settings.method_kwargs
        check_sampler_only(new.method, METHODS[new.method], trained, new.method_kwargs)
        new = replace(new, method_kwargs={**trained, **new.method_kwargs})
        other = self._like(new, self.device if device is None else device)
        other.policy.load_state_dict(self.policy.kept_state())
        other.provenance = self.provenance if new == self.settings else replace(self.provenance, score={})
        return other

    def _like(self, settings: AgentSettings, device: str | torch.device) -> ChunkAgent:
        """A new agent for the same spaces and environment."""
        other = type(self)(env=(self.observation_space, self.action_space), device=device, **settings.to_dict())
        other._env = self._env
        return other

    # ---- learning -------------------------------------------------------------------------------------------------

    @classmethod
    def from_teacher(
        cls, teacher: ChunkAgent, method: str, method_kwargs: Mapping[str, Any] | None = None
    ) -> ChunkAgent:
        """A copy of a trained agent with a method that `learn` distils from it: ``consistency`` or ``onedp``.

        The network may have another ``dropout``, the method's.

        Raises:
            ConfigError: the method learns from data alone, or from teachers of another method.
        """
        student_of, network = choose(method, METHODS, "method"), dict(teacher.settings.network_kwargs)
        allowed = student_of.teachers
        if teacher.settings.method not in allowed:
            wanted = f"a teacher of method {' or '.join(allowed)}" if allowed else "no teacher, it learns from data"
            raise ConfigError(f"{method}: expected {wanted}, got one of method {teacher.settings.method}")
        if student_of.dropout is not None and "dropout" in signature(NETWORKS[teacher.settings.network]).parameters:
            network["dropout"] = student_of.dropout
        settings = replace(teacher.settings, method=method, method_kwargs=method_kwargs or {}, network_kwargs=network)
        student = teacher._like(settings, teacher.device)
        student.policy.follow(teacher.policy)
        student.policy.eval().requires_grad_(False)
        past = teacher.provenance
        trained = {"method": teacher.settings.method, "steps_done": past.steps_done, **past.training}
        student.provenance = replace(past, training={}, steps_done=0, score={}, teacher=trained)
        return student

    def learn(
        self,
        dataset: Episodes,
        total_steps: int,
        callback: Callback = None,
        progress_bar: bool = False,
        run_dir: str | os.PathLike[str] | None = None,
        **settings: Any,
    ) -> ChunkAgent:
        """Offline behaviour cloning: ``total_steps`` gradient steps on ``dataset``.

        Args:
            callback: stable-baselines3 callbacks, called after every gradient step; ``predict`` and ``save`` use
                the moving average of the weights.
            run_dir: folder for logs and checkpoints. A run found there is continued where it stopped.
            settings: fields of `TrainingConfig`.

        Raises:
            ConfigError: a bad setting, or ``run_dir`` holds another run or cannot be written.
            DatasetError: the data do not fit the spaces, or say that they are of another environment.
            TrainingError: the loss or the weights are no longer finite; the last good checkpoint stays.
        """
        config = TrainingConfig.from_settings(settings)
        total_steps = read_as(Count, total_steps, "training", "total_steps")
        if not isinstance(dataset, Episodes):
            raise ConfigError(f"training: expected Episodes, such as open_dataset(path) gives, got {shown(dataset)}")
        watcher = as_callback(callback)
        path = None if run_dir is None else output_path(run_dir, folder=True)
        with SoleWriter(path) if path else nullcontext():
            return self._learn(dataset, total_steps, watcher, progress_bar, path, config)

    def _learn(
        self,
        dataset: Episodes,
        total_steps: int,
        watcher: BaseCallback,
        progress_bar: bool,
        path: Path | None,
        config: TrainingConfig,
    ) -> ChunkAgent:
        earlier = newest_record(path).get("precision") if path else None
        precision, why = decide(config.precision, self.device, earlier)
        config = replace(config, precision=precision)
        env = self._env if isinstance(self._env, gym.Env) else self
        check_described(dataset.env_args, dataset.source, env)
        dataset = fitting(dataset, self.spaces_by_key, self.action_space, config)
        record = training_record(dataset, total_steps, config)
        provenance = replace(self.provenance, training=record, steps_done=0, score={}, versions=versions())
        folder = RunFolder(path, self._config(provenance)) if path else None
        training = Training(self.policy, dataset, total_steps, config, keep_scale=self.provenance.has_learned)
        if folder is not None:
            folder.resume(training)
            self.set_logger(folder.logger(training.step))
        self.provenance = replace(provenance, steps_done=training.step)

        log.info("precision: %s (%s)", precision, why)  # from here on nothing is refused
        watcher.init_callback(self)  # type: ignore[arg-type]
        watcher.on_training_start({"self": self, "total_timesteps": total_steps}, globals())  # SB3's names

        def after_step(told: dict[str, Any]) -> bool:
            self.provenance = replace(provenance, steps_done=training.step)
            watcher.update_locals(told)
            return watcher.on_step()

        training.run(self.logger, after_step, folder.save if folder else None, progress_bar)
        watcher.on_training_end()
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
        if isinstance(env, gym.Env):
            return DummyVecEnv([lambda: env])
        return env if isinstance(env, VecEnv) else None

    def get_vec_normalize_env(self) -> None:
        """None: normalisation is part of the agent (asked for by stable-baselines3's callbacks)."""
        return None

    # ---- saving ---------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """All but the weights, as plain values; what ``config.yaml`` holds."""
        return self._config(self.provenance)

    def _config(self, provenance: Provenance) -> dict[str, Any]:
        return {
            "agent": self.settings.to_dict(),
            "observation_space": {key: space_to_dict(box) for key, box in self.spaces_by_key.items()},
            "bare_observation": not isinstance(self.observation_space, spaces.Dict),
            "action_space": space_to_dict(self.action_space),
            "normalizer": dict(self.policy.normalizer.kinds),
            **provenance.to_config(),
        }

    def save(self, path: str | os.PathLike[str], half: bool = False) -> None:
        """Write the checkpoint folder ``path``, replacing one that is there; ``half`` stores weights in float16.

        Raises:
            ConfigError: nothing can be written there. TrainingError: the weights are not finite.
        """
        folder = output_path(checkpoint.without_suffix(path), folder=True)
        output_path(folder.absolute().parent, folder=True)  # where it is renamed
        checkpoint.save_agent(folder, self.config(), self.policy, half)

    def export(self, path: str | os.PathLike[str], format: str | None = None) -> None:
        """Write the plan for programs without this library: normaliser, encoder and all evaluations in one file.

        Its inputs are the history of each observation (batch, n_obs_steps, *shape) and noise (batch, horizon,
        action_dim), its output what `plan` returns. The file is run and compared with the agent before it is there.

        Args:
            format: ``onnx`` (needs the extra ``export``) or ``torch`` (``torch.export``); by default what the suffix
                says, ``.onnx`` or ``.pt2``.

        Raises:
            ConfigError: neither of them, or the method draws noise while it samples.
        """
        from l1flow_agents.exporting import export  # what it imports takes a second

        export(self, path, format, {"env_id": self.env_id, "method": self.settings.method, "versions": versions()})

    def push_to_hub(
        self,
        repo_id: str,
        *,
        revision: str | None = None,
        private: bool = False,
        half: bool = False,
        notes: Notes | None = None,
        result: Mapping[str, Any] | None = None,
    ) -> str:
        """Push the agent, with a model card, to the Hugging Face Hub, where `load` finds it as ``owner/name``.

        Who may do so is the Hub client's business: ``hf auth login``, or ``HF_TOKEN``. Needs the extra ``hub``.

        Args:
            repo_id: ``owner/name``; a new one is made.
            revision: branch, made where it is not there; ``main`` by default.
            private: whether a new one is seen by its owner alone.
            half: store weights in float16.
            notes, result: for the card, as of `card.model_card`.

        Returns:
            The commit: ``load(repo_id, revision=commit)`` gives this agent for ever.

        Raises:
            ConfigError: no id. DownloadError: the Hub cannot be reached, or says no.
        """
        check_id(repo_id)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "agent")
            self.save(folder, half)
            (folder / CARD).write_text(model_card(self, repo_id, result, notes=notes or Notes()))
            return push_agent(folder, repo_id, revision, private, f"{self.settings.method} agent for {self.env_id}")

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        env: EnvOrSpaces | None = None,
        device: str | torch.device = "auto",
        revision: str | None = None,
    ) -> ChunkAgent:
        """An agent from a checkpoint folder, a published name such as ``pusht-state``, or a Hub id ``owner/name``.

        The weights must be those whose SHA-256 the configuration names, wherever both come from.

        Args:
            env: optional, as for a new agent; its spaces are compared with the checkpoint's.
            revision: branch, tag or commit on the Hub; a commit gives the same agent for ever.

        Raises:
            CheckpointError: nothing there, or it is foreign, truncated, altered or made for other spaces.
        """
        picked, folder = pick_device(device), checkpoint.find(path, revision)
        config = checkpoint.read_config(folder)
        try:
            boxes = spaces_from_dict(config["observation_space"])
            observation_space = boxes[BARE] if config.get("bare_observation") else spaces.Dict(list(boxes.items()))
            action_space = spaces_from_dict({ACTION: config["action_space"]})[ACTION]
            settings = build(AgentSettings, what="agent", settings=config["agent"])
            with outlined():  # names and shapes first: nothing is allocated, read or hashed for what cannot fit
                agent = cls(env=(observation_space, action_space), device=picked, **settings.to_dict())
            checkpoint.check_weights(folder, config, agent.policy.kept_state())
            materialize(agent.policy, agent.device)
            agent.provenance = Provenance.from_config(config)
        except CheckpointError:
            raise
        except ConfigError as e:
            raise CheckpointError(f"{folder / checkpoint.CONFIG}: {one_line(e)}") from e
        except MALFORMED as e:
            raise CheckpointError(f"{folder / checkpoint.CONFIG}: {type(e).__name__}: {one_line(e)}") from e
        fill(folder / checkpoint.WEIGHTS, agent.policy.kept_state())
        if env is not None:
            agent._env = opened(env)
            check_same_spaces(folder, agent.spaces_by_key, agent.action_space, agent._env)
        return agent


def layouts_of(env: Any) -> Mapping[str, Any]:
    """Observation key -> names of its parts, as the environment, or the first of a vector in this process, has them."""
    inner = getattr(env, "unwrapped", env)
    envs = getattr(inner, "envs", None)
    layouts: Mapping[str, Any] = getattr(envs[0].unwrapped if envs else inner, "layouts", {})
    return layouts


L1FlowAgent = ChunkAgent  # the class by the name of its default method
