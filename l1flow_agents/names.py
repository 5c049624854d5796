"""Checking of names: settings arrive from YAML, flags and keyword arguments, and a typo must not pass."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np

from l1flow_agents.errors import ConfigError
from l1flow_agents.registry import Registry

T = TypeVar("T")


def nearest(name: str, choices: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` or an empty string."""
    close = difflib.get_close_matches(str(name)[:100], list(choices), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def choose(name: str, choices: Mapping[str, T], what: str) -> T:
    """``choices[name]``, or a ConfigError that lists the choices."""
    if not isinstance(name, str) or name not in choices:
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
    """``cls(*args, **settings)`` with ``settings`` checked against the parameters that ``args`` leave.

    Raises:
        ConfigError: an unknown name, or a value that is not of the kind that its annotation names (`KINDS`).
    """
    settings = {} if settings is None else settings
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{what}: expected settings by name, got {settings!r}")
    parameters = dict(list(inspect.signature(cls).parameters.items())[len(args) :])
    check_names(settings, parameters, what)
    for name, value in settings.items():
        annotation = parameters[name].annotation
        kind = KINDS.get(annotation if isinstance(annotation, str) else getattr(annotation, "__name__", ""))
        if kind is not None and not kind[1](value):
            raise ConfigError(f"{what}: {name} must be {kind[0]}, got {value!r}")
    return cls(*args, **settings)


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("a whole number", _whole),
    "float": ("a finite number", _finite),
    "bool": ("true or false", lambda value: isinstance(value, bool | np.bool_)),
    "str": ("text", lambda value: isinstance(value, str)),
    "Sequence[int]": (
        "a list of whole numbers",
        lambda value: isinstance(value, list | tuple) and all(map(_whole, value)),
    ),
}
"""Annotation -> what it is called, and whether a value is one."""
