"""Source demonstrations: what each step knew, and where the subtasks end."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from l1flow_agents.data.robomimic_hdf5 import RawDemo, demo_names, read_env_args
from l1flow_agents.demonstrations.generation.segments import Segment, action_target, cut, inverse
from l1flow_agents.demonstrations.generation.task import GRIPPER, TaskSpec
from l1flow_agents.demonstrations.playback import begin, blamed, demo_for, make_simulation
from l1flow_agents.envs.robosuite_env import RobosuiteEnv
from l1flow_agents.errors import DatasetError

INFO = "datagen_info"  # MimicGen's name for what `Steps` holds


@dataclass(frozen=True)
class Steps:
    """An episode of T steps, before each action: poses (T, 4, 4), signals (T,) bool, gripper (T,)."""

    hand: np.ndarray
    objects: dict[str, np.ndarray]
    signals: dict[str, np.ndarray]
    targets: np.ndarray
    gripper: np.ndarray

    def info(self) -> dict[str, Any]:
        """As MimicGen stores it, for `RobomimicWriter.append`."""
        signals = {name: values.astype(np.int64) for name, values in self.signals.items() if name != GRIPPER}
        return {
            "eef_pose": self.hand,
            "object_poses": self.objects,
            "subtask_term_signals": signals,
            "target_pose": self.targets,
            "gripper_action": self.gripper[:, None],
        }


@dataclass(frozen=True)
class Source:
    """A demonstration and the ends (exclusive) of its subtasks, before any offset."""

    name: str
    steps: Steps
    ends: tuple[int, ...]

    def segments(self, spec: TaskSpec, rng: np.random.Generator) -> list[Segment]:
        """Its pieces, with offsets drawn anew; an offset never swallows the next piece."""
        ends = []
        for subtask, (end, following) in zip(spec.subtasks[:-1], pairwise(self.ends), strict=True):
            low, high = subtask.offset
            ends.append(min(end + int(rng.integers(low, high, endpoint=True)), following - 1))
        ends.append(self.ends[-1])
        return [self._segment(spec, number, *piece) for number, piece in enumerate(pairwise([0, *ends]))]

    def _segment(self, spec: TaskSpec, number: int, first: int, end: int) -> Segment:
        objects = {name: poses[first] for name, poses in self.steps.objects.items()}
        carried, hand = spec.subtasks[number].carries, self.steps.hand[first]
        segment = Segment(
            start=hand,
            targets=self.steps.targets[first:end],
            gripper=self.steps.gripper[first:end],
            reference=spec.reference(number, objects),
            references=spec.references(objects),
            held=None if carried is None else inverse(hand) @ objects[carried],
        )
        near = spec.subtasks[number].near
        return segment if near is None else segment.from_within(near)


def read_sources(
    path: str | os.PathLike, spec: TaskSpec, n_sources: int | None = None, filter_key: str | None = None
) -> list[Source]:
    """The first ``n_sources`` demonstrations of a robomimic file of delta actions, cut into subtasks.

    What each step knew is the file's ``datagen_info``, or is asked of the simulator, in the stored states.

    Raises:
        DatasetError: names the file, the demonstration and the reason.
    """
    env = make_simulation(path, read_env_args(path))
    if env.control != "delta" or env.task.n_arms != 1:
        raise DatasetError(f"{path}: expected delta actions of one arm, found {env.control} of {env.task.n_arms}")
    if not spec.bodies and not hasattr(env, "object_poses"):
        raise DatasetError(f"{path}: expected demonstrations of a variant of the task, found {env.task.name}")
    env.reset(seed=0)
    spec.object_poses(env)  # a body that does not exist is not the demonstrations' fault
    try:
        return [_source(os.fspath(path), name, env, spec) for name in demo_names(path, filter_key)[:n_sources]]
    finally:
        env.close()


def _source(path: str, name: str, env: RobosuiteEnv, spec: TaskSpec) -> Source:
    with blamed(path, name):
        demo, actions = demo_for(path, name, env)
        stored = f"{INFO}/eef_pose" in demo.extra and not spec.bodies
        steps = _stored(path, demo, name) if stored else _asked(demo, actions, env, spec)
    ends: list[int] = []
    for number, subtask in enumerate(spec.subtasks):
        for wanted in (subtask.object, subtask.carries):
            if wanted is not None and wanted not in steps.objects:
                raise DatasetError(f"{path}: {name}: no pose of {wanted!r}, found {sorted(steps.objects)}")
        if subtask.signal is None:
            ends.append(len(actions))
            continue
        if subtask.signal not in steps.signals:
            raise DatasetError(f"{path}: {name}: no signal {subtask.signal!r}, found {sorted(steps.signals)}")
        end = cut(steps.signals[subtask.signal], ends[-1] if ends else 0)
        if end is None or end >= len(actions):
            raise DatasetError(f"{path}: {name}: subtask {number} never ends, {subtask.signal!r} does not change")
        ends.append(end)
    return Source(name, steps, tuple(ends))


def _stored(path: str, demo: RawDemo, name: str) -> Steps:
    def under(part: str) -> dict[str, np.ndarray]:
        prefix = f"{INFO}/{part}/"
        return {key.removeprefix(prefix): array for key, array in demo.extra.items() if key.startswith(prefix)}

    hand, targets, objects = (
        demo.extra[f"{INFO}/eef_pose"],
        demo.extra.get(f"{INFO}/target_pose"),
        under("object_poses"),
    )
    n_steps, gripper = len(demo.actions), demo.actions[:, -1]
    for key, poses in {"eef_pose": hand, "target_pose": targets, **objects}.items():
        if poses is None or poses.shape != (n_steps, 4, 4) or not np.isfinite(poses).all():
            found = "none" if poses is None else poses.shape
            raise DatasetError(f"{path}: {name}: {INFO}/{key}: expected finite poses ({n_steps}, 4, 4), found {found}")
    signals = {key: values.ravel().astype(bool) for key, values in under("subtask_term_signals").items()}
    assert targets is not None
    if wrong := [key for key, values in signals.items() if values.shape != (n_steps,)]:
        raise DatasetError(f"{path}: {name}: {INFO}: signals {wrong} have not the {n_steps} steps of the actions")
    return Steps(hand, objects, {**signals, GRIPPER: gripper > 0}, targets, gripper)


def _asked(demo: RawDemo, actions: np.ndarray, env: RobosuiteEnv, spec: TaskSpec) -> Steps:
    begin(env, demo)
    log = StepLog()
    for row, action in zip(demo.states, actions, strict=True):
        env.set_state({"states": row})
        log.add(env, spec, action)
    return log.steps()


class StepLog:
    """Gathers `Steps`."""

    def __init__(self) -> None:
        self._rows: list[tuple[np.ndarray, dict[str, np.ndarray], dict[str, bool], np.ndarray]] = []

    def add(self, env: RobosuiteEnv, spec: TaskSpec, action: np.ndarray) -> None:
        """The present state, before ``action``."""
        self._rows.append((env.eef_pose(), spec.object_poses(env), spec.signals(env, action[-1]), np.array(action)))

    def steps(self) -> Steps:
        hands, objects, signals, actions = zip(*self._rows, strict=True)
        hand, action = np.stack(hands), np.stack(actions)
        return Steps(
            hand=hand,
            objects={name: np.stack([one[name] for one in objects]) for name in objects[0]},
            signals={name: np.array([one[name] for one in signals]) for name in signals[0]},
            targets=action_target(hand, action),
            gripper=action[:, -1].copy(),
        )
