"""What can be compared: a method, its settings, and where its training begins."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from l1flow_agents.checks import DATACLASS, build, read_as
from l1flow_agents.errors import ConfigError
from l1flow_agents.experiments.reading import read_yaml
from l1flow_agents.kinds import Part, Settings, Text
from l1flow_agents.methods import METHODS
from l1flow_agents.methods.base import check_sampler_only
from l1flow_agents.names import choose, shown
from l1flow_agents.training import TrainingConfig

BUILT_IN = Path(str(files("l1flow_agents.comparison"))) / "systems.yaml"


@dataclass(frozen=True)
class System:
    """One row of a comparison, and one more, ``name:variant``, for each variant.

    Raises:
        ConfigError: an unknown method, or settings that it or a training does not have.
    """

    __pydantic_config__ = DATACLASS

    name: Text
    method: Text
    """As in `L1FlowAgent`."""
    method_kwargs: Settings = field(default_factory=dict)
    """As in `L1FlowAgent`."""
    teacher: Text | None = None
    """The system that it is distilled from."""
    variants: Mapping[Text, Settings] = field(default_factory=dict)
    """Name -> settings that replace some of ``method_kwargs`` for scoring the same weights."""
    budget: Part = 1.0
    """Its share of the comparison's steps or seconds; below 1 for a student that starts as a trained copy."""
    training: Settings = field(default_factory=dict)
    """Settings of `TrainingConfig` that the method needs otherwise than the rest."""

    def __post_init__(self) -> None:
        cls = choose(self.method, METHODS, "method")
        TrainingConfig.from_settings(self.training)
        for row, settings in self.rows().items():
            build(cls, what=row, settings=settings)
            check_sampler_only(row, cls, self.method_kwargs, settings)
        if bool(cls.teachers) != (self.teacher is not None):
            raise ConfigError(f"expected {'a teacher' if cls.teachers else 'no teacher'} for {self.method}")

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
    given = read_yaml(path)
    if not isinstance(given, dict) or not given:
        raise ConfigError(f"{path}: expected a mapping of systems, found {type(given).__name__}")
    systems = {}
    for name, settings in given.items():
        where = f"{path}: {name}"
        if not isinstance(settings, dict) or "method" not in settings:
            raise ConfigError(f"{where}: expected a mapping with at least 'method', found {shown(settings)}")
        systems[str(name)] = read_as(System, {"name": str(name), **settings}, where)
    for system in systems.values():
        _check_teacher(f"{path}: {system.name}", system, systems)
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


def _check_teacher(where: str, system: System, systems: Mapping[str, System]) -> None:
    if system.teacher is not None:
        teacher, allowed = choose(system.teacher, systems, f"teacher of {where}"), METHODS[system.method].teachers
        if teacher.method not in allowed:
            raise ConfigError(f"{where}: expected a teacher of method {allowed}, got {teacher.method!r}")
