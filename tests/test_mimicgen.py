"""MimicGen's tasks: where episodes start, that a seed or a state decides them, and the contracts of every task."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from textwrap import dedent

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from mimicgen_by_hand import Hand
from scipy.spatial.transform import Rotation
from simulators import assert_checkers_are_silent, assert_parts_are_where_the_layout_says, env_of

from l1flow_agents.envs.mimicgen.scene import is_free
from l1flow_agents.envs.robosuite_tasks import env_from_args
from l1flow_agents.errors import ConfigError

# task -> number of variants, step limit
TASKS = {
    "Stack": (2, 400),
    "StackThree": (2, 400),
    "Square": (3, 400),
    "Threading": (3, 400),
    "ThreePieceAssembly": (3, 500),
    "Coffee": (3, 400),
    "HammerCleanup": (2, 500),
    "MugCleanup": (2, 500),
    "NutAssembly": (1, 500),
    "PickPlace": (1, 1000),
    "CoffeePreparation": (2, 800),
    "Kitchen": (2, 800),
}
HAMMER = "hammer_root"
IDS = [f"{task}_D{index}-v0" for task, (number, _) in TASKS.items() for index in range(number)]
# of these every episode has a model of its own, so that resets are slow
DRAWERS = ("HammerCleanup", "MugCleanup", "CoffeePreparation", "Kitchen")
VARYING = [one for one in IDS if one.startswith(("Square_D1", "Square_D2", *DRAWERS))]
LAST = [f"{task}_D{number - 1}-v0" for task, (number, _) in TASKS.items()]
ONE_EACH = [one for one in LAST if not one.startswith(DRAWERS)]


# ---- where episodes start -------------------------------------------------------------------------------------------


def check_start(hand: Hand) -> None:
    """Unsolved, in the ranges, nothing in anything else."""
    assert not hand.solved()
    assert not hand.overlap()
    assert not any(hand.env.subtask_signals().values())
    for name, one in hand.inner.variant.placements.items():
        pose = hand.inner.pose(name)
        for axis, values in enumerate((one.x, one.y)):
            assert inside(pose[axis, 3] - hand.inner.table_top[axis], values), (name, axis)
        assert pose[2, 3] == pytest.approx(hand.inner.table_top[2] + one.z - hand.inner.objects[name].bottom_offset[2])
        yaw = math.atan2(pose[1, 0], pose[0, 0])
        if name == "hammer":
            check_lying(pose, one)
        else:
            assert any(inside(yaw + turn, one.yaw) for turn in (-2 * math.pi, 0, 2 * math.pi)), name
    peg = getattr(hand.inner.variant, "peg", None)
    if peg is not None:
        pose = hand.inner.pose("peg1")
        yaw = math.atan2(pose[1, 0], pose[0, 0])
        assert inside(pose[0, 3], peg.x) and inside(pose[1, 3], peg.y) and inside(yaw, peg.yaw)
        assert np.hypot(*(pose - hand.inner.pose("SquareNut"))[:2, 3]) > 0.11 + 0.0226


def check_lying(hammer: np.ndarray, placement) -> None:
    """The handle, its z axis, is horizontal: along the world's x and rolled a little, or any way and not rolled."""
    assert hammer[2, 2] == pytest.approx(0, abs=1e-9)
    if placement.axis == "z":
        assert hammer[0, 2] == pytest.approx(1) and abs(math.asin(hammer[1, 1])) <= 0.1
    else:
        assert abs(hammer[2, 1]) == pytest.approx(1)


def inside(value: float, values) -> bool:
    low, high = values if isinstance(values, tuple) else (values, values)
    return low - 1e-9 <= value <= high + 1e-9


@pytest.mark.parametrize("env_id", IDS)
def test_no_start_is_solved(env_id, n_starts: int | None = None):
    varies = env_of(env_id).unwrapped.task.model_varies
    for seed in range(n_starts or (1 if varies else 40)):
        check_start(Hand(env_id, seed, fingers=None))


def test_arm_starts_differently():
    starts = [env_of("Stack_D0-v0").reset(seed=seed)[0]["robot0_eef_pos"] for seed in range(20)]
    assert (np.std(starts, axis=0) > 0.004).all() and (np.std(starts, axis=0) < 0.03).all()


@pytest.mark.parametrize("env_id", VARYING)
def test_many_starts(env_id, n_starts: int = 40):
    """As above, without compiling a model for each."""
    hand, done = Hand(env_id, fingers=None), 0
    inner, home = hand.inner, hand.data.qpos.copy()
    while done < n_starts:
        hand.data.qpos[:] = home
        inner.robots[0].reset(rng=inner.rng)
        if getattr(inner.variant, "peg", None) is not None:
            peg = inner.make_arena().peg1_body
            hand.model.body("peg1").pos, hand.model.body("peg1").quat = (
                [float(word) for word in peg.get(key).split()] for key in ("pos", "quat")
            )
        for name, (position, quaternion, one) in inner._draw_placements().items():
            if is_free(one):
                hand.put(name, position, Rotation.from_quat(np.roll(quaternion, -1)))
            else:
                body = hand.model.body(one.root_body)
                body.pos, body.quat = position, quaternion
        mujoco.mj_forward(hand.model, hand.data)
        if not inner.overlapping():  # else drawn again
            check_start(hand)
            done += 1


