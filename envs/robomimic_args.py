"""robomimic's ``env_args``, by which its data files describe an environment: written and read."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from l1flow_agents.envs.robosuite_internals import robosuite
from l1flow_agents.errors import ConfigError
from l1flow_agents.names import shown
from l1flow_agents.rotations import POSITION_SCALE, ROTATION_SCALE

CONTROL_FREQ = 20  # actions a second

# OSC_POSE as the data sets of robomimic v1.5 describe it
OSC_POSE = {
    "type": "OSC_POSE",
    "input_max": 1,
    "input_min": -1,
    "output_max": [POSITION_SCALE] * 3 + [ROTATION_SCALE] * 3,
    "output_min": [-POSITION_SCALE] * 3 + [-ROTATION_SCALE] * 3,
    "kp": 150,
    "damping_ratio": 1,
    "impedance_mode": "fixed",
    "kp_limits": [0, 300],
    "damping_ratio_limits": [0, 10],
    "position_limits": None,
    "orientation_limits": None,
    "uncouple_pos_ori": True,
    "input_ref_frame": "world",
    "interpolation": None,
    "ramp_ratio": 0.2,
    "gripper": {"type": "GRIP"},
}
FIXED = (  # its settings that decide the physics, besides those that `from_env_args` reads
    *("input_max", "input_min", "output_max", "output_min", "kp", "damping_ratio", "impedance_mode"),
    *("position_limits", "orientation_limits", "uncouple_pos_ori", "interpolation"),
)


def to_env_args(
    name: str, n_arms: int, control: str, images: bool, cameras: Sequence[str], image_size: int, extras: Sequence[str]
) -> dict[str, Any]:
    """The ``env_args`` of robosuite's task ``name``; ``env_kwargs`` in it are what ``robosuite.make`` takes."""
    kwargs: dict[str, Any] = {
        "has_renderer": False,
        "has_offscreen_renderer": images,
        "ignore_done": True,
        "use_object_obs": True,
        "use_camera_obs": images,
        "control_freq": CONTROL_FREQ,
        "controller_configs": {"type": "BASIC", "body_parts": {"right": {**OSC_POSE, "input_type": control}}},
        "robots": ["Panda"] * n_arms,
        "camera_depths": False,
        "camera_names": list(cameras),
        "camera_heights": [image_size] * len(cameras),
        "camera_widths": [image_size] * len(cameras),
        "reward_shaping": False,
        "lite_physics": False,
    }
    if n_arms == 2:
        kwargs["env_configuration"] = "opposed"
    if extras:
        kwargs["extras"] = list(extras)
    return copy.deepcopy({"env_name": name, "env_version": robosuite.__version__, "type": 1, "env_kwargs": kwargs})


def from_env_args(env_args: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `RobosuiteEnv` that ``env_args`` (v0.1, v1.4.1 or v1.5) amount to.

    Raises:
        ConfigError: damaged, or not this library's robots, controllers or control rates.
    """
    name = env_args.get("env_name")
    if not isinstance(name, str):
        raise ConfigError(f"env_args: env_name must be text, got {shown(name)}")
    given = _mapping(env_args, "env_kwargs", name)
    controller = _mapping(given, "controller_configs", name)
    parts = _mapping(controller, "body_parts", name)
    arm = _mapping(parts, "right", name) if "right" in parts else controller  # robosuite < 1.5: the arm's, flat
    two_arms = given.get("robots") == ["Panda"] * 2
    # robosuite 1.5 reads input_type and ignores control_delta, which older ones read
    absolute = arm["input_type"] == "absolute" if "input_type" in arm else arm.get("control_delta", True) is False
    # robosuite's own default is the base's frame; one arm's base is not turned, so deltas are the same in both
    frames = ("world",) if two_arms or absolute else ("world", "base")
    for key, value, allowed in [
        ("type", env_args.get("type"), (1,)),
        ("robots", given.get("robots"), (["Panda"], ["Panda", "Panda"], "Panda")),
        ("controller type", arm.get("type"), ("OSC_POSE",)),
        ("input_ref_frame", arm.get("input_ref_frame", "world"), frames),
        *((key, arm.get(key, OSC_POSE[key]), (OSC_POSE[key],)) for key in FIXED),
        ("control_freq", given.get("control_freq", CONTROL_FREQ), (CONTROL_FREQ,)),
        (
            "env_configuration",
            given.get("env_configuration"),
            ("opposed", "single-arm-opposed") if two_arms else (None, "default"),
        ),
    ]:
        if value not in allowed:
            raise ConfigError(f"env_args of {name}: {key} must be {' or '.join(map(repr, allowed))}, got {value!r}")
    settings: dict[str, Any] = {"control": "absolute" if absolute else "delta", "obs_type": "state"}
    if "extras" in given:
        settings["extras"] = given["extras"]
    if given.get("use_camera_obs"):
        settings.update(obs_type="image", cameras=_cameras(name, given), image_size=_image_size(name, given))
    return settings


def _mapping(holder: Mapping[str, Any], key: str, name: str) -> Mapping[str, Any]:
    value = holder.get(key)
    if not isinstance(value, Mapping | None):
        raise ConfigError(f"env_args of {name}: {key} must be a mapping, got {shown(value)}")
    return value or {}


def _cameras(name: str, given: Mapping[str, Any]) -> list[str]:
    cameras = _listed(given.get("camera_names"))
    if not all(isinstance(camera, str) for camera in cameras):
        raise ConfigError(f"env_args of {name}: camera_names must be names, got {shown(cameras)}")
    return cameras


def _image_size(name: str, given: Mapping[str, Any]) -> int:
    sizes = [*_listed(given.get("camera_heights")), *_listed(given.get("camera_widths"))]
    if not sizes or not isinstance(sizes[0], int) or any(size != sizes[0] for size in sizes):
        raise ConfigError(f"env_args of {name}: images must be square and of one size, got {shown(sizes)}")
    return sizes[0]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
