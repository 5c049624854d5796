"""From a YAML file and overrides to an `Experiment`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from l1flow_agents.errors import ConfigError
from l1flow_agents.experiments.experiment import Experiment
from l1flow_agents.names import nearest
from l1flow_agents.safe_yaml import UnreadableYaml, one_line, parse_yaml, quoted
from l1flow_agents.safe_yaml import read_yaml as read_plain
from l1flow_agents.zoo import CONFIGS, config_names


def read_experiment(name: str | os.PathLike, overrides: Iterable[str] = ()) -> Experiment:
    """The configuration ``name`` (of the package, or a YAML path) with ``part.setting=value`` overrides applied.

    Raises:
        ConfigError: no such file, not YAML, an override that is not ``key=value``, or settings that are missing,
            unknown or out of range.
    """
    path = CONFIGS / f"{name}.yaml" if str(name) in config_names() else Path(name)
    if not path.is_file():
        hint = nearest(str(name), config_names())
        raise ConfigError(f"no configuration {str(name)!r}; expected a YAML file or one of {config_names()}{hint}")
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, found {type(values).__name__}")
    for override in overrides:
        _apply(values, override)
    return Experiment.from_dict(values, str(path))


def read_yaml(path: Path) -> Any:
    """The plain values of a YAML file."""
    try:
        return read_plain(path)
    except (FileNotFoundError, UnreadableYaml) as error:
        raise ConfigError(f"{path}: expected a YAML file ({one_line(error)})") from None


def _apply(values: dict[str, Any], override: str) -> None:
    """``training.batch_size=64`` sets ``values["training"]["batch_size"] = 64``."""
    name, equals, value = override.partition("=")
    if not equals:
        raise ConfigError(f"expected part.setting=value, got {override!r}")
    *parents, last = name.split(".")
    place = values
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise ConfigError(f"{override!r}: {parent!r} is a value, not a group of settings")
    try:
        place[last] = parse_yaml(value)
    except UnreadableYaml as error:
        raise ConfigError(f"{quoted(override)}: not a YAML value ({error})") from None
