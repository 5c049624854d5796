"""Promise: parts of observations have names, and the names stand for the numbers that were written before."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from l1flow_agents import L1FlowAgent
from l1flow_agents.envs import ENVS
from l1flow_agents.envs.experts import EXPERTS, make_expert
from l1flow_agents.errors import ConfigError
from l1flow_agents.experiments import config_names, read_experiment
from l1flow_agents.layouts import LAYOUTS, Layout
from l1flow_agents.networks.parts import numbered

# what the configurations said by numbers; checkpoints were trained so
QUATERNIONS = {
    "can-state": [3, 10],
    "square-state": [3, 10],
    "square_d2-state": [3, 10, 17],
    "stack_d1-state": [3, 10],
    "stackthree_d1-state": [3, 10, 26],
    "transport-state": [3, 10, 17],
    "threading_d2-state": [3, 10, 17, 24],
    "hammercleanup_d1-state": [3, 10, 17, 24],
    "mugcleanup_d1-state": [3, 10, 17, 24],
    "nutassembly_d0-state": [3, 10, 17, 24],
    "toolhang-state": [3, 10, 17, 24, 31, 38],
    "threepieceassembly_d2-state": [3, 10, 17, 24, 31, 38],
    "coffee_d2-state": [3, 10, 17, 24, 31, 38, 45, 52],
}
TURNS = {
    "stack_d1-state": [[None, 3, 4], [3, 10, 4]],
    "stackthree_d1-state": [[None, 3, 4], [None, 26, 4], [3, 10, 4], [26, 3, 4]],
    "square_d2-state": [[17, 3, 4], [None, 10, 2]],
    "threepieceassembly_d2-state": [[3, 17, 4], [17, 31, 2], [None, 24, 2], [None, 38, 4]],
}
OBJECT = Layout(cube_pos=3, cube_quat=4, gripper_to_cube_pos=3, angle=1, lid_quat=4)


def test_every_environment_has_a_layout():
    assert LAYOUTS.keys() == ENVS.keys()


@pytest.mark.parametrize("name", config_names())
def test_names_in_configurations_are_the_numbers_of_before(name):
    experiment = read_experiment(name)
    layout = LAYOUTS[experiment.env] | Layout(**dict.fromkeys(experiment.env_kwargs.get("extras", ()), 4))
    found = numbered(experiment.agent.encoder_kwargs, {"object": layout})
    assert found.get("quaternions", {}).get("object", []) == QUATERNIONS.get(name, [])
    assert found.get("turns", {}).get("object", []) == TURNS.get(name, [])


@pytest.mark.parametrize("env_id", EXPERTS)
def test_an_expert_knows_its_environments_layout(env_id):
    assert make_expert(env_id, np.random.default_rng(0)).layout == LAYOUTS[env_id]


def test_a_layout():
    assert (OBJECT["cube_quat"], OBJECT["lid_quat"], OBJECT.dim) == (slice(3, 7), slice(11, 15), 15)
    assert OBJECT.objects == ["cube"] and OBJECT.quaternions == ["cube_quat", "lid_quat"]
    assert Layout(cube_pos=3, cube_quat=4) | Layout(gripper_to_cube_pos=3, angle=1, lid_quat=4) == OBJECT
    assert repr(Layout(a=1, b=2)) == "Layout(a=1, b=2)" and len(OBJECT) == 5
    parts = OBJECT.split(np.arange(30).reshape(2, 15))
    np.testing.assert_array_equal(parts["gripper_to_cube_pos"], [[7, 8, 9], [22, 23, 24]])
    with pytest.raises(ConfigError, match=r"expected 15 numbers for Layout.*, got 14"):
        OBJECT.split(np.zeros(14))
    with pytest.raises(TypeError, match="angle"):
        _ = OBJECT | Layout(angle=1)


def test_names_become_numbers():
    given = {
        "fourier": 2,
        "quaternions": {"object": "auto", "other": [3]},
        "turns": {"object": [["cube_quat", "lid_quat", 4], (None, 11, 2)]},
    }
    assert numbered(given, {"object": OBJECT}) == {
        "fourier": 2,
        "quaternions": {"object": [3, 11], "other": [3]},
        "turns": {"object": [[3, 11, 4], [None, 11, 2]]},
    }
    assert given["quaternions"]["object"] == "auto"  # what was given stays as it was
    assert numbered(None, {}) is None and numbered({"quaternions": 3}, {}) == {"quaternions": 3}


def test_names_that_mean_nothing():
    with pytest.raises(ConfigError, match=r"unknown part of 'object' 'cube_qat'.*did you mean 'cube_quat'"):
        numbered({"quaternions": {"object": ["cube_qat"]}}, {"object": OBJECT})
    with pytest.raises(ConfigError, match=r"'auto': expected numbers for observation 'pose', .* of \['object'\] only"):
        numbered({"quaternions": {"pose": "auto"}}, {"object": OBJECT})
    with pytest.raises(ConfigError, match=r"expected numbers for observation 'pose', .* of \[\] only"):
        numbered({"turns": {"pose": [["a", "b", 2]]}}, {})


def test_an_agent_takes_names_and_keeps_numbers():
    agent = L1FlowAgent(
        "mlp",
        gym.make("Square_D2-v0", obs_type="state"),
        network_kwargs={"width": 8, "depth": 1},
        encoder_kwargs={"quaternions": {"object": "auto"}},
    )
    assert agent.settings.to_dict()["encoder_kwargs"] == {"quaternions": {"object": [3, 10]}}
    assert agent.policy.encoder.quaternions == {"object": [3, 10]}


def test_pushts_state():
    env = gym.make("PushT-v0", obs_type="state")
    state, _ = env.reset(seed=1)
    simulator, parts = env.unwrapped._simulator, env.unwrapped.layouts["state"].split(state["state"])
    np.testing.assert_allclose(parts["agent_pos"], simulator.agent.position, atol=1e-4)
    np.testing.assert_allclose(parts["block_pos"], simulator.block.position, atol=1e-4)
    np.testing.assert_allclose(parts["block_angle"], [simulator.block.angle % (2 * np.pi)], atol=1e-4)
