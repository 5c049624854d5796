"""Checking of names: settings arrive from YAML, flags and keyword arguments, and a typo must not pass."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
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
        expected = f"expected one of {sorted(choices)}{others}{nearest(name, choices)}"
        raise ConfigError(f"unknown {what} {shown(name)}, {expected}")
    return choices[name]


def check_names(given: Iterable[str], allowed: Iterable[str], what: str) -> None:
    """Raise a ConfigError on the first name of ``given`` that is not ``allowed``."""
    allowed = list(allowed)
    for name in given:
        if name not in allowed:
            raise ConfigError(
                f"{what} has no setting {shown(name)}, expected some of {allowed}{nearest(name, allowed)}"
            )


def plain(value: Any) -> Any:
    """``value`` as YAML gives it back: tuples and arrays are lists, NumPy's numbers are Python's."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def shown(value: Any, length: int = 60) -> str:
    """``repr``, but short, in one line, and also of a number of thousands of digits."""
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except ValueError:
        return "a number of thousands of digits"
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 3]}..."
