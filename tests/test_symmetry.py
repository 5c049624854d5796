"""The mirror image of a demonstration is one: checked against the simulators themselves."""

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from l1flow_agents import L1FlowAgent
from l1flow_agents.data import Chunks, Episodes
from l1flow_agents.data.symmetry import SYMMETRIES, mirror_pusht, mirrored
from l1flow_agents.errors import ConfigError
from l1flow_agents.training import TrainingConfig


def place(env, state):
    """Put agent and block where ``state`` says, at rest; returns the observation."""
    env.reset(seed=0)
    simulator = env.unwrapped._simulator
    simulator.agent.position, simulator.agent.velocity = tuple(map(float, state[:2])), (0, 0)
    simulator.block.angle, simulator.block.position = float(state[4]), tuple(map(float, state[2:4]))
    simulator.block.velocity, simulator.block.angular_velocity = (0, 0), 0


@pytest.mark.parametrize("seed", range(6))
def test_the_simulation_commutes_with_the_mirror(seed):
    rng = np.random.default_rng(seed)
    state = np.array([*rng.uniform(150, 350, 4), rng.uniform(0, 2 * np.pi)])
    actions = rng.uniform(100, 400, (15, 2)).astype(np.float32)
    env = gym.make("PushT-v0", obs_type="image_state")
    ends = []
    for start, plan in [(state, actions), (mirror_pusht("state", state), mirror_pusht("action", actions))]:
        place(env, start)
        for action in plan:
            observation, reward, *_ = env.step(action)
        ends.append((observation, reward))
    (one, reward), (other, mirrored_reward) = ends
    assert reward == pytest.approx(mirrored_reward, abs=1e-5)
    np.testing.assert_allclose(mirror_pusht("state", one["state"]), other["state"], atol=1e-3)
    np.testing.assert_allclose(mirror_pusht("agent_pos", one["agent_pos"]), other["agent_pos"], atol=1e-3)
    # the rasteriser rounds towards one corner, so edges differ by a pixel
    difference = np.abs(mirror_pusht("image", one["image"]).astype(int) - other["image"].astype(int))
    unmirrored = np.abs(one["image"].astype(int) - other["image"].astype(int))
    assert difference.mean() < 2 < unmirrored.mean()


@given(arrays(np.float32, (3, 2, 5), elements=st.floats(0, 6.25, width=32)))
def test_twice_is_nothing(state):
    np.testing.assert_allclose(mirror_pusht("state", mirror_pusht("state", state)), state, atol=1e-4)
    actions = state[..., :2]
    np.testing.assert_allclose(mirror_pusht("action", mirror_pusht("action", actions)), actions, atol=1e-4)


def test_only_the_chosen_windows_are_mirrored():
    state = np.random.default_rng(0).uniform(1, 6, (4, 2, 5)).astype(np.float32)
    actions = np.random.default_rng(1).uniform(0, 512, (4, 8, 2)).astype(np.float32)
    before = Chunks({"state": state.copy()}, actions.copy(), np.ones((4, 8), bool))
    rows = np.array([True, False, True, False])
    after = mirrored(before, "pusht", rows[None])
    np.testing.assert_array_equal(after.observations["state"][~rows], state[~rows])
    np.testing.assert_array_equal(after.actions[~rows], actions[~rows])
    np.testing.assert_array_equal(after.actions[rows], mirror_pusht("action", actions[rows]))
    np.testing.assert_array_equal(after.observations["state"][rows], mirror_pusht("state", state[rows]))


def test_an_unknown_symmetry_is_named():
    with pytest.raises(ConfigError, match=r"unknown symmetry 'push'.*did you mean 'pusht'"):
        TrainingConfig.from_settings({"symmetry": "push"})


def test_a_symmetry_of_another_task_is_refused_before_the_first_step():
    env = gym.make("PushT-v0", obs_type="state")
    agent = L1FlowAgent("mlp", env, network_kwargs={"width": 16, "depth": 1})
    states = np.random.default_rng(0).uniform(1, 6, (40, 5)).astype(np.float32)
    episodes = Episodes({"state": states}, states[:, :2].copy(), np.array([20, 40]))
    with pytest.raises(ConfigError, match=r"of robot0_eef_pos \(3,\).*object \(17,\).*; got state \(5,\)"):
        agent.learn(episodes, 1, symmetry="square")
    agent.learn(episodes, 1, symmetry="pusht")


# ---- robosuite's tasks ----------------------------------------------------------------------------------------------

