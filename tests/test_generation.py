"""Promise: a few demonstrations become many in new scenes, whatever the workers and kills; and on a user's own task."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

pytest.importorskip("robosuite", reason="the simulator of these tasks is not installed")

from test_replay import contents, left_behind, wait_for

from l1flow_agents.cli import main
from l1flow_agents.data.robomimic_hdf5 import demo_names, read_demo, read_env_args, read_robomimic_hdf5
from l1flow_agents.data.robomimic_writer import RobomimicWriter
from l1flow_agents.demonstrations.collection import collect
from l1flow_agents.demonstrations.generation import generate, read_task_spec
from l1flow_agents.demonstrations.generation.generate import RECIPE, check_recipe
from l1flow_agents.demonstrations.generation.segments import (
    CHOICES,
    TURNED,
    Segment,
    Situation,
    action_target,
    action_towards,
    cut,
    distance,
    interpolate,
    inverse,
)
from l1flow_agents.demonstrations.generation.sources import read_sources
from l1flow_agents.demonstrations.generation.task import GRIPPER, TaskSpec
from l1flow_agents.demonstrations.playback import make_simulation, replay
from l1flow_agents.envs.mimicgen.spec import Subtask
from l1flow_agents.errors import ConfigError, DatasetError
from l1flow_agents.rotations import axis_angle_to_matrix, matrix_to_axis_angle

# ---- geometry -------------------------------------------------------------------------------------------------------


def pose(numbers: np.ndarray) -> np.ndarray:
    """Six numbers as a pose: position in metres, axis-angle."""
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = axis_angle_to_matrix(numbers[3:]), numbers[:3]
    return made


POSES = arrays(float, 6, elements=st.floats(-1, 1)).map(pose)
SMALL = arrays(float, 6, elements=st.floats(-0.99, 0.99))


@settings(deadline=None)
@given(POSES, POSES, arrays(float, (5, 6), elements=st.floats(-1, 1)))
def test_a_moved_segment_looks_the_same_from_its_object(before, after, numbers):
    hands = np.stack([pose(one) for one in numbers])
    moved = Segment(hands[0], hands, np.zeros(5), before, before[None]).moved_to(after)
    np.testing.assert_allclose(inverse(after) @ moved.targets, inverse(before) @ hands, atol=1e-12)
    np.testing.assert_allclose(moved.start, moved.targets[0], atol=1e-12)
    np.testing.assert_allclose(moved.moved_to(before).targets, hands, atol=1e-12)


@settings(deadline=None)
@given(POSES, arrays(float, (5, 6), elements=st.floats(-1, 1)), st.floats(0.1, 2))
def test_the_way_to_the_object_is_left_out(reference, numbers, near):
    hands = np.stack([pose(one) for one in numbers])
    whole = Segment(hands[0], hands[1:], np.arange(4), reference, reference[None])
    left = whole.from_within(near)
    close = np.linalg.norm((whole.targets - reference)[:, :3, 3], axis=1) < near
    first = int(np.flatnonzero(close)[0]) if close.any() else 0  # never near: all of it
    np.testing.assert_array_equal(left.gripper, np.arange(first, 4))
    np.testing.assert_array_equal(left.start, hands[first])
    np.testing.assert_array_equal(left.targets, whole.targets[first:])
    turn = Rotation.from_matrix(hands[1:, :3, :3] @ hands[-1, :3, :3].T).magnitude()
    carrying = replace(whole, held=reference).from_within(near)  # and the turning of what is carried
    np.testing.assert_array_equal(carrying.targets, whole.targets[first + np.flatnonzero(turn[first:] < TURNED)[0] :])


@settings(deadline=None)
@given(POSES, POSES, arrays(float, (5, 6), elements=st.floats(-1, 1)))
def test_the_carried_object_goes_the_same_way_however_it_was_grasped(held, now, numbers):
    hands = np.stack([pose(one) for one in numbers])
    source = Segment(hands[0], hands, np.zeros(5), np.eye(4), np.eye(4)[None], held)
    np.testing.assert_allclose(source.holding(now).targets @ now, hands @ held, atol=1e-12)
    np.testing.assert_allclose(source.holding(now).start @ now, hands[0] @ held, atol=1e-12)
    np.testing.assert_allclose(source.holding(held).targets, hands, atol=1e-12)


@given(POSES)
def test_the_pose_that_a_subtask_moves_with(at):
    spec = TaskSpec((Subtask("peg", "a"), Subtask("peg", "b", turns=False), Subtask(None, None)))
    turning, going, still = (spec.reference(number, {"peg": at}) for number in range(3))
    np.testing.assert_array_equal(turning, at)
    np.testing.assert_array_equal(going[:, 3], at[:, 3])
    np.testing.assert_array_equal(going[:, :3], np.eye(4)[:, :3])
    np.testing.assert_array_equal(still, np.eye(4))


@settings(deadline=None)
@given(POSES, SMALL)
def test_the_action_towards_an_actions_target_is_that_action(hand, action):
    action[3:] *= min(1.0, 1.0 / max(np.linalg.norm(action[3:]), 1e-9))
    np.testing.assert_allclose(action_towards(action_target(hand, action), hand), action, atol=1e-9)


def test_a_far_target_asks_for_the_largest_action():
    far = pose(np.array([1.0, -1.0, 0, 0, 0, 3.0]))
    np.testing.assert_allclose(action_towards(far, np.eye(4)), [1, -1, 0, 0, 0, 1], atol=1e-12)


@settings(deadline=None)
@given(POSES, POSES, st.integers(1, 8))
def test_waypoints_lie_evenly_on_the_way_and_near_each_other(first, last, at_least):
    pace = (0.1, 0.2)
    between = interpolate(first, last, at_least, pace)
    assert len(between) >= at_least
    way = np.stack([first, *between, last])
    steps = np.diff(way[:, :3, 3], axis=0)
    np.testing.assert_allclose(steps, np.tile(steps[0], (len(steps), 1)), atol=1e-9)
    assert np.linalg.norm(steps, axis=1).max() < pace[0] + 1e-9
    turns = [np.linalg.norm(matrix_to_axis_angle(b[:3, :3] @ a[:3, :3].T)) for a, b in pairwise(way)]
    if distance(first, last) - np.linalg.norm((last - first)[:3, 3]) >= 0.05:
        np.testing.assert_allclose(turns, turns[0], atol=1e-6)
        assert max(turns) < pace[1] + 1e-9


def test_a_subtask_ends_after_the_step_at_which_its_signal_changed():
    values = np.array([False, False, True, True, False, True])
    assert [cut(values, first) for first in (0, 2, 3, 5)] == [3, 3, 5, 6]
    assert cut(values, 6) is None and cut(np.ones(4, bool), 0) is None


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("random", {0, 1, 2, 3}),
        ("nearest_object", {1, 2}),
        ("nearest_objects", {0, 1}),
        ("nearest_robot", {2, 3}),
    ],
)
def test_choice_of_a_source(rule, expected):
    at = [pose(np.array([x, 0, 0, 0, 0, 0])) for x in (0.0, 0.3, 0.4, 0.9)]
    starts = [pose(np.array([x, 0, 0.2, 0, 0, 0])) for x in (0.5, 0.8, 0.41, 0.92)]
    others = [pose(np.array([0, y, 0, 0, 0, 0])) for y in (0.0, 0.1, 0.9, 0.2)]
    segments = [
        Segment(start, start[None], np.zeros(1), reference, np.stack([reference, other]))
        for start, reference, other in zip(starts, at, others, strict=True)
    ]
    object_now, hand_now = pose(np.array([0.35, 0, 0, 0, 0, 0])), pose(np.array([0.35, 0, 0.2, 0, 0, 0]))
    now = Situation(object_now, hand_now, np.stack([object_now, others[0]]))
    arguments = {} if rule == "random" else {"k": 2}
    assert {*CHOICES[rule](segments, now, **arguments)} == expected


# ---- real environments and files ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sources") / "stack_d0.hdf5"
    collect("Stack_D0-v0", 3, path)
    return path


@pytest.fixture(scope="module")
def generated(source, tmp_path_factory) -> Path:
    """Two demonstrations, by one process in one go."""
    path = tmp_path_factory.mktemp("generated") / "stack_d1.hdf5"
    done = generate("Stack_D1-v0", source, 2, path)
    assert done.n_demos == 2 and 0 < done.success_rate <= 1
    return path


def test_what_is_generated_is_a_robomimic_file_that_replays(generated):
    assert read_env_args(generated)["env_name"] == "Stack_D1"
    assert all(one.agrees and one.success and one.metres == 0 for one in replay(generated))
    episodes = read_robomimic_hdf5(generated)
    assert len(episodes.ends) == 2 and np.abs(episodes.actions).max() <= 1


def test_datagen_info_is_about_the_states_of_the_file(generated):
    env = make_simulation(generated, read_env_args(generated))
    env.reset(seed=0)
    demo = read_demo(generated, "demo_0")
    info = {key.removeprefix("datagen_info/"): array for key, array in demo.extra.items()}
    for step in (0, len(demo.states) // 2, len(demo.states) - 1):
        env.set_state({"states": demo.states[step]})
        np.testing.assert_allclose(info["eef_pose"][step], env.eef_pose(), atol=1e-9)
        for name, expected in env.object_poses().items():
            np.testing.assert_allclose(info[f"object_poses/{name}"][step], expected, atol=1e-9)
        assert info["subtask_term_signals/grasp"][step] == env.subtask_signals()["grasp"]
    np.testing.assert_allclose(info["target_pose"], action_target(info["eef_pose"], demo.actions), atol=1e-7)
    np.testing.assert_array_equal(info["gripper_action"][:, 0], demo.actions[:, -1])
    assert {*info["src_demo_inds"]} <= {0, 1, 2} and len(info["src_demo_inds"]) == 2
    env.close()


def test_a_generated_file_is_a_source_too(generated):
    """Its ``datagen_info`` says the same as the simulator."""
    env = make_simulation(generated, read_env_args(generated))
    stored = read_sources(generated, TaskSpec(env.subtasks))
    asked = read_sources(generated, TaskSpec(env.subtasks, bodies=(("cubeA", "cubeA_main"), ("cubeB", "cubeB_main"))))
    for one, other in zip(stored, asked, strict=True):
        assert one.ends == other.ends
        np.testing.assert_allclose(one.steps.targets, other.steps.targets, atol=1e-6)
        np.testing.assert_allclose(one.steps.objects["cubeB"], other.steps.objects["cubeB"], atol=1e-6)


def test_two_workers_generate_the_same(source, generated, tmp_path):
    generate("Stack_D1-v0", source, 2, tmp_path / "stack_d1.hdf5", n_workers=2)
    assert contents(tmp_path / "stack_d1.hdf5") == contents(generated)


def test_killed_and_run_again_it_generates_the_same(source, generated, tmp_path, capsys):
    argv = ["generate", "--env", "Stack_D1-v0", "--source", str(source), "-n", "2", "-o", str(tmp_path / "made.hdf5")]
    process = subprocess.Popen(
        [sys.executable, "-m", "l1flow_agents.cli", *argv, "--workers", "2"],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: list(tmp_path.glob("made.hdf5.parts/demo_0.hdf5")), process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    wait_for(lambda: not left_behind(process.pid), seconds=20)
    assert main([*argv, "--workers", "1"]) == 0
    assert contents(tmp_path / "made.hdf5") == contents(generated)
    assert os.listdir(tmp_path) == ["made.hdf5"]
    assert "2 demonstrations; the attempts' success rate" in capsys.readouterr().out


def test_other_sources_do_not_continue_a_file(source, generated):
    with pytest.raises(DatasetError, match=r"expected to continue with recipe \w+, found \w+"):
        generate("Stack_D1-v0", source, 3, generated, n_sources=1)


def test_every_demonstration_of_a_continued_file_is_of_its_recipe(generated, tmp_path):
    mixed = shutil.copy(generated, tmp_path / "mixed.hdf5")
    with h5py.File(mixed, "r+") as file:
        digest = file["data/demo_0"].attrs[RECIPE]
        file["data/demo_1"].attrs[RECIPE] = "another"
    check_recipe(RobomimicWriter(generated, read_env_args(generated)), digest)
    with pytest.raises(DatasetError, match=r"mixed.hdf5: demo_1: expected .* recipe \w+, found another"):
        check_recipe(RobomimicWriter(mixed, read_env_args(mixed)), digest)


CAN = """
bodies: {can: Can_main}
subtasks:
  - {object: can, signal: gripper, offset: [5, 10], choice: nearest_object}
  - {object: null}
