"""How an environment was made, as plain values: what a checkpoint keeps, and what makes the environment again.

A description is data from a file that anybody may have written. So the environment is always made by its *id*, from
Gymnasium's registry, and only where it is needed; a wrapper must be a wrapper class of a package that is `TRUSTED`, or
of a module that this program imported itself. An import path of the file is compared, never followed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec, WrapperSpec
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker

from l1flow_agents.env_maker import (
    ARRAY,
    WATCHERS,
    EnvMaker,
    described_layers,
    is_among,
    layers_of,
    trusted_class,
    with_arrays,
)
from l1flow_agents.envs import ENVS, find_spec, is_ours, plain_id
from l1flow_agents.errors import ConfigError
from l1flow_agents.frozen import frozen
from l1flow_agents.names import plain
from l1flow_agents.wrappers import WRAPPERS

LEARNING = frozenset(["NormalizeObservation", "NormalizeReward"])  # wrappers that are what they have seen
WITHOUT_LIMIT = -1  # as `gymnasium.make` has it


@dataclass(frozen=True)
class EnvDescription:
    """An environment as plain values.

    Args:
        id: ``Name-v0`` or ``module:Name-v0``.
        kwargs: of the environment's constructor, without ``render_mode``.
        max_episode_steps: None as registered, -1 for no limit, as in `gymnasium.make`.
        wrappers: around what ``id`` stands for, innermost first; None as registered.
        entry_point: where the environment came from, to tell it from another one of its name.
        missing: what could not be described, and so cannot be made again.

    Example:
        >>> from gymnasium.wrappers import FlattenObservation
        >>> described = EnvDescription.of(FlattenObservation(gym.make("CartPole-v1", max_episode_steps=7)))
        >>> described.max_episode_steps, [wrapper.name for wrapper in described.wrappers]
        (7, ['FlattenObservation'])
    """

    id: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    max_episode_steps: int | None = None
    wrappers: tuple[WrapperSpec, ...] | None = None
    entry_point: str | None = None
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "kwargs", frozen(self.kwargs))
        if self.wrappers is not None:
            same = (WrapperSpec(one.name, one.entry_point, frozen(one.kwargs)) for one in self.wrappers)
            object.__setattr__(self, "wrappers", tuple(same))

    @classmethod
    def of(cls, env: Any) -> EnvDescription | None:
        """The description of a living environment, or of one of a vector of them; None if it was not made by an id."""
        spec = spec_of(env)
        return cls.from_spec(spec) if spec else None

    @classmethod
    def from_spec(cls, spec: EnvSpec) -> EnvDescription:
        """The plain part of a spec; the rest is named in ``missing``."""
        missing: list[str] = []
        kwargs = _described(spec.kwargs, "its argument", missing)
        kwargs.pop("render_mode", None)
        wrappers = []
        for wrapper in spec.additional_wrappers:
            if is_among(WATCHERS, wrapper.name, wrapper.entry_point):
                continue
            if is_among(LEARNING, wrapper.name, wrapper.entry_point):
                missing.append(f"wrapper {wrapper.name} has statistics of its own")
            elif wrapper.kwargs is None:
                missing.append(f"wrapper {wrapper.name} does not record its arguments (RecordConstructorArgs)")
            else:
                given = {name: _tagged(value) for name, value in wrapper.kwargs.items()}
                arguments = _described(given, f"wrapper {wrapper.name}'s argument", missing)
                wrappers.append(WrapperSpec(wrapper.name, wrapper.entry_point, arguments))
        limit = WITHOUT_LIMIT if spec.max_episode_steps is None else spec.max_episode_steps
        return cls(plain_id(spec), kwargs, limit, tuple(wrappers), _name_of(spec.entry_point), tuple(missing))

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> EnvDescription | None:
        """What `to_dict` made, checked; nothing is imported. None if the id is null. Keys but ``id`` may be missing.

        Raises:
            TypeError, KeyError: it is no such record.
        """
        if record["id"] is None:
            return None
        wrappers = record.get("additional_wrappers")
        described = cls(
            id=record["id"],
            kwargs=dict(record.get("kwargs") or {}),
            max_episode_steps=record.get("max_episode_steps"),
            wrappers=None if wrappers is None else tuple(WrapperSpec(**wrapper) for wrapper in wrappers),
            entry_point=record.get("entry_point"),
            missing=tuple(record.get("missing") or ()),
        )
        described._check_types()
        return described

    def to_dict(self) -> dict[str, Any]:
        """As plain values, by `EnvSpec.to_json`'s names; what is as registered is left out."""
        wrappers = self.wrappers
        parts = {
            "max_episode_steps": self.max_episode_steps,
            "additional_wrappers": None if wrappers is None else [plain(vars(wrapper)) for wrapper in wrappers],
            "entry_point": self.entry_point,
            "missing": list(self.missing) or None,
        }
        known = {name: part for name, part in parts.items() if part is not None}
        return {"id": self.id, "kwargs": plain(self.kwargs), **known}

    @property
    def usable_id(self) -> str:
        """The id by which Gymnasium makes this environment in this program."""
        return find_spec(self.id).id if self._is_ours else self.id

    def maker(self) -> EnvMaker:
        """What makes this environment.

        Raises:
            ConfigError: something of it cannot be described, is unknown here, or is not trusted; names it.
        """
        if self.missing:
            raise ConfigError(
                f"{self.id} cannot be made again from its description: {'; '.join(self.missing)}; make it yourself, "
                "and score by evaluate(agent, env.spec)"
            )
        spec = self._registered()
        kwargs = {**spec.kwargs, **plain(self.kwargs)}
        if self.max_episode_steps is not None:
            limit = None if self.max_episode_steps == WITHOUT_LIMIT else self.max_episode_steps
            spec = replace(spec, max_episode_steps=limit)
        if self.wrappers is None:
            return EnvMaker(replace(spec, kwargs=kwargs))
        wrappers = tuple((_wrapper_class(self.id, one), with_arrays(self.id, one)) for one in self.wrappers)
        return EnvMaker(replace(spec, kwargs=kwargs, additional_wrappers=()), wrappers)

    def is_of(self, spec: EnvSpec) -> bool:
        """Whether ``spec`` is the environment that this one is made from."""
        return plain_id(spec) == self.id.rpartition(":")[2] and is_ours(spec) == self._is_ours

    @property
    def _is_ours(self) -> bool:
        """A name of `ENVS`; old checkpoints do not say where it came from, and there it is this library's."""
        module, _, name = self.id.rpartition(":")
        return module in ("", "l1flow_agents") and name in ENVS and self.entry_point in (None, ENVS[name][0])

    def _registered(self) -> EnvSpec:
        module, _, name = self.id.rpartition(":")
        if name in ENVS and not module and not self._is_ours:
            spec = gym.registry.get(name)
            if spec is None or is_ours(spec):
                raise ConfigError(f"{name} is another package's ({self.entry_point}), which is not registered here")
            return spec
        try:
            return find_spec(self.id)
        except gym.error.Error as error:
            if module or not self.entry_point:
                raise
            where = f"{self.entry_point.partition(':')[0]}:{name}"
            raise ConfigError(
                f"{name} is not registered here; import what registers it, or say where it is, perhaps {where!r} "
                f"({' '.join(str(error).split())})"
            ) from None

    def _check_types(self) -> None:
        if not (isinstance(self.id, str) and isinstance(self.entry_point, str | None)):
            raise TypeError(f"env: expected texts as id and entry_point, got {self.id!r:.80} {self.entry_point!r:.80}")
        limit = self.max_episode_steps
        if limit is not None and (type(limit) is not int or not (limit == WITHOUT_LIMIT or limit > 0)):
            raise TypeError(f"env: expected max_episode_steps > 0, -1 or null, got {limit!r:.80}")
        for one in self.wrappers or ():
            if not (isinstance(one.entry_point, str) and isinstance(one.name, str) and isinstance(one.kwargs, dict)):
                raise TypeError(f"env: expected a wrapper of name, entry_point and kwargs, got {one!r:.80}")
        if not all(isinstance(name, str) for name in [*self.kwargs, *self.missing]):
            raise TypeError(f"env: expected names of arguments, got {list(self.kwargs)!r:.80}")


