"""A training as a value: environment, data, agent, training and evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from l1flow_agents.checks import DATACLASS, checked_arguments, read_as
from l1flow_agents.errors import ConfigError
from l1flow_agents.kinds import Count, Settings, Text, Whole
from l1flow_agents.methods import METHODS
from l1flow_agents.names import choose, plain
from l1flow_agents.networks import NETWORKS, ObservationEncoder
from l1flow_agents.seeds import VALIDATION_SEED
from l1flow_agents.settings import AgentSettings
from l1flow_agents.training.config import TrainingConfig

SIZES = 3  # horizon, action_dim and cond_dim, which a network is given
ENCODER_SIZES = 2  # shapes and n_obs_steps


@dataclass(frozen=True)
class TrainingSettings(TrainingConfig):
    """Settings of a training and its length."""

    total_steps: Count = field(kw_only=True)
    """Gradient steps."""

    def config(self) -> dict[str, Any]:
        """All but the length: what `L1FlowAgent.learn` takes as settings."""
        return {name: value for name, value in asdict(self).items() if name != "total_steps"}


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """Scores while the agent trains; see `ScoreCallback`."""

    __pydantic_config__ = DATACLASS

    every: Count
    """Gradient steps between evaluations."""
    n_episodes: Count = 20
    """Of one evaluation."""
    seed: Whole = VALIDATION_SEED
    """Of the first episode; keep away from the test seeds."""
    n_envs: Count | None = None
    """Processes (default: one a core)."""
    success_key: Text = "is_success"
    """The entry of info that tells success."""


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """How the demonstrations are made where ``dataset`` is not there; see `making`."""

    __pydantic_config__ = DATACLASS

    episodes: Count
    """Demonstrations: of the task's expert, or generated where there is a source."""
    source: Text | None = None
    """Environment in which the expert makes those to generate from, such as Square_D1-v0."""
    n_sources: Count = 40
    """Of these."""
    corrections: Whole = 0
    """So many of the episodes begin where the expert takes over from a first agent, which learned the others."""
    task: Text | None = None
    """Task file of the generation, or the name of one of the package (default: what the task says itself)."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What a configuration file says.

    Raises:
        ConfigError: a network, method or one of their settings that does not exist or has a wrong value, or a
            ``render_mode`` for the environment.
    """

    __pydantic_config__ = DATACLASS

    env: Text
    """Id of the environment, such as PushT-v0 or module:Name-v0."""
    env_kwargs: Settings = field(default_factory=dict)
    """Keyword arguments of the environment."""
    dataset: Text
    """Path or published name of the demonstrations."""
    data: DataSettings | None = None
    """How ``dataset`` is made where it is not there (default: it has to be)."""
    filter_key: Text | None = None
    """Only the demonstrations under mask/KEY of a robomimic file, such as train."""
    agent: AgentSettings
    """What is trained."""
    training: TrainingSettings
    """How it is trained."""
    evaluation: EvaluationSettings | None = None
    """Scores on the way (default: none)."""
    teacher: Text | None = None
    """Checkpoint that the method is distilled from; of the agent only the method's part counts then."""

    def __post_init__(self) -> None:
        if "render_mode" in self.env_kwargs:
            raise ConfigError("env_kwargs has no setting 'render_mode': videos choose it, trainings show nothing")
        agent = self.agent
        network, method = choose(agent.network, NETWORKS, "network"), choose(agent.method, METHODS, "method")
        checked_arguments(network, agent.network_kwargs, agent.network, SIZES)
        # those two may name parts of observations, which only the environment knows: the agent checks them
        encoder = {name: value for name, value in agent.encoder_kwargs.items() if name not in ("quaternions", "turns")}
        checked_arguments(ObservationEncoder, encoder, "encoder", ENCODER_SIZES)
        checked_arguments(method, agent.method_kwargs, agent.method)

    @classmethod
    def from_dict(cls, values: Any, where: str = "") -> Experiment:
        """From plain values, such as a YAML file's.

        Raises:
            ConfigError: names every setting that is missing, unknown or out of range; begins with ``where``.
        """
        experiment: Experiment = read_as(cls, values, where)
        return experiment

    def changed(self, **parts: Mapping[str, Any] | str | None) -> Experiment:
        """The experiment with other values, those of a part by their names: ``changed(training={"seed": 1})``."""
        values = self.to_dict()
        for name, part in parts.items():
            values[name] = {**values.get(name, {}), **part} if isinstance(part, Mapping) else part
        return self.from_dict(values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` reads; settings that are None are left out."""
        return {name: value for name, value in plain(asdict(self)).items() if value is not None}
