"""Demonstrations as a training sees them: without idle steps, and with ends that reach the goal."""

import gymnasium as gym
import numpy as np
import pytest

from l1flow_agents import Episodes, L1FlowAgent
from l1flow_agents.data.hindsight import onto_the_mark
from l1flow_agents.data.idle import without_idle
from l1flow_agents.errors import ConfigError, DatasetError
from l1flow_agents.training import TrainingConfig


def recorded(env, start, target, n_steps):
    """States before each of ``n_steps`` actions, which lead the finger from ``start`` straight to ``target``."""
    simulator = env.unwrapped._simulator
    env.reset(seed=0)
    simulator.agent.position, simulator.agent.velocity = tuple(map(float, start[:2])), (0, 0)
    simulator.block.angle, simulator.block.position = float(start[4]), tuple(map(float, start[2:4]))
    simulator.space.reindex_shapes_for_body(simulator.block)
    way = (np.linspace(0, 1, n_steps + 1)[1:, None] * (target - start[:2]) + start[:2]).astype(np.float32)
    states, seen = [], np.float32(start)
    for action in way:
        states.append(seen)
        seen = env.step(action)[0]["state"]
    return np.array(states), way, seen


def test_the_moved_end_of_a_push_is_a_push_onto_the_mark():
    env = gym.make("PushT-v0", obs_type="state")
    states, actions, _ = recorded(env, np.array([259.0, 172, 279, 227, 0.9]), np.array([265.0, 244]), 60)
    off = states[-1, 2:] - [256, 256, np.pi / 4]
    assert 5 < np.linalg.norm(off[:2]) < 25 and abs(off[2]) > 0.03
    moved = onto_the_mark(Episodes({"state": states}, actions, np.array([60])))
    found = moved.observations["state"]
    np.testing.assert_allclose(found[-1, 2:], [256, 256, np.pi / 4], atol=1e-4)
    np.testing.assert_array_equal(found[:10], states[:10])  # earlier than the last 50
    np.testing.assert_array_equal(moved.actions[:10], actions[:10])
    # the simulator, led by the moved actions from a moved state, does what the moved states say
    simulator = env.unwrapped._simulator
    recorded(env, found[45], found[45, :2], 0)
    simulator.agent.velocity = tuple(10 * (found[45, :2] - found[44, :2]))
    for action in moved.actions[45:-1]:
        last = env.step(action)[0]["state"]
    np.testing.assert_allclose(last, found[-1], atol=3)
    assert np.linalg.norm(last[2:4] - 256) < np.linalg.norm(off[:2]) / 3


def test_hindsight_is_of_a_tasks_own_observations():
    episodes = Episodes({"state": np.zeros((4, 3))}, np.zeros((4, 2)), np.array([4]))
    with pytest.raises(ConfigError, match=r"hindsight 'pusht' is of state \(5,\) alone; got {'state': \(3,\)}"):
        onto_the_mark(episodes)
    with pytest.raises(ConfigError, match=r"unknown hindsight 'push'.*did you mean 'pusht'"):
        TrainingConfig.from_settings({"hindsight": "push"})


def test_pauses_are_left_out_and_creeping_is_kept_now_and_then():
    pause = [0.0, 0.0, 0.01, -0.01, 0.0, 10.0, 10.0]
    creep = [0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24]
    position = np.array([*pause, *creep])[:, None]
    picture = np.arange(14, dtype=np.uint8)[:, None, None, None]
    episodes = Episodes(
        {"position": position, "picture": picture}, np.arange(14.0)[:, None], np.array([7, 14]), names=("one", "two")
    )
    moving = without_idle(episodes, 0.01)  # of a range of 10
    np.testing.assert_array_equal(moving.actions[:, 0], [0, 5, 7, 10, 13])
    np.testing.assert_array_equal(moving.observations["picture"].ravel(), [0, 5, 7, 10, 13])
    np.testing.assert_array_equal(moving.observations["position"][:, 0], [0, 10, 0, 0.12, 0.24])
    np.testing.assert_array_equal(moving.ends, [2, 5])
    assert moving.names == episodes.names


def test_pictures_alone_do_not_tell_who_is_idle():
    episodes = Episodes({"picture": np.zeros((4, 2, 2, 3), np.uint8)}, np.zeros((4, 1)), np.array([4]))
    with pytest.raises(DatasetError, match="pictures only"):
        without_idle(episodes, 0.01)


def test_training_learns_from_prepared_demonstrations():
    env = gym.make("PushT-v0", obs_type="state")
    rng = np.random.default_rng(0)
    states = rng.uniform(0, 6, (20, 5)).astype(np.float32) + np.float32([200, 200, 200, 200, 0])
    states = states.repeat(2, axis=0)  # every other step is idle
    episodes = Episodes({"state": states}, states[:, :2].copy(), np.array([20, 40]))
    trained = {}
    for settings in ({}, {"idle": 0.001}, {"hindsight": "pusht"}):
        agent = L1FlowAgent("mlp", env, network_kwargs={"width": 16, "depth": 1})
        trained[str(settings)] = agent.learn(episodes, 1, **settings).provenance.training
    plain, idle, moved = trained.values()
    assert plain["dataset"]["steps"] == moved["dataset"]["steps"] == 40 and idle["dataset"]["steps"] == 20
    assert plain["fingerprint"] != moved["fingerprint"]
