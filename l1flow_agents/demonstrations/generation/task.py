"""What generation must know of a task: from its environment, or from a YAML file for a user's own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from l1flow_agents.demonstrations.generation.segments import CHOICES
from l1flow_agents.envs.mimicgen.spec import Subtask
from l1flow_agents.envs.robosuite_env import RobosuiteEnv
from l1flow_agents.errors import ConfigError
from l1flow_agents.names import check_names, choose, nearest
from l1flow_agents.rotations import homogeneous
from l1flow_agents.safe_yaml import UnreadableYaml, one_line, read_yaml

TASKS = Path(__file__).parent / "tasks"  # the files that come with the package
GRIPPER = "gripper"  # a signal that every task has: whether the gripper is told to close


@runtime_checkable
class TellsSubtasks(Protocol):
    """What an environment that needs no task file says of itself, such as `MimicGen`."""

    @property
    def subtasks(self) -> tuple[Subtask, ...]: ...

    @property
    def choose_every_subtask(self) -> bool: ...

    def object_poses(self) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class TaskSpec:
    """The subtasks of a demonstration, in order, and where their objects are.

    ``choose_every_subtask``: each subtask may come from another source, else all of an episode come from one.
    ``bodies``: object -> name of its body in MuJoCo; empty: the environment tells, by ``object_poses()``.
    """

    subtasks: tuple[Subtask, ...]
    choose_every_subtask: bool = False
    bodies: tuple[tuple[str, str], ...] = ()

    def object_poses(self, env: RobosuiteEnv) -> dict[str, np.ndarray]:
        """Where the objects now are, name -> (4, 4)."""
        if not self.bodies:
            if not isinstance(env, TellsSubtasks):
                raise ConfigError(f"bodies: expected the objects' bodies, since {env} does not tell where objects are")
            return env.object_poses()
        data, model = env.simulator.sim.data, env.simulator.sim.model
        poses = {}
        for name, body in self.bodies:
            if body not in model.body_names:
                raise ConfigError(f"bodies: the model has no body {body!r}{nearest(body, model.body_names)}")
            poses[name] = homogeneous(data.get_body_xmat(body), data.get_body_xpos(body))
        return poses

    def reference(self, number: int, poses: dict[str, np.ndarray]) -> np.ndarray:
        """The pose (4, 4) that subtask ``number`` moves with."""
        subtask, reference = self.subtasks[number], np.eye(4)
        if subtask.object is not None:
            kept = slice(0, 4) if subtask.turns else slice(3, 4)  # columns
            reference[:, kept] = poses[subtask.object][:, kept]
        return reference

    def references(self, poses: dict[str, np.ndarray]) -> np.ndarray:
        """The poses (k, 4, 4) that any subtask moves with, each once."""
        different = {(one.object, one.turns): number for number, one in enumerate(self.subtasks)}
        return np.stack([self.reference(number, poses) for number in different.values()])

    def signals(self, env: RobosuiteEnv, gripper: float) -> dict[str, bool]:
        """The end signals in the present state, before an action with this gripper command."""
        own = env.subtask_signals() if hasattr(env, "subtask_signals") else {}
        return {**own, GRIPPER: gripper > 0}


def spec_of(env: RobosuiteEnv) -> TaskSpec:
    """What the environment says itself.

    Raises:
        ConfigError: it says nothing.
    """
    if not isinstance(env, TellsSubtasks):
        raise ConfigError(f"{env.spec.id if env.spec else env}: no subtasks are known; give a task file (--task)")
    return TaskSpec(env.subtasks, env.choose_every_subtask)


def task_names() -> list[str]:
    """Names of the task files that come with the package."""
    return sorted(file.stem for file in TASKS.glob("*.yaml"))


def read_task_spec(path: str | os.PathLike) -> TaskSpec:
    """A task described in YAML: the path of a file, or the name of one that comes with the package, such as ``square``.

    Such as::

        bodies: {can: Can_main}          # object: its body in MuJoCo
        choose_every_subtask: false
        subtasks:
          - {object: can, signal: gripper, offset: [5, 10], choice: nearest_object, k: 3}
          - {object: null}               # null: stays where it is in the world

    ``signal`` ends a subtask when it changes: ``gripper``, the gripper's command, or one of the environment's
    ``subtask_signals()``. The last subtask ends with the episode. With ``turns: false`` a subtask goes where its object
    is, but does not turn with it. With ``near: 0.15`` it begins where the hand comes within 15 cm of its object, and a
    straight line leads there: the way that the source took to it is left out. With ``carries: needle`` what goes the
    source's way is the needle in the hand, not the hand, however it was grasped.

    Raises:
        ConfigError: names the file and what is wrong.
    """
    path = os.fspath(path)
    names = task_names()
    try:
        given = read_yaml(TASKS / f"{path}.yaml" if path in names else path)
    except (FileNotFoundError, UnreadableYaml) as error:
        raise ConfigError(f"{path}: expected a task file in YAML ({one_line(error)}), or one of {names}") from None
    if not isinstance(given, dict) or not isinstance(given.get("subtasks"), list) or not given["subtasks"]:
        raise ConfigError(f"{path}: expected a mapping with a list of subtasks")
    check_names(given, ["bodies", "choose_every_subtask", "subtasks"], str(path))
    bodies = given.get("bodies") or {}
    if not isinstance(bodies, dict) or not all(isinstance(body, str) for body in bodies.values()):
        raise ConfigError(f"{path}: expected bodies as object: name of its body, found {bodies!r}")
    every = given.get("choose_every_subtask", False)
    if not isinstance(every, bool):
        raise ConfigError(f"{path}: expected choose_every_subtask as true or false, found {every!r}")
    last = len(given["subtasks"]) - 1
    subtasks = tuple(_subtask(f"{path}: subtask {i}", one, i == last) for i, one in enumerate(given["subtasks"]))
    if bodies and (unknown := {name for one in subtasks for name in (one.object, one.carries)} - {None, *bodies}):
        raise ConfigError(f"{path}: subtasks name {sorted(map(str, unknown))}, which are not among the bodies")
    return TaskSpec(subtasks, every, tuple(bodies.items()))


def _subtask(where: str, given: Any, last: bool) -> Subtask:
    if not isinstance(given, dict) or "object" not in given:
        raise ConfigError(f"{where}: expected a mapping with at least 'object', found {given!r}")
    check_names(given, ["object", "signal", "offset", "choice", "k", "turns", "near", "carries"], where)
    offset = given.get("offset", [0, 0])
    if not (isinstance(offset, list) and len(offset) == 2 and all(isinstance(one, int) for one in offset)):
        raise ConfigError(f"{where}: expected offset as two whole numbers of steps, found {offset!r}")
    if not 0 <= offset[0] <= offset[1]:
        raise ConfigError(f"{where}: expected 0 <= first offset <= last, found {offset!r}")
    if last != (given.get("signal") is None):
        raise ConfigError(f"{where}: expected a signal for every subtask but the last, found {given.get('signal')!r}")
    choose(given.get("choice", "random"), CHOICES, f"choice of {where}")
    k = given.get("k", 3)
    if type(k) is not int or k < 1:  # True is an int, too
        raise ConfigError(f"{where}: expected k >= 1, found {k!r}")
    rule, turns = given.get("choice", "random"), bool(given.get("turns", True))
    settings = () if rule == "random" else (("k", k),)
    near = given.get("near")
    if near is not None and not (type(near) in (int, float) and near > 0 and given["object"] is not None):
        raise ConfigError(f"{where}: expected near in metres > 0, and an object, found {near!r}")
    carries = given.get("carries")
    if carries is not None and (not isinstance(carries, str) or carries == given["object"]):
        raise ConfigError(f"{where}: expected carries to name another object than it moves with, found {carries!r}")
    return Subtask(given["object"], given.get("signal"), (offset[0], offset[1]), rule, settings, turns, near, carries)