ARM = np.array([-1, 1, -1, 1, -1, 1, -1])  # joints about vertical and forward axes turn the other way ...
HOME = np.array([0, 0, 0, 0, 0, 0, np.pi / 2])  # ... and the last one starts at 45 degrees


def reflected(inner, half_turned) -> dict[str, np.ndarray]:
    """The simulation's state reflected at y = 0, at rest, the numbered objects turned by 180 degrees too."""
    simulation = inner.simulator.sim
    qpos = simulation.data.qpos.copy()
    qpos[:9] = [*(HOME + ARM * qpos[:7]), -qpos[8], -qpos[7]]
    for start in range(9, len(qpos), 7):  # free joints: position, quaternion wxyz
        qpos[start : start + 7] *= [1, -1, 1, 1, -1, 1, -1]
    for number in half_turned:
        w, x, y, z = qpos[12 + 7 * number : 16 + 7 * number]
        qpos[12 + 7 * number : 16 + 7 * number] = -z, y, -x, w  # times the quaternion of k
    row = np.concatenate([[simulation.data.time], qpos, np.zeros(simulation.model.nv)])
    return {"states": row, "posture": HOME + ARM * np.array([arm.initial_joint for arm in inner._arms()])}


@pytest.mark.parametrize(
    ("env_id", "symmetry", "quaternions", "half_turned"),
    [
        ("StackThree_D1-v0", "stackthree", (3, 10, 26), ()),
        ("Square_D2-v0", "square", (3, 10), ()),
        ("Square_D2-v0", "square_turned", (3, 10, 17), ()),
        ("ThreePieceAssembly_D2-v0", "threepieceassembly", range(3, 42, 7), (1, 2)),
    ],
)
def test_an_arms_simulation_commutes_with_the_mirror(env_id, symmetry, quaternions, half_turned):
    pytest.importorskip("robosuite", reason="the simulator of these tasks is not installed")
    mirror = SYMMETRIES[symmetry].maps[0]
    env = gym.make(env_id, obs_type="state", **({"extras": ["peg1_quat"]} if symmetry == "square_turned" else {}))
    env.reset(seed=3)
    inner, rng = env.unwrapped, np.random.default_rng(0)
    start = inner.get_state()
    start["states"][-inner.simulator.sim.model.nv :] = 0
    actions = rng.uniform(-0.5, 0.5, (10, 7)).astype(np.float32)
    seen = []
    for state, plan in [(start, actions), (reflected(inner, half_turned), mirror("action", actions))]:
        inner.set_state(state)
        if state is not start and "Square" in env_id:  # the peg is part of the model
            model = inner.simulator.sim.model
            peg = model.body_name2id("peg1")
            model.body_pos[peg][1] *= -1
            w, *_, z = model.body_quat[peg]
            model.body_quat[peg] = np.array([w + z, 0, 0, w - z]) * np.sqrt(0.5)  # from turn t to a quarter minus t
        seen.append([env.step(action)[0] for action in plan])
    for one, other in zip(*seen, strict=True):
        for first in quaternions:  # q and -q are the same rotation
            part = slice(first, first + 4)
            other["object"][..., part] *= np.sign((mirror("object", one["object"]) * other["object"])[..., part].sum())
        for key, value in one.items():
            np.testing.assert_allclose(mirror(key, value), other[key], atol=1e-3, err_msg=key)
        assert not np.allclose(one["object"], other["object"], atol=0.02)
    env.close()


@pytest.mark.parametrize("number", [0, 1])
def test_an_arms_simulation_commutes_with_a_turned_scene(number):
    pytest.importorskip("robosuite", reason="the simulator of these tasks is not installed")
    apply, angle = SYMMETRIES["threading"].maps[number], np.deg2rad([7, -14][number])
    env = gym.make("Threading_D2-v0", obs_type="state")
    env.reset(seed=3)
    inner, rng = env.unwrapped, np.random.default_rng(0)
    start = inner.get_state()
    nv = inner.simulator.sim.model.nv
    start["states"][-nv:] = 0
    turned = {key: np.array(value) for key, value in start.items()}
    turned["posture"] = np.array([arm.initial_joint for arm in inner._arms()])
    turned["posture"].flat[0] += angle
    qpos = turned["states"][1:-nv]
    qpos[0] += angle
    rotation = Rotation.from_euler("z", angle)
    base = np.array([-0.56, 0, 0])
    for first in range(9, len(qpos), 7):  # free joints: position, quaternion wxyz
        qpos[first : first + 3] = rotation.apply(qpos[first : first + 3] - base) + base
        around = rotation * Rotation.from_quat(qpos[first + 3 : first + 7], scalar_first=True)
        qpos[first + 3 : first + 7] = around.as_quat(scalar_first=True)
    actions = rng.uniform(-0.5, 0.5, (10, 7)).astype(np.float32)
    seen = []
    for state, plan in [(start, actions), (turned, apply("action", actions))]:
        inner.set_state(state)
        seen.append([env.step(action)[0] for action in plan])
    for one, other in zip(*seen, strict=True):
        for key, value in one.items():
            expected, found = apply(key, value), other[key].copy()
            for first in {"object": range(3, 28, 7), "robot0_eef_quat": [0]}.get(key, ()):  # q and -q are the same
                part = slice(first, first + 4)
                found[part] *= np.sign(expected[part] @ found[part])
            np.testing.assert_allclose(expected, found, atol=1e-3, err_msg=key)
    assert not np.allclose(one["object"], other["object"], atol=0.02)
    env.close()


