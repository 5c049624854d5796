"""Promise: demonstrations whose actions mean something else in the agent's environment do not train it."""

from __future__ import annotations

import dataclasses
import warnings

import gymnasium as gym
import numpy as np
import pytest

from l1flow_agents import Episodes, L1FlowAgent
from l1flow_agents.errors import ConfigError, DatasetError

pytest.importorskip("robosuite", reason="the simulator of these tasks is not installed")

STATE = {"obs_type": "state"}


def env(env_id: str = "Lift-v0", **kwargs) -> gym.Env:
    return gym.make(env_id, **{**STATE, **kwargs})


def demos_of(made: gym.Env, like: gym.Env, **changes) -> Episodes:
    """Demonstrations for the spaces of ``like`` that say they are of ``made``."""
    rng = np.random.default_rng(0)
    boxes = like.observation_space.spaces.items()
    observations = {key: np.zeros((20, *box.shape), box.dtype) for key, box in boxes}
    env_args = {**made.unwrapped.env_args(), **changes}
    return Episodes(observations, rng.uniform(-1, 1, (20, 7)), [20], "demos.hdf5", env_args=env_args)


def learn(like: gym.Env, demos: Episodes) -> None:
    agent = L1FlowAgent("mlp", like, network_kwargs={"width": 16, "depth": 1}, device="cpu")
    agent.learn(demos, 1, batch_size=4)


def test_the_same_environment_trains_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        learn(env(), demos_of(env(), env()))


@pytest.mark.parametrize(
    ("made", "changes", "reason"),
    [
        ({"control": "absolute"}, {}, r"control is 'absolute', the environment's 'delta'"),
        ({"env_id": "Can-v0"}, {}, r"env_name is 'PickPlaceCan', the environment's 'Lift'"),
        ({}, {"type": 2}, r"not demonstrations for Lift: env_args of Lift: type must be 1, got 2"),
        ({}, {"env_kwargs": "none"}, r"not demonstrations for Lift: env_args of Lift: env_kwargs must be a mapping"),
    ],
)
def test_another_environment_is_refused_in_one_line(made, changes, reason):
    demos = demos_of(env(**made), env(), **changes)
    with pytest.raises(DatasetError, match=rf"^demos\.hdf5: .*{reason}") as caught:
        learn(env(), demos)
    assert "\n" not in str(caught.value)
    learn(env(), dataclasses.replace(demos, env_args=None))  # who knows better says so


CAMERAS = {"use_camera_obs": True, "camera_names": ["a"], "camera_heights": [84], "camera_widths": [84]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"env_name": None}, "env_args: env_name must be text, got None"),
        ({"env_kwargs": 5}, "env_args of Lift: env_kwargs must be a mapping, got 5"),
        ({"controller_configs": "OSC"}, "controller_configs must be a mapping, got 'OSC'"),
        ({"controller_configs": {"body_parts": []}}, r"body_parts must be a mapping, got \[\]"),
        ({"controller_configs": {"body_parts": {"right": 1}}}, "right must be a mapping, got 1"),
        ({"controller_configs": None}, "controller type must be 'OSC_POSE', got None"),
        ({"robots": 5}, r"robots must be \['Panda'\] or .*, got 5"),
        ({**CAMERAS, "camera_names": [["a"]]}, r"camera_names must be names, got \[\['a'\]\]"),
        ({**CAMERAS, "camera_names": None}, r"camera_names must be names, got \[None\]"),
        ({**CAMERAS, "camera_heights": ["x"]}, r"images must be square and of one size, got \['x', 84\]"),
        ({**CAMERAS, "camera_widths": [[]]}, r"images must be square and of one size, got \[84, \[\]\]"),
    ],
)
def test_damaged_env_args_are_one_clear_line(changes, reason):
    from l1flow_agents.envs.robomimic_args import from_env_args  # late: imports robosuite

    env_args = env().unwrapped.env_args()
    if changes.keys() & {"env_name", "env_kwargs"}:
        env_args.update(changes)
    else:
        env_args["env_kwargs"].update(changes)
    with pytest.raises(ConfigError, match=reason) as caught:
        from_env_args(env_args)
    assert "\n" not in str(caught.value)


def test_cameras_and_sizes_are_compared():
    like = env(obs_type="image", cameras=["agentview"], image_size=24)
    learn(like, demos_of(env(obs_type="image", image_size=24), like))  # the file may have more cameras
    for other in ({"cameras": ["frontview"], "image_size": 24}, {"cameras": ["agentview"], "image_size": 48}):
        with pytest.raises(DatasetError, match=r"cameras is|image_size is 48, the environment's 24"):
            learn(like, demos_of(env(obs_type="image", **other), like))


@pytest.mark.parametrize("changes", [{"env_version": "1.4.1"}, {"env_name": "Square_D1"}])
def test_another_version_or_variant_is_a_warning(changes):
    like = env("Square_D0-v0")
    with pytest.warns(UserWarning, match=r"demos\.hdf5: env_(name|version) is '(1.4.1|Square_D1)'"):
        learn(like, demos_of(like, like, **changes))


def test_an_agent_that_was_loaded_knows_its_environment(tmp_path):
    L1FlowAgent("mlp", env(), network_kwargs={"width": 16, "depth": 1}, device="cpu").save(tmp_path / "agent")
    agent = L1FlowAgent.load(tmp_path / "agent")
    with pytest.raises(DatasetError, match=r"control is 'absolute'"):
        agent.learn(demos_of(env(control="absolute"), env()), 1)


def test_actions_outside_are_refused_or_clipped():
    demos = dataclasses.replace(demos_of(env(), env()), actions=np.full((20, 7), 3.0))
    with pytest.raises(
        DatasetError, match=r"100\.0% of the steps lie outside .*dimension 0 holds 3\.\.3, expected -1\.\.1"
    ):
        learn(env(), demos)
    agent = L1FlowAgent("mlp", env(), network_kwargs={"width": 16, "depth": 1}, device="cpu")
    agent.learn(demos, 1, batch_size=4, actions="clip")
