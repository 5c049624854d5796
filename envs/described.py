"""Whether demonstrations are of the environment that an agent acts in, by what their file says of it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from l1flow_agents.errors import ConfigError, DatasetError, L1FlowError


def check_described(env_args: Mapping[str, Any] | None, source: str, env: Any) -> None:
    """Hold robomimic's ``env_args`` of the data against the environment.

    Refused are actions that mean something else there, or another task. Another robosuite, or another variant of the
    task (``Square_D0``, ``Square_D1``), is a warning: agents may well carry over. Environments that do not describe
    themselves in ``env_args()`` cannot be compared.

    Args:
        source: the data set, for messages.
        env: an environment, wrapped or not, or ``env_id`` and ``env_kwargs`` as attributes; others are not compared.

    Raises:
        DatasetError: says in one line what differs. ``dataclasses.replace(episodes, env_args=None)`` forgets it.
    """
    own = None if env_args is None else _own_args(env)
    if env_args is None or own is None:
        return
    from l1flow_agents.envs.robomimic_args import from_env_args

    wanted = from_env_args(own)
    try:
        given = from_env_args(dict(env_args))
    except ConfigError as error:
        raise DatasetError(f"{source}: not demonstrations for {own['env_name']}: {error}") from error
    differing = [
        f"{name} is {given[name]!r}, the environment's {wanted[name]!r}"
        for name in ("control", "cameras", "image_size")
        if name == "control" or (name in given and name in wanted)
        if _compatible(name, given[name], wanted[name]) is False
    ]
    if _family(env_args["env_name"]) != _family(own["env_name"]):
        differing.insert(0, f"env_name is {env_args['env_name']!r}, the environment's {own['env_name']!r}")
    if differing:
        raise DatasetError(f"{source}: demonstrations of another environment: {'; '.join(differing)}")
    for name in ("env_name", "env_version"):
        if env_args.get(name) != own[name]:
            warnings.warn(
                f"{source}: {name} is {env_args.get(name)!r}, the environment's {own[name]!r}: replay the file to see "
                "whether that matters (l1flow replay)",
                stacklevel=3,
            )


def _compatible(name: str, given: Any, wanted: Any) -> bool:
    """More cameras than the environment draws do no harm."""
    return set(wanted) <= set(given) if name == "cameras" else bool(given == wanted)


def _family(name: str) -> str:
    """MimicGen's variants are of one family; so are robomimic's Square and MimicGen's."""
    return re.sub(r"_D\d+$", "", name).replace("NutAssemblySquare", "Square")


def _own_args(env: Any) -> dict[str, Any] | None:
    """The environment's description of itself; it is made, which costs little before its first reset."""
    if isinstance(env, gym.Env):
        return env.unwrapped.env_args() if hasattr(env.unwrapped, "env_args") else None
    if getattr(env, "env_id", None) is None:
        return None
    try:
        made = gym.make(env.env_id, **env.env_kwargs)
    except (gym.error.Error, L1FlowError, TypeError):
        return None  # another machine's environment: nothing to compare with
    with_args = _own_args(made)
    made.close()
    return with_args
