"""The mirror image of a PushT demonstration is one: checked against the simulator itself."""

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import l1flow_agents  # noqa: F401  registers the environments
from l1flow_agents.data import Chunks
from l1flow_agents.data.symmetry import mirror_pusht, mirrored
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
    after = mirrored(before, "pusht", rows)
    np.testing.assert_array_equal(after.observations["state"][~rows], state[~rows])
    np.testing.assert_array_equal(after.actions[~rows], actions[~rows])
    np.testing.assert_array_equal(after.actions[rows], mirror_pusht("action", actions[rows]))
    np.testing.assert_array_equal(after.observations["state"][rows], mirror_pusht("state", state[rows]))


def test_an_unknown_symmetry_is_named():
    with pytest.raises(ConfigError, match=r"unknown symmetry 'push'.*did you mean 'pusht'"):
        TrainingConfig.from_settings({"symmetry": "push"})
