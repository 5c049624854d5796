"""Checking of names: settings arrive from YAML, flags and keyword arguments, and a typo must not pass."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from l1flow_agents.errors import ConfigError
from l1flow_agents.registry import Registry

T = TypeVar("T")


def nearest(name: str, choices: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` or an empty string."""
    close = difflib.get_close_matches(str(name), list(choices), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def choose(name: str, choices: Mapping[str, T], what: str) -> T:
    """``choices[name]``, or a ConfigError that lists the choices."""
    if name not in choices:
        others = ", or one that an installed or imported package adds" if isinstance(choices, Registry) else ""
        raise ConfigError(f"unknown {what} {name!r}, expected one of {sorted(choices)}{others}{nearest(name, choices)}")
    return choices[name]


def check_names(given: Iterable[str], allowed: Iterable[str], what: str) -> None:
    """Raise a ConfigError on the first name of ``given`` that is not ``allowed``."""
    allowed = list(allowed)
    for name in given:
        if name not in allowed:
            raise ConfigError(f"{what} has no setting {name!r}, expected some of {allowed}{nearest(name, allowed)}")


def plain(value: Any) -> Any:
    """``value`` as YAML gives it back: tuples and arrays are lists, NumPy's numbers are Python's."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def build(cls: Callable[..., T], *args: Any, what: str, settings: Mapping[str, Any] | None) -> T:
    """``cls(*args, **settings)`` with the names of ``settings`` checked against the parameters that ``args`` leave."""
    check_names(settings or {}, list(inspect.signature(cls).parameters)[len(args) :], what)
    return cls(*args, **(settings or {}))
