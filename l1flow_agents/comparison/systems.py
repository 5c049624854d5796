"""What can be compared: a method, its settings, and where its training begins."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from l1flow_agents.errors import ConfigError
from l1flow_agents.methods import METHODS
from l1flow_agents.methods.base import check_sampler_only
from l1flow_agents.names import build, check_names, choose
from l1flow_agents.safe_yaml import UnreadableYaml, one_line, read_yaml
from l1flow_agents.training import TrainingConfig

BUILT_IN = Path(str(files("l1flow_agents.comparison"))) / "systems.yaml"


@dataclass(frozen=True)
class System:
    """One row of a comparison, and one more, ``name:variant``, for each variant.

    Args:
        method, method_kwargs: as in `L1FlowAgent`.
        teacher: the system that it is distilled from.
        variants: name -> settings that replace some of ``method_kwargs`` for scoring the same weights.
        budget: its share of the comparison's steps or seconds; below 1 for a student that starts as a trained copy.
        training: settings of `TrainingConfig` that the method needs otherwise than the rest.
    """

    name: str
    method: str
    method_kwargs: Mapping[str, Any] = field(default_factory=dict)
    teacher: str | None = None
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    budget: float = 1.0
    training: Mapping[str, Any] = field(default_factory=dict)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Name -> the method's settings, for the system itself and its variants."""
        own = dict(self.method_kwargs)
        return {self.name: own, **{f"{self.name}:{name}": {**own, **new} for name, new in self.variants.items()}}


def read_systems(path: str | os.PathLike | None = None) -> dict[str, System]:
    """The systems that a YAML file describes; None: those of the paper.

    Such as ``ddpm: {method: ddpm, variants: {ddim-10: {sampler: ddim, n_steps: 10}}}``, which makes the rows ``ddpm``
    and ``ddpm:ddim-10``.

    Raises:
        ConfigError: names the file, the system and what is wrong.
    """
    path = BUILT_IN if path is None else Path(path)
    try:
        given = read_yaml(path)
    except (FileNotFoundError, UnreadableYaml) as error:
        raise ConfigError(f"{path}: expected a YAML file of systems ({one_line(error)})") from None
    if not isinstance(given, dict) or not given:
        raise ConfigError(f"{path}: expected a mapping of systems, found {type(given).__name__}")
    systems = {}
    for name, settings in given.items():
        where = f"{path}: {name}"
        if not isinstance(settings, dict) or "method" not in settings:
            raise ConfigError(f"{where}: expected a mapping with at least 'method', found {settings!r}")
        check_names(settings, ["method", "method_kwargs", "teacher", "variants", "budget", "training"], where)
        systems[str(name)] = System(str(name), **settings)
    for system in systems.values():
        _check(path, system, systems)
    return systems


def chosen(systems: Mapping[str, System], names: Iterable[str]) -> list[System]:
    """The systems of these names with the teachers that they need, teachers first."""
    picked: dict[str, System] = {}
    for name in names:
        system = choose(name, systems, "method to compare")
        if system.teacher is not None:
            picked.setdefault(system.teacher, systems[system.teacher])
        picked.setdefault(name, system)
    return sorted(picked.values(), key=lambda system: system.teacher is not None)


def _check(path: Path, system: System, systems: Mapping[str, System]) -> None:
    where = f"{path}: {system.name}"
    cls = choose(system.method, METHODS, f"method of {where}")
    if not 0 < system.budget <= 1:
        raise ConfigError(f"{where}: expected a budget in (0, 1], got {system.budget}")
    TrainingConfig.from_settings(dict(system.training))
    for row, settings in system.rows().items():
        build(cls, what=f"{where}: {row}", settings=settings)
        check_sampler_only(f"{where}: {row}", cls, system.method_kwargs, settings)
    if bool(cls.teachers) != (system.teacher is not None):
        raise ConfigError(f"{where}: expected {'a teacher' if cls.teachers else 'no teacher'} for {system.method}")
    if system.teacher is not None:
        teacher = choose(system.teacher, systems, f"teacher of {where}")
        if teacher.method not in cls.teachers:
            raise ConfigError(f"{where}: expected a teacher of method {cls.teachers}, got {teacher.method!r}")
