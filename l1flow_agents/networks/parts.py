"""Settings of an encoder that name the parts of observations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from l1flow_agents.errors import ConfigError
from l1flow_agents.layouts import Layout
from l1flow_agents.names import choose

AUTO = "auto"


def numbered(settings: Any, layouts: Mapping[str, Layout]) -> Any:
    """An encoder's settings with the names in ``quaternions`` and ``turns`` as numbers: where those parts begin.

    ``auto`` in place of a list is all quaternions of that observation. What are no names stays: the encoder checks it.

    Args:
        settings: `ObservationEncoder`'s, as a file has them.
        layouts: observation -> its parts; what the environment's attribute ``layouts`` says.

    Raises:
        ConfigError: no such part, or the observation has no names for its parts.
    """
    if not isinstance(settings, Mapping):
        return settings
    resolved = dict(settings)
    for name in ("quaternions", "turns"):
        if isinstance(given := settings.get(name), Mapping):
            resolved[name] = {key: _numbers(key, value, layouts) for key, value in given.items()}
    return resolved


def _numbers(key: str, value: Any, layouts: Mapping[str, Layout]) -> Any:
    if isinstance(value, (list, tuple)):
        return [_numbers(key, one, layouts) for one in value]
    if not isinstance(value, str):
        return value
    if key not in layouts:
        raise ConfigError(
            f"encoder: {value!r}: expected numbers for observation {key!r}, this environment names the parts of "
            f"{sorted(layouts)} only"
        )
    layout = layouts[key]
    return layout.starts(*layout.quaternions) if value == AUTO else choose(value, layout, f"part of {key!r}").start
