"""Values that nobody can change: a record stays what it was when it was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from l1flow_agents.errors import ConfigError


class FrozenDict(dict[str, Any]):
    """A dict that refuses changes; ``dict(one)`` is a copy that takes them."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ConfigError(
            "this mapping belongs to a record and cannot be changed; take a copy with dict(...), or change an agent's "
            "settings with agent.with_settings(...)"
        )

    __setitem__ = __delitem__ = __ior__ = _refuse  # type: ignore[assignment]
    clear = pop = popitem = setdefault = update = _refuse  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[str, Any]]]:
        return type(self), (dict(self),)  # copies and pickles are made at once, not item by item


def frozen(value: Any) -> Any:
    """``value`` with every mapping in it a `FrozenDict` and every list a tuple."""
    if isinstance(value, FrozenDict):
        return value
    if isinstance(value, Mapping):
        return FrozenDict({key: frozen(part) for key, part in value.items()})
    return tuple(frozen(part) for part in value) if isinstance(value, list | tuple) else value