"""


def test_a_users_own_task_by_a_task_file(tmp_path):
    """RoboMimic's tasks know no subtasks: the file says where the can is, and the gripper when it is held."""
    task = tmp_path / "can.yaml"
    task.write_text(CAN)
    collect("Can-v0", 2, tmp_path / "source.hdf5")
    with pytest.raises(ConfigError, match="Can-v0: no subtasks are known; give a task file"):
        generate("Can-v0", tmp_path / "source.hdf5", 1, tmp_path / "can.hdf5")
    done = generate("Can-v0", tmp_path / "source.hdf5", 1, tmp_path / "can.hdf5", task=task)
    assert done.n_demos == 1 and demo_names(tmp_path / "can.hdf5") == ["demo_0"]

    task.write_text(CAN.replace("offset: [5, 10]", "offset: [5, 10], near: 0.15").replace("null", "null, carries: can"))
    done = generate("Can-v0", tmp_path / "source.hdf5", 1, tmp_path / "near.hdf5", task=task)
    assert done.n_demos == 1
    task.write_text(CAN.replace("Can_main", "Can_man"))
    with pytest.raises(ConfigError, match="no body 'Can_man'; did you mean 'Can_main'"):
        generate("Can-v0", tmp_path / "source.hdf5", 1, tmp_path / "other.hdf5", task=task)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "expected a mapping with a list of subtasks"),
        ("subtasks: []", "expected a mapping with a list of subtasks"),
        ("subtasks: [{object: a}]\nsubtask: 1", "no setting 'subtask'.*did you mean 'subtasks'"),
        ("bodies: {b: b_main}\nsubtasks: [{object: a}]", "not among the bodies"),
        ("subtasks: [{object: a, signal: gripper}]", "expected a signal for every subtask but the last"),
        ("subtasks: [{object: a}, {object: b}]", "subtask 0: expected a signal for every subtask but the last"),
        ("subtasks: [{object: a, choice: nearest}]", "unknown choice .*nearest_object"),
        ("subtasks: [{object: a, offset: [3, 1]}]", "expected 0 <= first offset <= last"),
        ("subtasks: [{object: a, k: 0}]", "expected k >= 1"),
        ("subtasks: [{object: a, k: true}]", "expected k >= 1"),
        ("subtasks: [{object: a, near: 0}]", "expected near in metres > 0"),
        ("subtasks: [{object: a, near: true}]", "expected near in metres > 0"),
        ("subtasks: [{object: null, near: 0.1}]", "expected near in metres > 0, and an object"),
        ("subtasks: [{object: a, carries: a}]", "expected carries to name another object .* found 'a'"),
        ("subtasks: [{object: a, carries: 1}]", "expected carries to name another object .* found 1"),
        ("bodies: {a: a_main}\nsubtasks: [{object: a, carries: b}]", "not among the bodies"),
        ("subtasks: [{signal: a}]", "at least 'object'"),
        ("subtasks: [{object: a}]\nchoose_every_subtask: 1", "choose_every_subtask as true or false, found 1"),
        ("{", "expected a task file in YAML"),
    ],
)
def test_a_wrong_task_file(tmp_path, text, message):
    path = tmp_path / "task.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_task_spec(path)


