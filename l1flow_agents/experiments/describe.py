"""The settings of an experiment as text: name, kind, default and what it is for, from the dataclasses themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from textwrap import fill
from typing import Any

from pydantic import TypeAdapter

from l1flow_agents.experiments.experiment import ENCODER_SIZES, SIZES, Experiment
from l1flow_agents.methods import METHODS
from l1flow_agents.networks import NETWORKS, ObservationEncoder
from l1flow_agents.training.config import TrainingConfig

KINDS = {
    **{"integer": "whole number", "number": "number", "string": "text"},
    **{"object": "mapping", "array": "list", "boolean": "true, false"},
}
LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
UNBOUNDED = 2**20  # an upper limit beyond this only keeps nonsense out


def described_settings() -> str:
    """A paragraph a setting, and below ``*_kwargs`` what the classes that take them know."""
    schema = TypeAdapter(Experiment).json_schema()
    parts = schema["$defs"]
    # pydantic finds the docstrings of a dataclass's own fields, not of those that it inherits
    parts["TrainingSettings"]["properties"].update(TypeAdapter(TrainingConfig).json_schema()["properties"])
    return "".join(
        fill(text, 110, initial_indent=f"  {name:26} ", subsequent_indent=" " * 29) + "\n"
        for name, text in _lines(schema, parts)
    )


def _lines(part: dict[str, Any], parts: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, setting in part["properties"].items():
        inner = next((parts[ref] for ref in _references(setting)), None)
        if inner is not None:
            yield from _lines(inner, parts, f"{prefix}{name}.")
            continue
        text = " ".join(setting.get("description", "").split())
        default = "" if setting.get("default") in (None, "", {}) else f", default {setting['default']}"
        needed = ", needed" if name in part.get("required", []) else ""
        yield f"{prefix}{name}", f"{_kind(setting)}{default}{needed}. {text}"
        for owner, arguments in _taken(name):
            yield f"  {owner}", arguments


def _taken(name: str) -> Iterator[tuple[str, str]]:
    """The classes to which the setting ``name`` goes, each with its keyword arguments and their defaults."""
    takers: dict[str, tuple[Mapping[str, Callable[..., Any]], int]] = {
        "network_kwargs": (NETWORKS, SIZES),
        "encoder_kwargs": ({"encoder": ObservationEncoder}, ENCODER_SIZES),
        "method_kwargs": (METHODS, 0),
    }
    classes, n_given = takers.get(name, ({}, 0))
    for owner, cls in classes.items():
        parameters = list(inspect.signature(cls).parameters.values())[n_given:]
        if parameters:
            yield owner, ", ".join(f"{one.name}={one.default}" for one in parameters)


def _references(setting: dict[str, Any]) -> list[str]:
    """Names of the dataclasses that a setting may be."""
    choices = [setting, *setting.get("anyOf", [])]
    return [one["$ref"].rpartition("/")[2] for one in choices if "$ref" in one]


def _kind(setting: dict[str, Any]) -> str:
    """Such as ``whole number >= 1`` or ``auto | float32 | bfloat16``."""
    if "enum" in setting:
        return " | ".join(setting["enum"])
    if "anyOf" in setting:
        return next(_kind(one) for one in setting["anyOf"] if one.get("type") != "null")
    limits = [f" {sign} {setting[key]:g}" for key, sign in LIMITS.items() if abs(setting.get(key, 1e9)) <= UNBOUNDED]
    return KINDS[setting["type"]] + ",".join(limits)
