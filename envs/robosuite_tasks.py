"""RoboMimic's five tasks, and environments from the ``env_args`` of a robomimic file."""

from __future__ import annotations

import difflib
from typing import Any

import gymnasium as gym

from l1flow_agents.envs import ENVS
from l1flow_agents.envs.robosuite_env import CONTROL_FREQ, OSC_POSE, RobosuiteEnv, Task
from l1flow_agents.errors import ConfigError


class Lift(RobosuiteEnv):
    """Lift the cube 4 cm above the table. Its size varies."""

    task = Task("Lift", object_dim=10)


class Can(RobosuiteEnv):
    """Put the can into its bin."""

    task = Task("PickPlaceCan", object_dim=14, model_varies=False)


class Square(RobosuiteEnv):
    """Put the square nut on its peg."""

    task = Task("NutAssemblySquare", object_dim=14, model_varies=False)


class Transport(RobosuiteEnv):
    """Two arms: take the hammer from its box, hand it over into the target bin, clear that bin of trash."""

    task = Task(
        "TwoArmTransport",
        object_dim=41,
        n_arms=2,
        cameras=("shouldercamera0", "shouldercamera1", "robot0_eye_in_hand", "robot1_eye_in_hand"),
    )


class ToolHang(RobosuiteEnv):
    """Stand the hook in its base and hang the tool on it."""

    task = Task(
        "ToolHang", object_dim=44, cameras=("sideview", "robot0_eye_in_hand"), image_size=240, model_varies=False
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
    name, given = str(env_args.get("env_name")), env_args.get("env_kwargs", {})
    known = ENV_IDS | {env_id.removesuffix("-v0"): env_id for env_id in ENVS}
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
        raise ConfigError(f"env_args: env_name must be one of this library's tasks, got {name!r}; nearest: {nearest!r}")

    controller = given.get("controller_configs") or {}
    arm = controller.get("body_parts", {}).get("right", controller)  # robosuite < 1.5 has the arm's settings flat
    two_arms = len(given.get("robots", ())) == 2
    for key, value, allowed in [
        ("type", env_args.get("type"), (1,)),
        ("robots", given.get("robots"), (["Panda"], ["Panda", "Panda"], "Panda")),
        ("controller type", arm.get("type"), ("OSC_POSE",)),
        *((key, arm.get(key, OSC_POSE[key]), (OSC_POSE[key],)) for key in ("input_ref_frame", "kp", "output_max")),
        ("control_freq", given.get("control_freq", CONTROL_FREQ), (CONTROL_FREQ,)),
        (
            "env_configuration",
            given.get("env_configuration"),
            ("opposed", "single-arm-opposed") if two_arms else (None, "default"),
        ),
    ]:
        if value not in allowed:
            raise ConfigError(f"env_args of {name}: {key} must be {' or '.join(map(repr, allowed))}, got {value!r}")
    # robosuite 1.5 reads input_type and ignores control_delta, which older ones read
    absolute = arm["input_type"] == "absolute" if "input_type" in arm else arm.get("control_delta", True) is False
    settings: dict[str, Any] = {"control": "absolute" if absolute else "delta", "obs_type": "state"}
    if given.get("use_camera_obs"):
        settings.update(obs_type="image", cameras=_listed(given["camera_names"]), image_size=_image_size(name, given))
    return gym.make(known[name], **{**settings, **kwargs})


def _image_size(name: str, given: dict[str, Any]) -> int:
    sizes = {*_listed(given["camera_heights"]), *_listed(given["camera_widths"])}
    if len(sizes) != 1:
        raise ConfigError(f"env_args of {name}: images must be square and of one size, got {sorted(sizes)}")
    return sizes.pop()


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
