"""A training described by one YAML file: environment, data, agent, training and evaluation."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import gymnasium as gym

from l1flow_agents.agent import L1FlowAgent
from l1flow_agents.data import open_dataset
from l1flow_agents.data.download import locate
from l1flow_agents.errors import ConfigError
from l1flow_agents.evaluation import ScoreCallback
from l1flow_agents.files import write_atomically
from l1flow_agents.names import build, check_names, nearest
from l1flow_agents.safe_yaml import UnreadableYaml, dump_yaml, parse_yaml, quoted, read_yaml
from l1flow_agents.training.config import TrainingConfig, as_number

CONFIGS = Path(str(files("l1flow_agents"))) / "configs"
PARTS = ("env", "env_kwargs", "dataset", "agent", "teacher", "training", "evaluation")


def config_names() -> list[str]:
    """Names of the configurations that come with the package."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def read_experiment(name: str | os.PathLike, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The configuration ``name`` (of the package, or a YAML path) with ``part.setting=value`` overrides applied.

    Raises:
        ConfigError: no such file, not YAML, an unknown part, or an override that is not ``key=value``.
    """
    path = CONFIGS / f"{name}.yaml" if str(name) in config_names() else Path(name)
    try:
        experiment = read_yaml(path)
    except FileNotFoundError:
        hint = nearest(str(name), config_names())
        raise ConfigError(
            f"no configuration {str(name)!r}; expected a YAML file or one of {config_names()}{hint}"
        ) from None
    except UnreadableYaml as error:
        raise ConfigError(f"{path}: not plain YAML ({error})") from None
    if not isinstance(experiment, dict):
        raise ConfigError(f"{path}: expected a mapping with {PARTS}, found {type(experiment).__name__}")
    for override in overrides:
        _apply(experiment, override)
    check_names(experiment, PARTS, str(path))
    if missing := [part for part in ("env", "dataset", "agent", "training") if part not in experiment]:
        raise ConfigError(f"{path}: {missing} missing")
    return experiment


def run_experiment(
    experiment: dict[str, Any], run_dir: str | os.PathLike, device: str = "auto", progress_bar: bool = True
) -> L1FlowAgent:
    """Train as ``experiment`` says, continuing what ``run_dir`` holds; the agent is saved as ``run_dir/agent``.

    With a ``teacher``, a checkpoint, the method is distilled from it: of ``agent`` only the method's part counts.
    """
    agent_settings, training = dict(experiment["agent"]), dict(experiment["training"])
    for part, settings, name in [("agent", agent_settings, "network"), ("training", training, "total_steps")]:
        if name not in settings:
            raise ConfigError(f"{part}: {name} is missing")
    network, total_steps = agent_settings.pop("network"), as_number("total_steps", training.pop("total_steps"), int)
    TrainingConfig.from_settings(training)  # a typo is found before anything is made
    if experiment.get("teacher"):
        teacher = L1FlowAgent.load(experiment["teacher"], device=device)
        agent = L1FlowAgent.from_teacher(
            teacher, agent_settings.get("method", "l1flow"), agent_settings.get("method_kwargs")
        )
    else:
        env: gym.Env = gym.make(experiment["env"], **experiment.get("env_kwargs", {}))
        agent = build(L1FlowAgent, network, env, what="agent", settings={**agent_settings, "device": device})
    evaluation = experiment.get("evaluation")
    callback = build(ScoreCallback, what="evaluation", settings=evaluation) if evaluation else None
    keys = list(agent.spaces_by_key)
    dataset = open_dataset(locate(experiment["dataset"]), keys)
    record = Path(run_dir) / "experiment.yaml"
    if not record.exists():  # a run that is continued keeps its own; `learn` refuses other settings
        write_atomically(record, dump_yaml(experiment))
    agent.learn(dataset, total_steps, callback, progress_bar, run_dir=run_dir, **training)
    agent.save(Path(run_dir) / "agent")
    return agent


def _apply(experiment: dict[str, Any], override: str) -> None:
    """``training.batch_size=64`` sets ``experiment["training"]["batch_size"] = 64``."""
    name, equals, value = override.partition("=")
    if not equals:
        raise ConfigError(f"expected part.setting=value, got {override!r}")
    *parents, last = name.split(".")
    place = experiment
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise ConfigError(f"{override!r}: {parent!r} is a value, not a group of settings")
    try:
        place[last] = parse_yaml(value)
    except UnreadableYaml as error:
        raise ConfigError(f"{quoted(override)}: not a YAML value ({error})") from None
