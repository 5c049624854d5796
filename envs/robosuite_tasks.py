"""RoboMimic's five tasks, and environments from the ``env_args`` of a robomimic file."""

from __future__ import annotations

import difflib
from typing import Any

import gymnasium as gym

from l1flow_agents.envs import ENVS
from l1flow_agents.envs.robomimic_args import from_env_args
from l1flow_agents.envs.robosuite_env import RobosuiteEnv, Task
from l1flow_agents.errors import ConfigError
from l1flow_agents.layouts import LAYOUTS


class Lift(RobosuiteEnv):
    """Lift the cube 4 cm above the table. Its size varies."""

    task = Task("Lift", LAYOUTS["Lift-v0"])


class Can(RobosuiteEnv):
    """Put the can into its bin."""

    task = Task("PickPlaceCan", LAYOUTS["Can-v0"], model_varies=False)


class Square(RobosuiteEnv):
    """Put the square nut on its peg."""

    task = Task("NutAssemblySquare", LAYOUTS["Square-v0"], model_varies=False)


class Transport(RobosuiteEnv):
    """Two arms: take the hammer from its box, hand it over into the target bin, clear that bin of trash."""

    task = Task(
        "TwoArmTransport",
        LAYOUTS["Transport-v0"],
        n_arms=2,
        cameras=("shouldercamera0", "shouldercamera1", "robot0_eye_in_hand", "robot1_eye_in_hand"),
    )


class ToolHang(RobosuiteEnv):
    """Stand the hook in its base and hang the tool on it."""

    task = Task(
        "ToolHang",
        LAYOUTS["ToolHang-v0"],
        cameras=("sideview", "robot0_eye_in_hand"),
        image_size=240,
        model_varies=False,
    )


ENV_IDS = {one.task.name: f"{one.__name__}-v0" for one in (Lift, Can, Square, Transport, ToolHang)}


def env_from_args(env_args: dict[str, Any], **kwargs: Any) -> gym.Env:
    """The environment that a robomimic file (v0.1, v1.4.1 or v1.5) describes.

    The reward is sparse whatever the file says. ``kwargs`` go to `gymnasium.make` and win over the file.

    Args:
        env_args: ``json.loads(file["data"].attrs["env_args"])``.

    Raises:
        ConfigError: not one of this library's tasks, robots, controllers or control rates.

    Example:
        >>> env_from_args(gym.make("Can-v0", obs_type="state").unwrapped.env_args()).spec.id  # doctest: +SKIP
        'Can-v0'
    """
    name = str(env_args.get("env_name"))
    known = ENV_IDS | {env_id.removesuffix("-v0"): env_id for env_id in ENVS}
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
        raise ConfigError(f"env_args: env_name must be one of this library's tasks, got {name!r}; nearest: {nearest!r}")
    return gym.make(known[name], **{**from_env_args(env_args), **kwargs})