VECTORS = {
    "stack": (0, 7, 14, 17, 20),
    "square": (0, 7, 14),
    "stackthree": (0, 7, 14, 17, 20, 23, 30, 33, 36),
    "threepieceassembly": range(0, 42, 7),
}
QUATERNIONS = {"stack": (3, 10), "square": (3, 10), "stackthree": (3, 10, 26), "threepieceassembly": range(3, 42, 7)}


@pytest.mark.parametrize("symmetry", VECTORS)
def test_the_mirror_changes_signs_where_it_did_by_numbers(symmetry):
    """And the pieces of the assembly are turned by 180 degrees too, i j k w -> j -i w -k."""
    (n,) = SYMMETRIES[symmetry].shapes["object"]
    value = np.random.default_rng(0).normal(size=(2, n)).astype(np.float32)
    expected = value.copy()
    expected[:, [first + 1 for first in VECTORS[symmetry]]] *= -1
    expected[:, [first + i for first in QUATERNIONS[symmetry] for i in (1, 3)]] *= -1
    for first in (17, 24, 31, 38) if symmetry == "threepieceassembly" else ():
        expected[:, first : first + 4] = expected[:, [first + 1, first, first + 3, first + 2]] * [1, -1, 1, -1]
    np.testing.assert_allclose(SYMMETRIES[symmetry].maps[0]("object", value), expected, atol=1e-6)


FEW, MANY = (0.03, 0.06, -0.09), (0.03, 0.06, -0.09, 0.12, -0.12)


@pytest.mark.parametrize(
    ("symmetry", "bodies", "steps"),
    [("square", (0, 14), FEW), ("threepieceassembly", (0, 14, 28), MANY)],
)
def test_shifts_move_hand_and_objects_alike(symmetry, bodies, steps):
    maps, shapes = SYMMETRIES[symmetry].maps, SYMMETRIES[symmetry].shapes
    rng = np.random.default_rng(0)
    window = {key: rng.normal(size=(2, *shape)).astype(np.float32) for key, shape in shapes.items()}
    expected_by = [by for step in steps for by in ((step, 0, 0), (0, step, 0))]
    for apply, step in zip(maps[-len(expected_by) :], expected_by, strict=True):
        moved = {key: apply(key, value) for key, value in window.items()}
        by = (moved["robot0_eef_pos"] - window["robot0_eef_pos"])[0]
        np.testing.assert_allclose(by, step, atol=1e-6)
        expected = window["object"].copy()
        for first in bodies:
            expected[:, first : first + 3] += by
        np.testing.assert_allclose(moved["object"], expected, atol=1e-6)
        for key in ("robot0_eef_quat", "robot0_gripper_qpos", "action"):
            np.testing.assert_array_equal(moved[key], window[key])


@given(arrays(np.float32, (2, 39), elements=st.floats(-1, 1, width=32)))
def test_four_quarter_turns_are_none_up_to_the_quaternions_sign(observed):
    mirror, quarter, half, *_ = SYMMETRIES["stackthree"].maps
    twice = quarter("object", quarter("object", observed))
    np.testing.assert_allclose(twice, half("object", observed), atol=1e-5)
    np.testing.assert_allclose(half("object", twice)[:, 3:7], -observed[:, 3:7], atol=1e-5)
    np.testing.assert_array_equal(np.delete(twice, range(3, 7), 1), np.delete(observed, range(3, 7), 1))
    np.testing.assert_array_equal(mirror("object", mirror("object", observed)), observed)