def test_wrong_sources(source, tmp_path, capsys):
    def said(*argv: str) -> str:
        assert main(["generate", *argv, "-n", "1"]) == 2
        return capsys.readouterr().err

    mine = ["--source", str(source)]
    assert "expected an output other than the source" in said("--env", "Stack_D1-v0", *mine, "-o", str(source))
    task = tmp_path / "task.yaml"
    task.write_text("subtasks: [{object: cubeA, signal: grab}, {object: cubeB}]")
    told = said("--env", "Stack_D1-v0", *mine, "-o", str(tmp_path / "x.hdf5"), "--task", str(task))
    assert f"{source}: demo_0: no signal 'grab', found ['grasp', '{GRIPPER}']" in told
    assert "no such file" in said("--env", "Stack_D1-v0", "--source", "none.hdf5", "-o", str(tmp_path / "x.hdf5"))
    other = tmp_path / "lift.hdf5"
    with h5py.File(source) as file, h5py.File(other, "w") as lift:
        file.copy("data", lift)
        lift["data"].attrs["env_args"] = json.dumps({**json.loads(file["data"].attrs["env_args"]), "env_name": "Lift"})
    told = said("--env", "Stack_D1-v0", "--source", str(other), "-o", str(tmp_path / "x.hdf5"))
    assert f"{other}: expected demonstrations of a variant of the task, found Lift" in told and told.count("\n") == 1
    assert not (tmp_path / "x.hdf5").exists()
