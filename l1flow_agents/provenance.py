"""Where an agent comes from: its environment, its training, its teacher, what it scored, what it was made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from l1flow_agents.env_description import EnvDescription
from l1flow_agents.frozen import frozen
from l1flow_agents.names import plain


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """A frozen record beside the weights; a checkpoint keeps it, and it survives loading and saving again."""

    env: EnvDescription | None = None
    """The environment it was made for, None if it was made from spaces."""
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
        for one in fields(self)[1:]:  # a description is frozen already
            object.__setattr__(self, one.name, frozen(getattr(self, one.name)))

    @property
    def has_learned(self) -> bool:
        """Whether the weights, or those they are a copy of, were trained."""
        return self.steps_done > 0 or bool(self.teacher)

    def to_config(self) -> dict[str, Any]:
        """The parts of ``config.yaml`` that hold it, as plain values."""
        parts = {
            "env": self.env.to_dict() if self.env else {"id": None},
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
        env = EnvDescription.from_dict(config["env"])
        return cls(env=env, training=training, steps_done=steps_done, **others)
