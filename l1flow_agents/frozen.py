"""Values that nobody can change: a record stays what it was when it was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from l1flow_agents.errors import ConfigError
from l1flow_agents.names import plain


class FrozenDict(dict[str, Any]):
    """A dict that refuses changes; ``dict(one)`` is a copy that takes them."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ConfigError(
            "this mapping belongs to a record and cannot be changed; take a copy with dict(...), or change an agent's "
            "settings with agent.with_settings(...)"
        )

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[str, Any]]]:
        return type(self), (dict(self),)  # copies and pickles are made at once, not item by item


def frozen(value: Any) -> Any:
    """``value`` with every mapping in it a `FrozenDict`, every list or array a tuple, and NumPy's numbers Python's."""
    if isinstance(value, FrozenDict):
        return value
    if isinstance(value, Mapping):
        return FrozenDict({key: frozen(part) for key, part in value.items()})
    value = plain(value)
    return tuple(frozen(part) for part in value) if isinstance(value, list) else value
