"""Making environments again: the id's own, and the wrappers around it. Nothing here imports torch."""

from __future__ import annotations

import importlib
import inspect
import sys
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec, WrapperSpec
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from l1flow_agents.errors import ConfigError
from l1flow_agents.names import plain

TRUSTED = ("gymnasium.wrappers", "l1flow_agents.wrappers", "stable_baselines3", "gym_pusht")
# wrappers that watch: an agent does not notice them, and made again they would write over what was recorded
WATCHERS = frozenset(
    [
        *("EpisodeRecorder", "HumanRendering", "Monitor", "RecordEpisodeStatistics", "RecordRollouts", "RecordVideo"),
        *("RecordVideoByOutcome", "RenderCollection"),
    ]
)
ARRAY = "array"  # the key of an array in a description
NUMBERS = {name: np.dtype(name) for name in ("bool", "int8", "uint8", "int16", "int32", "int64", "float32", "float64")}


@dataclass(frozen=True)
class EnvMaker:
    """Makes an environment, here or in a worker process; keyword arguments win over those of ``spec``."""

    spec: EnvSpec
    wrappers: tuple[tuple[type[gym.Wrapper], dict[str, Any]], ...] = ()  # innermost first
    with_own: bool = False  # `wrappers` begin with those that the id's entry point puts around it

    def __call__(self, **kwargs: Any) -> gym.Env:
        env = gym.make(self.spec, **kwargs)
        n_own = len(described_layers(layers_of(env))[1]) if self.with_own else 0
        for wrapper, arguments in self.wrappers[n_own:]:
            try:
                env = wrapper(env, **arguments)
            except TypeError as error:
                raise ConfigError(f"{self.spec.id}: wrapper {wrapper.__name__} cannot be made ({error})") from error
        return env


def maker_of(spec: EnvSpec) -> EnvMaker:
    """What makes the environment of a spec that this program itself holds, callables and all; watchers left out.

    Raises:
        ConfigError: a wrapper did not record its arguments.
    """
    wrappers = []
    for one in spec.additional_wrappers:
        if is_among(WATCHERS, one.name, one.entry_point):
            continue
        module, _, name = one.entry_point.partition(":")
        wrapper = getattr(importlib.import_module(module), name, None)
        if not isinstance(wrapper, type):
            raise ConfigError(f"{spec.id}: wrapper {one.entry_point} is defined inside a function, expected a module's")
        if one.kwargs is None and not takes_nothing(wrapper):
            raise ConfigError(f"{spec.id}: wrapper {one.name} does not record its arguments (RecordConstructorArgs)")
        wrappers.append((wrapper, one.kwargs or {}))
    kwargs = {name: value for name, value in spec.kwargs.items() if name != "render_mode"}
    return EnvMaker(replace(spec, kwargs=kwargs, additional_wrappers=()), tuple(wrappers), with_own=True)


def layers_of(env: gym.Env) -> list[gym.Wrapper]:
    """The wrappers around an environment, innermost first."""
    layers: list[gym.Wrapper] = []
    while isinstance(env, gym.Wrapper):
        layers.insert(0, env)
        env = env.env
    return layers


def described_layers(layers: list[gym.Wrapper]) -> tuple[int | None, tuple[WrapperSpec, ...]]:
    """The step limit inside all others, and the wrappers that are more than checks and watchers."""
    limit: int | None = None
    wrappers: list[WrapperSpec] = []
    for layer in layers:
        if isinstance(layer, PassiveEnvChecker | OrderEnforcing):
            continue
        if isinstance(layer, TimeLimit) and not wrappers:
            limit = min(layer._max_episode_steps, limit or sys.maxsize)
        elif not watches(type(layer)):
            entry_point = f"{type(layer).__module__}:{type(layer).__name__}"
            wrappers.append(WrapperSpec(type(layer).__name__, entry_point, arguments_of(layer)))
    return limit, tuple(wrappers)


def arguments_of(layer: gym.Wrapper) -> dict[str, Any] | None:
    """Arguments that the wrapper recorded, {} if it takes none, None if nobody knows."""
    if isinstance(layer, RecordConstructorArgs):
        return {name: value for name, value in layer._saved_kwargs.items() if name != "env"}
    return {} if takes_nothing(type(layer)) else None


def takes_nothing(wrapper: type[gym.Wrapper]) -> bool:
    """Whether a wrapper has no argument but its environment, and so need not record any."""
    return len(inspect.signature(wrapper).parameters) == 1


def is_among(names: frozenset[str], name: str, module: str) -> bool:
    return name in names and module.startswith(TRUSTED)


def watches(wrapper: type[gym.Wrapper]) -> bool:
    return any(is_among(WATCHERS, base.__name__, base.__module__) for base in wrapper.__mro__)


def with_arrays(env_id: str, spec: WrapperSpec) -> dict[str, Any]:
    """The wrapper's arguments, with arrays for what `_tagged` made of them."""
    arguments = dict(plain(spec.kwargs))
    for name, value in arguments.items():
        if isinstance(value, dict) and value.keys() == {ARRAY, "dtype"}:
            try:
                arguments[name] = np.array(value[ARRAY], NUMBERS[value["dtype"]])
            except (LookupError, TypeError, ValueError) as error:
                raise ConfigError(f"{env_id}: {spec.name}'s {name} is no array of numbers ({error!r})") from None
    return arguments


def trusted_class(env_id: str, spec: WrapperSpec) -> type[gym.Wrapper]:
    """The wrapper class that a description names.

    Raises:
        ConfigError: it is of another module, no wrapper, or one that writes files.
    """
    module, _, name = spec.entry_point.partition(":")
    trusted = any(module == package or module.startswith(f"{package}.") for package in TRUSTED)
    if not trusted and module not in sys.modules:
        raise ConfigError(
            f"{env_id}: wrapper {spec.entry_point} is of a module that is not imported; import it first, or make the "
            "environment yourself and score by evaluate(agent, env.spec)"
        )
    try:
        found = getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{env_id}: wrapper {spec.entry_point!r} cannot be imported ({error})") from None
    if not (isinstance(found, type) and issubclass(found, gym.Wrapper)):
        raise ConfigError(f"{env_id}: expected a wrapper class, found none under {spec.entry_point!r:.120}")
    if watches(found):
        raise ConfigError(f"{env_id}: wrapper {spec.entry_point} records, and is not made by a description")
    return found
