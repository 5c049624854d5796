"""Where an agent comes from: its environment, its training, its teacher, what it scored, what it was made with."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv
from stable_baselines3.common.vec_env import VecEnv

from l1flow_agents.frozen import frozen
from l1flow_agents.names import plain

RECORDED = (
    *("l1flow-agents", "torch", "numpy", "gymnasium", "gym-pusht", "pymunk", "robosuite", "mujoco"),
    "stable-baselines3",
)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """A frozen record beside the weights; a checkpoint keeps it, and it survives loading and saving again."""

    env_id: str | None = None
    """Id of the environment it was made for, None if it was made from spaces."""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Of ``gymnasium.make``."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the training, its data set and the data's fingerprint; empty for an untrained agent."""
    steps_done: int = 0
    """Gradient steps of that training."""
    score: Mapping[str, Any] = field(default_factory=dict)
    """What an evaluation of this agent found."""
    teacher: Mapping[str, Any] = field(default_factory=dict)
    """The training of the agent that it is distilled from."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """What was installed where the weights were made."""

    def __post_init__(self) -> None:
        for one in fields(self):
            object.__setattr__(self, one.name, frozen(getattr(self, one.name)))

    @property
    def has_learned(self) -> bool:
        """Whether the weights, or those they are a copy of, were trained."""
        return self.steps_done > 0 or bool(self.teacher)

    def to_config(self) -> dict[str, Any]:
        """The parts of ``config.yaml`` that hold it, as plain values."""
        parts = {
            "env": {"id": self.env_id, "kwargs": self.env_kwargs},
            "training": {"steps_done": self.steps_done, **self.training},
            "score": self.score,
            **({"teacher": self.teacher} if self.teacher else {}),
            "versions": self.versions,
        }
        config: dict[str, Any] = plain(parts)
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Provenance:
        training = dict(config.get("training") or {})
        steps_done = int(training.pop("steps_done", 0))
        others = {name: dict(config.get(name) or {}) for name in ("score", "teacher", "versions")}
        env_id, env_kwargs = config["env"]["id"], dict(config["env"]["kwargs"])
        return cls(env_id=env_id, env_kwargs=env_kwargs, training=training, steps_done=steps_done, **others)


def spec_of(env: Any) -> tuple[str | None, dict[str, Any]]:
    """Id and keyword arguments with which the environment, or one of a vector of them, can be made again."""
    spec = env.spec if isinstance(env, gym.Env) else None
    if isinstance(env, VecEnv | VectorEnv):  # a vector's own spec, where it has one, describes the vector
        inner: Any = env if isinstance(env, VecEnv) else env.unwrapped
        with suppress(AttributeError, NotImplementedError):  # a vector that is not made of environments
            spec = inner.get_attr("spec")[0]
    if spec is None:
        return None, {}
    return spec.id, {name: value for name, value in spec.kwargs.items() if name != "render_mode"}


_version = cache(version)  # reads and parses a file, for every agent that is made


def versions() -> dict[str, str]:
    """Installed versions of what decides an agent's behaviour."""
    found = {}
    for package in RECORDED:
        try:
            found[package] = _version(package)
        except PackageNotFoundError:
            continue
    return found
