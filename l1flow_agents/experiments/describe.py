"""The settings of an experiment as text: name, kind, default and what it is for, from the dataclasses themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from textwrap import fill
from typing import Any

from pydantic import TypeAdapter

from l1flow_agents.experiments.experiment import ENCODER_SIZES, SIZES, Experiment
from l1flow_agents.methods import METHODS
from l1flow_agents.networks import NETWORKS, ObservationEncoder

KINDS = {"integer": "whole number", "number": "number", "string": "text", "object": "mapping", "boolean": "true, false"}
LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
UNBOUNDED = 2**20  # an upper limit beyond this only keeps nonsense out


def described_settings() -> str:
    """A paragraph a setting, and the keyword arguments that networks, encoder and methods take."""
    schema = TypeAdapter(Experiment).json_schema()
    settings = [
        fill(text, 100, initial_indent=f"    {name:26} ", subsequent_indent=" " * 31)
        for name, text in _lines(schema, schema["$defs"])
    ]
    classes: list[tuple[str, str, Callable[..., Any], int]] = [
        *[("network_kwargs", name, cls, SIZES) for name, cls in sorted(NETWORKS.items())],
        ("encoder_kwargs", "", ObservationEncoder, ENCODER_SIZES),
        *[("method_kwargs", name, cls, 0) for name, cls in sorted(METHODS.items())],
    ]
    kwargs = [
        fill(arguments, 100, initial_indent=f"    {f'agent.{part}':26} {name}: " if name else f"    agent.{part:20} ",
             subsequent_indent=" " * 31)
        for part, name, cls, n_given in classes
        if (arguments := _arguments(cls, n_given))
    ]  # fmt: skip
    return "\n".join([*settings, *kwargs]) + "\n"


def _lines(part: dict[str, Any], parts: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, setting in part["properties"].items():
        inner = next((parts[ref] for ref in _references(setting)), None)
        text = " ".join(setting.get("description", "").split())
        if inner is not None:
            yield from _lines(inner, parts, f"{prefix}{name}.")
            continue
        default = "" if setting.get("default") in (None, "", {}) else f", default {setting['default']}"
        needed = ", needed" if name in part.get("required", []) else ""
        yield f"{prefix}{name}", f"{_kind(setting)}{default}{needed}. {text}"


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


def _arguments(cls: Callable[..., Any], n_given: int) -> str:
    """The keyword arguments of a class with their defaults."""
    parameters = list(inspect.signature(cls).parameters.values())[n_given:]
    return ", ".join(f"{one.name}={one.default}" for one in parameters)
