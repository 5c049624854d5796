"""Observations, and absolute actions, for the states of a robomimic file. Nothing here imports torch."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from l1flow_agents.data.robomimic_hdf5 import demo_names, read_demo, read_env_args, read_filter_keys
from l1flow_agents.data.robomimic_writer import RobomimicWriter
from l1flow_agents.demonstration import Demonstration
from l1flow_agents.demonstrations.playback import begin, blamed, demo_for, last_step, make_simulation, simulation
from l1flow_agents.envs.robosuite_env import RobosuiteEnv
from l1flow_agents.errors import ConfigError, DatasetError
from l1flow_agents.parallel import in_order_by
from l1flow_agents.rotations import POSE, matrix_to_axis_angle, pose_to_rotation_6d

ACTIONS = ("same", "absolute", "rotation-6d")
MADE_WITH = "add_observations"  # attribute of each demonstration: the settings, as JSON


def add_observations(
    path: str | os.PathLike,
    output: str | os.PathLike,
    obs_type: str = "state",
    cameras: Sequence[str] | None = None,
    image_size: int | None = None,
    render_quality: str = "dataset",
    actions: str = "same",
    n_workers: int = 1,
    progress_bar: bool = False,
    cluster: str | None = None,
) -> int:
    """Write what ``path`` holds into ``output``, with the observations that belong to its states.

    ``path`` may be a raw file of robosuite's own scripts, whose ``env_info`` says how the environment was made.
    Every stored state is restored and observed; only the last action is stepped, for the last ``next_obs``. Rewards and
    dones are the file's; where it has none, rewards are 1 where the state after the action is a success, dones also at
    the last step. Everything else is copied. Demonstration k of the output is the k-th by number of the input: the
    numbers stay, unless the input's have gaps, which close; ``mask`` follows. Run again after an interruption, it
    continues, and the file is the same, whoever works.

    Args:
        obs_type, cameras, image_size, render_quality: as the environment takes them; ``output`` has env_args for them.
        actions: ``same``; ``absolute``: where each action sends the hand, [position, axis-angle, gripper] an arm in
            the world, for ``control="absolute"``; ``rotation-6d``: [position, rotation-6d, gripper], for
            `Rotation6dAction` over that.
        n_workers, cluster: processes here, or the address of a Ray cluster, all of whose cores work (`in_order`). Its
            machines read ``path``, which must be the same file on all of them.

    Returns:
        The number of demonstrations in ``output``.

    Raises:
        ConfigError: a setting or a cluster that does not exist. WorkerError: a process died.
        DatasetError: names the file, the demonstration and the reason.
    """
    if Path(path).resolve() == Path(output).resolve():
        raise ConfigError(f"expected an output other than the input, got {output} twice")
    if actions not in ACTIONS:
        raise ConfigError(f"actions must be one of {ACTIONS}, got {actions!r}")
    settings: dict[str, Any] = {"obs_type": obs_type, "cameras": cameras, "image_size": image_size}
    settings = {key: value for key, value in settings.items() if value is not None}
    if obs_type == "state" and len(settings) > 1:
        raise ConfigError("cameras and image_size are for obs_type 'image' or 'image_state', got 'state'")
    settings["render_quality"] = render_quality
    env_args, names = read_env_args(path), demo_names(path)
    new_numbers = {name: f"demo_{k}" for k, name in enumerate(names)}
    filter_keys = {key: [new_numbers[name] for name in listed] for key, listed in read_filter_keys(path).items()}
    control = {} if actions == "same" else {"control": "absolute"}
    described = make_simulation(path, env_args, **settings, **control).env_args()
    with RobomimicWriter(output, described, filter_keys) as writer:
        _check_same(path, names, writer, json.dumps({**settings, "actions": actions}))
        worker = partial(observer, os.path.abspath(path), env_args, settings, actions)
        demos = in_order_by(worker, names[len(writer) :], n_workers, cluster)
        with tqdm(total=len(names), initial=len(writer), unit="demo", disable=not progress_bar) as bar:
            for demo in demos:
                writer.append(demo)
                bar.update()
        return len(writer)


@contextmanager
def observer(
    path: str, env_args: dict[str, Any], settings: dict[str, Any], form: str
) -> Iterator[Callable[[str], Demonstration]]:
    """Observes demonstrations by their names; ``form`` of the actions."""
    if not Path(path).is_file():
        raise DatasetError(f"{path}: no such file on {socket.gethostname()}, which reads it, too")
    made_with = json.dumps({**settings, "actions": form})
    with simulation(path, env_args, **settings) as env:
        yield partial(observe_demo, path, env, form, made_with)


def observe_demo(path: str, env: RobosuiteEnv, form: str, made_with: str, name: str) -> Demonstration:
    with blamed(path, name):
        demo, actions = demo_for(path, name, env)
        begin(env, demo)
        posture = env.get_state()["posture"]
        observations, successes, poses = [], [], []
        for row, action in zip(demo.states, actions, strict=True):
            env.set_state({"states": row})
            observations.append(env.observe())
            successes.append(env.is_success())
            if form != "same":
                poses.append(absolute(env, action))
        observation, success = last_step(env, demo, actions, posture)
        observations.append(observation)
        successes.append(success)
    converted = demo.actions if form == "same" else np.array(poses)
    past = {key: np.stack([one[key] for one in observations]) for key in observations[0]}
    rewards = np.array(successes[1:]) if demo.rewards is None else demo.rewards
    dones = np.array([*successes[1:-1], True]) if demo.dones is None else demo.dones
    return Demonstration(
        observations={key: array[:-1] for key, array in past.items()},
        next_observations={key: array[1:] for key, array in past.items()},
        actions=pose_to_rotation_6d(converted) if form == "rotation-6d" else converted,
        states=demo.states,
        rewards=rewards,
        dones=dones,
        model_file=demo.model_file,
        extra=demo.extra,
        attributes={**demo.attributes, MADE_WITH: made_with},
    )


def absolute(env: RobosuiteEnv, action: np.ndarray) -> np.ndarray:
    """(7 n,) -> (7 n,): where the controllers would send the hands from here, [position, axis-angle, gripper]."""
    if env.control == "absolute":
        return action
    poses = []
    for robot, one in zip(env.simulator.robots, action.reshape(-1, POSE), strict=True):
        arm = robot.part_controllers["right"]
        arm.set_goal(one[:6])
        poses.append(np.concatenate([arm.goal_pos, matrix_to_axis_angle(arm.goal_ori), one[6:]]))
    return np.concatenate(poses)


def _check_same(path: str | os.PathLike, names: list[str], writer: RobomimicWriter, made_with: str) -> None:
    """What is written already must have come from ``path``, with these settings."""
    if len(writer) > len(names):
        raise DatasetError(f"{writer.path}: expected at most the {len(names)} of {path}, found {len(writer)}")
    for k in {0, len(writer) - 1} if len(writer) else ():
        if (found := writer.attributes(k).get(MADE_WITH)) != made_with:
            raise DatasetError(f"{writer.path}: demo_{k}: expected to continue with {made_with}, found {found}")
        if not np.array_equal(writer.read(k).states, read_demo(path, names[k]).states):
            raise DatasetError(f"{writer.path}: demo_{k}: expected the states of {path}: {names[k]}, found others")
