"""Tables that other packages add to: names to methods, networks, experts, formats."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from l1flow_agents.errors import ConfigError

T = TypeVar("T")
Registered = TypeVar("Registered")

log = logging.getLogger("l1flow_agents")


class Registry(Mapping[str, T]):
    """Names to things of one kind: this library's own, those of `register`, and those of installed packages.

    A package adds a thing by an entry point of ``group``. Which there are is read when a name is wanted that is not
    this library's, or when the table is listed; a package is imported when its thing is asked for, never before. Only
    names are looked up here, so a file that holds a name can choose among what is installed and nothing else.

    Args:
        what: one such thing, for messages: ``method``.
        group: of the entry points: ``l1flow_agents.methods``.
        own: this library's things, or where they are, ``module:attribute``.
        base: the class that things are subclasses or instances of.

    Example:
        >>> shapes = Registry("shape", "some_package.shapes", {"round": "math:tau"})
        >>> @shapes.register("square")
        ... class Square: ...
        >>> sorted(shapes)
        ['round', 'square']
        >>> shapes["round"]
        6.283185307179586
    """

    def __init__(self, what: str, group: str, own: Mapping[str, T | str], base: type = object) -> None:
        self.what, self.group, self.base = what, group, base
        self._things: dict[str, T | EntryPoint] = {  # an entry point until somebody asks for the thing
            name: EntryPoint(name, thing, group) if isinstance(thing, str) else thing for name, thing in own.items()
        }
        self._complete = False
        self._blamed: set[str] = set()

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """Add what is decorated under ``name``. A class that is defined again, as in a notebook, replaces itself.

        Raises:
            ConfigError: the name is taken, or it is no such thing.
        """
        if not isinstance(name, str):
            raise ConfigError(f"expected a name, as in @register('name'), got {name!r}")

        def add(thing: Registered) -> Registered:
            if name in self and _home(self._things[name]) != _home(thing):
                raise ConfigError(f"{self.what} {name!r} exists already; choose another name")
            self._things[name] = self._checked(name, thing)
            return thing

        return add

    def usable(self) -> Iterator[T]:
        """All that can be imported, the newest first; one line in the log, once, for a package's that cannot."""
        for name in reversed(list(self)):
            try:
                yield self[name]
            except ConfigError as error:
                if name not in self._blamed:
                    log.warning("left out: %s", error)
                self._blamed.add(name)

    def __getitem__(self, name: str) -> T:
        """The thing of this name.

        Raises:
            KeyError: there is none. ConfigError: a package has one, which cannot be imported or is no such thing.
        """
        if name not in self:
            raise KeyError(name)
        known = self._things[name]
        if not isinstance(known, EntryPoint):
            return known
        try:
            thing = known.load()
        except (Exception, SystemExit) as error:  # whatever a foreign module raises while it is imported
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigError(f"{self.what} {name!r} of {_origin(known)} cannot be imported ({reason})") from error
        self._things[name] = checked = self._checked(name, thing)
        return checked

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        if name not in self._things:
            self._read_entry_points()
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        self._read_entry_points()
        return iter(list(self._things))

    def __len__(self) -> int:
        self._read_entry_points()
        return len(self._things)

    def _read_entry_points(self) -> None:
        if self._complete:
            return
        self._complete = True
        for entry in sorted(entry_points(group=self.group), key=lambda entry: (_origin(entry), entry.name)):
            mine = self._things.setdefault(entry.name, entry)
            if mine is not entry and _home(mine) != _home(entry):
                log.warning("left out: %s %r of %s, the name is taken", self.what, entry.name, _origin(entry))

    def _checked(self, name: str, thing: object) -> T:
        fits = issubclass(thing, self.base) if isinstance(thing, type) else isinstance(thing, self.base)
        if not fits:
            wanted = f"{self.base.__module__}.{self.base.__qualname__}"
            raise ConfigError(f"{self.what} {name!r}: expected a {wanted}, got {thing!r}")
        return thing  # type: ignore[return-value]  # what T stands for cannot be asked at run time


def _home(thing: object) -> tuple[str, str]:
    """Module and name of a class or function, or where an entry point leads: its module may register it, too."""
    if isinstance(thing, EntryPoint):
        return thing.module, thing.attr
    return getattr(thing, "__module__", ""), getattr(thing, "__qualname__", f"object {id(thing)}")


def _origin(entry: EntryPoint) -> str:
    return f"package {entry.dist.name} {entry.dist.version}" if entry.dist else f"{entry.value}"
