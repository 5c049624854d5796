"""Demonstrations of robomimic files, back in their simulator. Nothing here imports torch."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np

from l1flow_agents.data.robomimic_hdf5 import RawDemo, demo_names, read_demo, read_env_args
from l1flow_agents.envs.robosuite_env import RobosuiteEnv
from l1flow_agents.envs.robosuite_internals import robosuite
from l1flow_agents.envs.robosuite_tasks import env_from_args
from l1flow_agents.errors import ConfigError, DatasetError
from l1flow_agents.parallel import in_order_by
from l1flow_agents.rotations import POSE, POSE_6D, matrix_to_axis_angle, pose_to_axis_angle, quaternion_to_matrix

ASSETS = f"{Path(robosuite.__file__).parent}/models/assets/"


class Replayed(NamedTuple):
    """How one demonstration went when its actions were played again."""

    name: str
    n_steps: int
    metres: float
    """Largest difference of any position (free bodies, slides) from the file's states, along the way."""
    radians: float
    """Largest difference of any angle (joints, free bodies)."""
    success: bool
    expected_success: bool
    """What the file says of the last step."""

    @property
    def agrees(self) -> bool:
        return self.success == self.expected_success

    def __str__(self) -> str:
        end = "success" if self.success else "failure"
        verdict = "as in the file" if self.agrees else "but NOT in the file"
        return (
            f"{self.name}: {self.n_steps} steps, off by {self.metres:.2g} m and {self.radians:.2g} rad, "
            f"ends in {end}, {verdict}"
        )


def replay(
    path: str | os.PathLike, n_demos: int | None = None, n_workers: int = 1, filter_key: str | None = None
) -> Iterator[Replayed]:
    """Play the actions of each demonstration from its first state on, one result after the other.

    Actions are poses or deltas, as the file's ``env_args`` say; rotation-6d poses are known by their width. The end is
    compared with the last reward. A file without rewards says how it ends by its last state and action.

    Args:
        n_demos: only the first so many.
        filter_key: only those under ``mask/<filter_key>``.

    Raises:
        DatasetError: names the file, the demonstration and the reason. WorkerError: a process died.
    """
    env_args = read_env_args(path)
    make_simulation(path, env_args)  # what is wrong with it is found here, before any process starts
    return in_order_by(
        partial(replayer, os.fspath(path), env_args), islice(demo_names(path, filter_key), n_demos), n_workers
    )


@contextmanager
def replayer(path: str, env_args: dict[str, Any]) -> Iterator[Callable[[str], Replayed]]:
    """Replays demonstrations by their names."""
    with simulation(path, env_args) as env:
        yield partial(replay_demo, path, env)


def replay_demo(path: str, env: RobosuiteEnv, name: str) -> Replayed:
    with blamed(path, name):
        demo, actions = demo_for(path, name, env)
        begin(env, demo)
        posture = env.get_state()["posture"]
        metres = radians = 0.0
        success = False
        for row, action in zip(demo.states, actions, strict=True):
            moved, turned = difference(env, row)
            metres, radians = max(metres, moved), max(radians, turned)
            success = env.step(action)[4]["is_success"]
        # shaped rewards, too, are 1 at success and less before
        rewards = demo.rewards
        expected = last_step(env, demo, actions, posture)[1] if rewards is None else bool(rewards[-1] > 0.99)
        return Replayed(name, len(actions), metres, radians, success, expected)


# ---- what `add_observations` shares --------------------------------------------------------------------------------


@contextmanager
def simulation(path: str, env_args: dict[str, Any], **settings: Any) -> Iterator[RobosuiteEnv]:
    """The environment of a file, after a reset; for many episodes, since building a simulator takes longer than one."""
    with closing(make_simulation(path, env_args, **settings)) as env:
        env.reset(seed=0)
        yield env


def make_simulation(path: str | os.PathLike, env_args: dict[str, Any], **settings: Any) -> RobosuiteEnv:
    """The environment of a file, without pictures unless ``settings`` want them; cheap until its first reset."""
    with blamed(path):
        try:
            env = env_from_args(env_args, **{"obs_type": "state", **settings}).unwrapped
        except (AttributeError, KeyError, TypeError) as error:
            raise DatasetError(f"{path}: attribute 'env_args' of 'data' is not as robomimic's ({error!r})") from error
    if not isinstance(env, RobosuiteEnv):
        raise DatasetError(f"{path}: expected demonstrations of a robosuite task, found {env_args['env_name']!r}")
    return env