def test_start_in_the_hand_is_drawn_again(monkeypatch):
    """The open lid reaches to where the hand starts; the seed decides all the same."""
    found, kind = [], env_of("Coffee_D2-v0").unwrapped.scene
    overlapping = kind.overlapping
    monkeypatch.setattr(kind, "overlapping", lambda scene: found.append(overlapping(scene)) or found[-1])
    seed = next(seed for seed in range(200) if env_of("Coffee_D2-v0").reset(seed=seed) and True in found)
    assert found[-2:] == [True, False]
    np.testing.assert_array_equal(episode("Coffee_D2-v0", seed), episode("Coffee_D2-v0", seed))
    assert not Hand("Coffee_D2-v0", seed, fingers=None).overlap()


# ---- one seed, one episode ------------------------------------------------------------------------------------------


def episode(env_id: str, seed: int) -> np.ndarray:
    """What is observed in the first steps."""
    env = env_of(env_id)
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 7)).astype(np.float32)
    observations = [env.reset(seed=seed)[0], *(env.step(action)[0] for action in actions)]
    return np.concatenate([one[key] for one in observations for key in sorted(one)])


def future(env: gym.Env, actions: np.ndarray) -> list[np.ndarray]:
    return [env.step(action)[0]["object"] for action in actions]


@pytest.mark.parametrize("env_id", [one for one in IDS if one in LAST or not one.startswith(DRAWERS)])
def test_seed_alone_decides_the_episode(env_id):
    first = episode(env_id, 11)
    assert (episode(env_id, 12) != first).any()
    env_of(env_id).reset()
    np.testing.assert_array_equal(episode(env_id, 11), first)


