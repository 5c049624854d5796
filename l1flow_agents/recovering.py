"""The environment that a data set was recorded in, made again."""

from __future__ import annotations

import os
from typing import Any

import gymnasium as gym

from l1flow_agents.data.minari import read_env_spec
from l1flow_agents.env_description import WITHOUT_LIMIT, EnvDescription
from l1flow_agents.errors import DatasetError


def recover_environment(path: str | os.PathLike, evaluation: bool = False, **kwargs: Any) -> gym.Env:
    """The environment of the Minari data set at ``path``, from its description and nothing else.

    It is made by its id from Gymnasium's registry, with wrappers that are trusted: what the file says of modules is
    compared, never imported. Minari's own `recover_environment` imports them.

    Args:
        evaluation: that in which agents are to be evaluated, where there is another.
        kwargs: as in ``gymnasium.make``, such as ``render_mode``.

    Raises:
        DatasetError: it does not say, or what it says cannot be read.
        ConfigError: an environment or wrapper that is unknown here, or is not trusted.
    """
    record = read_env_spec(path, evaluation)
    if record is None:
        raise DatasetError(f"{path}: does not say in which environment it was recorded (env_spec)")
    if ":" in str(record.get("id")):  # gym.make would import the module before the colon
        raise DatasetError(f"{path}: env_spec: expected the id of an environment, found {str(record['id'])[:200]!r}")
    limit = record.get("max_episode_steps")
    try:
        described = EnvDescription.from_dict({**record, "max_episode_steps": WITHOUT_LIMIT if limit is None else limit})
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"{path}: env_spec cannot be read ({str(error)[:200]})") from None
    if described is None:
        raise DatasetError(f"{path}: env_spec names no environment")
    return described.maker()(**kwargs)
