"""Observations and actions in a task's frame."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from l1flow_agents import Episodes, L1FlowAgent
from l1flow_agents.data.symmetry import mirror_pusht
from l1flow_agents.errors import ConfigError
from l1flow_agents.networks.frames import FRAMES

PUSHT = FRAMES["pusht"]


@pytest.fixture
def scene():
    """Observations (8, 2, 5) and actions (8, 16, 2) of PushT."""
    generator = torch.Generator().manual_seed(0)
    state = torch.rand(8, 2, 5, generator=generator) * torch.tensor([512, 512, 512, 512, 2 * torch.pi])
    return {"state": state}, 512 * torch.rand(8, 16, 2, generator=generator)


def test_what_enters_a_frame_leaves_it_unchanged(scene):
    observations, actions = scene
    there_and_back = PUSHT.left(PUSHT.entered(actions, observations), observations)
    torch.testing.assert_close(there_and_back, actions, atol=1e-3, rtol=0)


def test_a_scene_turned_as_a_whole_looks_the_same_but_for_the_mark(scene):
    observations, actions = scene
    angle, shift = 0.7, torch.tensor([30.0, -50.0])
    turn = torch.tensor([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], dtype=torch.float32)
    finger, block, block_angle = observations["state"].split([2, 2, 1], dim=-1)
    moved = {"state": torch.cat([finger @ turn + shift, block @ turn + shift, block_angle + angle], dim=-1)}
    torch.testing.assert_close(PUSHT.seen(moved)[..., :2], PUSHT.seen(observations)[..., :2], atol=1e-4, rtol=0)
    entered = PUSHT.entered(actions @ turn + shift, moved)
    torch.testing.assert_close(entered, PUSHT.entered(actions, observations), atol=1e-4, rtol=0)
    assert not torch.allclose(PUSHT.seen(moved)[..., 2:], PUSHT.seen(observations)[..., 2:], atol=0.1)


def test_a_block_on_its_mark_sees_it_at_zero():
    on_mark = {"state": torch.tensor([[[256.0, 356, 256, 256, np.pi / 4]]])}
    np.testing.assert_allclose(PUSHT.seen(on_mark), [[[0.5**0.5, 0.5**0.5, 0, 0, 1, 0]]], atol=1e-5)


def test_the_mirror_only_changes_signs_in_the_frame(scene):
    observations, actions = scene
    mirrored = {"state": mirror_pusht("state", observations["state"])}
    signs = torch.tensor([-1.0, 1, -1, 1, 1, -1])
    torch.testing.assert_close(PUSHT.seen(mirrored), signs * PUSHT.seen(observations), atol=1e-4, rtol=0)
    entered = PUSHT.entered(mirror_pusht("action", actions), mirrored)
    torch.testing.assert_close(entered, signs[:2] * PUSHT.entered(actions, observations), atol=1e-4, rtol=0)


def test_an_agent_in_a_frame_learns_is_saved_and_exported(tmp_path):
    env = gym.make("PushT-v0", obs_type="state")
    agent = L1FlowAgent("mlp", env, frame="pusht", network_kwargs={"width": 64, "depth": 1}, device="cpu")
    state = np.random.default_rng(0).uniform(100, 400, (60, 5)).astype(np.float32)
    state[:, 4] %= 6
    demos = Episodes({"state": state}, (state[:, :2] + 20).clip(0, 512), np.array([30, 60]))
    agent.learn(demos, 100, learning_rate=3e-3, symmetry="pusht", batch_size=32, warmup_steps=10)
    assert np.abs(agent.predict({"state": state[20]})[0] - state[20, :2] - 20).max() < 60
    agent.save(tmp_path / "agent")
    loaded = L1FlowAgent.load(tmp_path / "agent", device="cpu")
    assert loaded.settings.frame == "pusht"
    np.testing.assert_array_equal(
        loaded.predict_chunk({"state": state[:4]}, deterministic=True),
        agent.predict_chunk({"state": state[:4]}, deterministic=True),
    )
    loaded.export(tmp_path / "plan.pt2")  # compares plans with the agent's


def test_a_frame_of_another_task_is_refused():
    env = gym.make("PushT-v0", obs_type="image")
    with pytest.raises(ConfigError, match=r"agent: this frame needs state \(5,\); got .*agent_pos"):
        L1FlowAgent("mlp", env, frame="pusht")
    with pytest.raises(ConfigError, match=r"unknown frame 'push', .*did you mean 'pusht'"):
        L1FlowAgent("mlp", gym.make("PushT-v0", obs_type="state"), frame="push")