def test_same_in_another_process(tmp_path):
    """Episodes of a seed, and what follows a state: where the model varies, where it does not."""
    ids, expected = ["ThreePieceAssembly_D2-v0", "Square_D2-v0", "HammerCleanup_D1-v0"], {}
    actions = np.random.default_rng(1).uniform(-1, 1, (4, 7)).astype(np.float32)
    for env_id in ids:
        start = episode(env_id, 5)
        state = env_of(env_id).unwrapped.get_state()
        expected[env_id] = (start, state, future(env_of(env_id), actions))
    (tmp_path / "expected").write_bytes(pickle.dumps((actions, expected)))
    script = f"""
        import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
        import numpy as np, pickle
        from test_mimicgen import env_of, episode, future
        actions, expected = pickle.load(open({str(tmp_path / "expected")!r}, "rb"))
        for env_id, (start, state, after) in expected.items():
            np.testing.assert_array_equal(episode(env_id, 5), start)
            env_of(env_id).reset(seed=6)
            env_of(env_id).unwrapped.set_state(state)
            np.testing.assert_array_equal(future(env_of(env_id), actions), after)
            env_of(env_id).reset(seed=6, options={{"state": {{key: state[key] for key in ("states", "model")}}}})
            inner = env_of(env_id).unwrapped.simulator
            np.testing.assert_array_equal(inner.sim.get_state().flatten(), state["states"])
    """
    done = subprocess.run([sys.executable, "-c", dedent(script)], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


def test_state_brings_its_peg():
    env = env_of("Square_D2-v0")
    first = env.reset(seed=1)[0]["object"]
    state, poses = env.unwrapped.get_state(), env.unwrapped.object_poses()
    other = env.reset(seed=2)[0]["object"]
    assert (first[14:16] != other[14:16]).all()
    env.unwrapped.set_state(state)
    np.testing.assert_array_equal(env.unwrapped.object_poses()["peg1"], poses["peg1"])
    np.testing.assert_array_equal(env.unwrapped.observe()["object"], first)
    np.testing.assert_array_equal(env.reset(seed=2)[0]["object"], other)


def test_the_pegs_turn_is_an_extra():
    plain, more = env_of("Square_D2-v0"), gym.make("Square_D2-v0", obs_type="state", extras=["peg1_quat"])
    with closing(more):
        usual, seen = plain.reset(seed=1)[0]["object"], more.reset(seed=1)[0]["object"]
        assert more.observation_space["object"].shape == seen.shape == (21,)
        np.testing.assert_array_equal(seen[:17], usual)
        peg = Rotation.from_matrix(more.unwrapped.object_poses()["peg1"][:3, :3])
        assert (peg.inv() * Rotation.from_quat(seen[more.unwrapped.layouts["object"]["peg1_quat"]])).magnitude() < 1e-6
        assert env_from_args(more.unwrapped.env_args()).unwrapped.extras == ("peg1_quat",)
    assert "extras" not in plain.unwrapped.env_args()["env_kwargs"]
    with pytest.raises(ConfigError, match="unknown extra part of Stack_D0's observation 'peg1_quat'"):
        gym.make("Stack_D0-v0", extras=["peg1_quat"])


def test_state_brings_its_hammer():
    env = env_of("HammerCleanup_D0-v0").unwrapped

    def body() -> np.ndarray:
        model = env.simulator.sim.model._model
        handle = model.geom("hammer_handle")
        return np.array([*handle.size, handle.friction[0], *model.geom("hammer_face").size, *model.body(HAMMER).mass])

    env.reset(seed=1)
    first, state, seen = body(), env.get_state(), env.observe()["object"]
    env.reset(seed=2)
    assert (body()[[2, 3, 4, 5, 7]] != first[[2, 3, 4, 5, 7]]).all()
    env.set_state(state)
    np.testing.assert_array_equal(body(), first)
    np.testing.assert_array_equal(env.observe()["object"], seen)


# ---- contracts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", ONE_EACH)
def test_checkers_are_silent(env_id):
    assert_checkers_are_silent(env_id)


@pytest.mark.parametrize("env_id", IDS)
def test_env_args_and_horizon(env_id):
    env = env_of(env_id)
    args = env.unwrapped.env_args()
    assert args["env_name"] == env_id.removesuffix("-v0")
    again = env_from_args(args)
    assert again.spec.id == env_id and again.unwrapped.env_args() == args
    assert env.spec.max_episode_steps == TASKS[env_id.partition("_")[0]][1]
    assert gym.make(env_id).observation_space["agentview_image"].shape == (84, 84, 3)


@pytest.mark.parametrize("env_id", IDS)
def test_subtasks_and_layouts_name_what_is_there(env_id):
    env = env_of(env_id).unwrapped
    env.reset(seed=0)
    assert_parts_are_where_the_layout_says(env_id)
    assert [one.signal for one in env.subtasks] == [*env.subtask_signals(), None]
    poses = env.object_poses()
    for one in env.subtasks:
        assert one.choice in ("random", "nearest_object") and one.offset[0] <= one.offset[1]
        if one.object is None:
            continue
        np.testing.assert_allclose(poses[one.object][:3, :3] @ poses[one.object][:3, :3].T, np.eye(3), atol=1e-9)
        np.testing.assert_array_equal(poses[one.object][:3, 3], env.simulator.position(one.object))


def test_object_observation():
    """In MimicGen's order; what Square-v0 shows in robosuite's."""
    ours, theirs = gym.make("Square_D0-v0", obs_type="state"), gym.make("Square-v0", obs_type="state")
    left, right = ours.reset(seed=0)[0], theirs.reset(seed=0)[0]
    theirs.unwrapped.set_state({"states": ours.unwrapped.get_state()["states"]})
    right = theirs.unwrapped.observe()
    np.testing.assert_allclose(left["object"], np.roll(right["object"], 7), atol=1e-6)

    env = env_of("StackThree_D0-v0").unwrapped
    seen, hand = env.reset(seed=3)[0]["object"], env.simulator.eef_position()
    a, b, c = (env.simulator.position(f"cube{name}") for name in "ABC")
    expected = [a, b, a - hand, b - hand, b - a, c, c - hand, c - a, b - c]
    np.testing.assert_allclose(
        np.delete(seen, [*range(3, 7), *range(10, 14), *range(26, 30)]), np.concatenate(expected), atol=1e-6
    )


@pytest.mark.parametrize(
    "env_id, names",
    [
        ("Coffee_D1-v0", ("coffee_pod", "coffee_machine", "coffee_pod_holder", "coffee_machine_lid")),
        ("HammerCleanup_D1-v0", ("hammer", "CabinetObject")),
        ("MugCleanup_D1-v0", ("object", "drawer")),
        ("NutAssembly_D0-v0", ("SquareNut", "RoundNut")),
        ("PickPlace_D0-v0", ("Milk", "Bread", "Cereal", "Can")),
    ],
)
def test_order_of_objects(env_id, names):
    hand = Hand(env_id)
    joint = {"Coffee_D1-v0": "coffee_machine_hinge", "MugCleanup_D1-v0": "drawer_slide"}.get(env_id)
    if joint is not None:
        hand.turn(joint, 0.7 if "hinge" in joint else -0.1)
    seen = hand.env.observe()["object"]
    assert len(seen) == 14 * len(names) + (joint is not None)
    for place, name in enumerate(names):
        expected = [*hand.inner.position(name), *hand.inner.quaternion(name)]
        np.testing.assert_allclose(seen[14 * place : 14 * place + 7], expected, atol=1e-6)
    if joint is not None:
        assert seen[-1] == pytest.approx(hand.data.joint(joint).qpos[0])


@pytest.mark.parametrize("env_id, full", [("Threading_D0-v0", False), ("ThreePieceAssembly_D0-v0", True)])
def test_cameras(env_id, full):
    model = Hand(env_id).model
    heights = [model.camera(name).pos[2] for name in ("agentview", "agentview_full")]
    np.testing.assert_allclose(heights, [1.519473, 1.35] if full else [1.35, 1.519473])