@contextmanager
def blamed(path: str | os.PathLike, name: str | None = None) -> Iterator[None]:
    """What the environment refuses came from the file: name it, and the demonstration."""
    try:
        yield
    except ConfigError as error:
        raise DatasetError(f"{path}: {name + ': ' if name else ''}{error}") from error


def demo_for(path: str, name: str, env: RobosuiteEnv) -> tuple[RawDemo, np.ndarray]:
    """The demonstration, checked, and its actions as ``env`` takes them."""
    demo = read_demo(path, name)
    assert env.action_space.shape is not None
    width = env.action_space.shape[0]
    widths = [width] + [width // POSE * POSE_6D] * (env.control == "absolute")
    if demo.actions.shape[1] not in widths or not len(demo.actions):
        raise DatasetError(
            f"{path}: {name}: expected actions of shape (n_steps, {' or '.join(map(str, widths))}), "
            f"found {demo.actions.shape}"
        )
    for key, array in [("actions", demo.actions), ("states", demo.states)]:
        if not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            raise DatasetError(f"{path}: {name}: key {key!r} holds a NaN or infinity, first in row {row}")
    if demo.rewards is not None and demo.rewards.ndim != 1:
        raise DatasetError(f"{path}: {name}: expected rewards of shape (n_steps,), found {demo.rewards.shape}")
    return demo, demo.actions if demo.actions.shape[1] == width else pose_to_axis_angle(demo.actions)


def begin(env: RobosuiteEnv, demo: RawDemo) -> None:
    """Restore the first state, in the demonstration's own model."""
    state: dict[str, Any] = {"states": demo.states[0]}
    if demo.model_file is not None:
        # written on another machine, where robosuite's meshes and textures lie elsewhere
        state["model"] = re.sub(r'(?<=file=")[^"]*/robosuite/models/assets/', lambda _: ASSETS, demo.model_file)
    env.set_state(state)


def last_step(
    env: RobosuiteEnv, demo: RawDemo, actions: np.ndarray, posture: np.ndarray
) -> tuple[dict[str, np.ndarray], bool]:
    """Observation and success after the last action from the last state.

    Of what the states lack, ``posture`` is given and the fingers' target follows from the actions; only the solver's
    first guess is not known, which is worth about 1e-7.
    """
    env.set_state({"states": demo.states[-1], "posture": posture})  # the fingers' target is 0, as at the start
    grippers = [robot.gripper["right"] for robot in env.simulator.robots]
    for action in actions[:-1].reshape(len(actions) - 1, -1, POSE):
        for gripper, one in zip(grippers, action, strict=True):
            gripper.format_action(one[6:])
    targets = [gripper.current_action for gripper in grippers]
    env.set_state({"states": demo.states[-1], "posture": posture, "gripper": targets})
    observation, *_, info = env.step(actions[-1])
    return observation, info["is_success"]


def difference(env: RobosuiteEnv, row: np.ndarray) -> tuple[float, float]:
    """How far positions (metres) and angles (radians) are from those of a state [time, qpos, qvel]."""
    model = env.simulator.sim.model._model
    here, there = env.get_state()["states"][1 : 1 + model.nq], row[1 : 1 + model.nq]
    kinds, first = model.jnt_type, model.jnt_qposadr
    free = first[kinds == mujoco.mjtJoint.mjJNT_FREE]
    ball = first[kinds == mujoco.mjtJoint.mjJNT_BALL]
    metres = [first[kinds == mujoco.mjtJoint.mjJNT_SLIDE], (free[:, None] + range(3)).ravel()]
    hinges = first[kinds == mujoco.mjtJoint.mjJNT_HINGE]
    quaternions = np.concatenate([ball, free + 3])[:, None] + range(4)  # wxyz
    apart = np.abs(here - there)
    moved = apart[np.concatenate(metres)].max(initial=0.0)
    return float(moved), max(float(apart[hinges].max(initial=0.0)), _angle(here[quaternions], there[quaternions]))


def _angle(left: np.ndarray, right: np.ndarray) -> float:
    """The largest angle between two (n, 4) arrays of wxyz quaternions; exactly 0 where they are the same."""
    differ = (left != right).any(axis=1)
    one, other = (quaternion_to_matrix(np.roll(q[differ], -1, axis=1)) for q in (left, right))
    turns = matrix_to_axis_angle(np.swapaxes(one, -1, -2) @ other)
    return float(np.linalg.norm(turns, axis=-1).max(initial=0.0))