def spec_of(env: Any) -> EnvSpec | None:
    """`env.spec`, but exact where that is not; of a vector, that of its first environment.

    A limit outside other wrappers stays there: around `ActionChunk` it counts chunks. What the id's own entry point put
    around its environment comes with the id. Wrappers without arguments need not record them.
    """
    if not isinstance(env, gym.Env):
        return _spec_in(env)
    layers = layers_of(env)
    base = layers[0].env if layers else env
    if base.spec is None:
        return None
    own = [k for k, layer in enumerate(layers) if isinstance(layer, PassiveEnvChecker | OrderEnforcing)]
    limit, wrappers = described_layers(layers[own[0] if own else 0 :])
    return replace(base.spec, max_episode_steps=limit, additional_wrappers=wrappers)


def _spec_in(vector: Any) -> EnvSpec | None:
    """Of Gymnasium's or stable-baselines3's vectors, which is not imported here: workers need no torch."""
    inner = getattr(vector, "unwrapped", None)  # a pair of spaces has none
    if envs := getattr(inner, "envs", None):
        return spec_of(envs[0])
    with suppress(AttributeError, NotImplementedError):  # a vector that is not made of environments
        spec: EnvSpec | None = inner.get_attr("spec")[0]  # type: ignore[union-attr]
        return spec
    return None


def _described(arguments: Mapping[str, Any], what: str, missing: list[str]) -> dict[str, Any]:
    """The arguments that are plain values; the others are noted in ``missing``."""
    described = {}
    for name, value in arguments.items():
        value = plain(os.fspath(value) if isinstance(value, os.PathLike) else value)
        if _is_plain(value):
            described[name] = value
        else:
            missing.append(f"{what} {name} is no plain value, but of type {type(value).__name__}")
    return described


def _tagged(value: Any) -> Any:
    """Arrays so that they come back as arrays: Gymnasium's wrappers take no lists in their place."""
    return {ARRAY: value.tolist(), "dtype": str(value.dtype)} if isinstance(value, np.ndarray) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str | int) and _is_plain(part) for key, part in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return type(value) in (bool, int, float, str, type(None))


def _name_of(entry_point: Any) -> str | None:
    if entry_point is None or isinstance(entry_point, str):
        return entry_point
    return f"{getattr(entry_point, '__module__', '')}:{getattr(entry_point, '__qualname__', '')}"


def _wrapper_class(env_id: str, spec: WrapperSpec) -> type[gym.Wrapper]:
    """As `trusted_class`; what an installed package announces in `WRAPPERS` counts as imported."""
    name = spec.entry_point.partition(":")[2]
    if name in WRAPPERS:
        WRAPPERS[name]  # imports it from where the package says, wherever ``spec`` says it is
    return trusted_class(env_id, spec)
