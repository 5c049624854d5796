"""Promise: a student begins as its teacher, sees with its teacher's eyes, and a short distillation makes it better."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import OBSERVATION, TINY, new_agent, random_episodes
from torch import nn

from l1flow_agents import L1FlowAgent
from l1flow_agents.comparison.fork import HORIZON, Fork
from l1flow_agents.errors import ConfigError
from l1flow_agents.methods import Consistency, L1Flow
from l1flow_agents.methods.told import WIDTH
from l1flow_agents.networks.widening import copy_widened
from l1flow_agents.training import Training, TrainingConfig, fitting

SHORT = {"batch_size": 8, "warmup_steps": 2, "val_fraction": 0.0, "log_every": 100}


@pytest.mark.parametrize("network", TINY)
def test_a_student_begins_deaf_to_where_its_jump_ends(network):
    teacher = new_agent(network, method="edm")
    student = L1FlowAgent.from_teacher(teacher, "consistency")
    x, t, cond = torch.randn(4, 16, 2), torch.rand(4), torch.randn(4, teacher.policy.encoder.cond_dim)
    for told in (torch.zeros(4, WIDTH), torch.randn(4, WIDTH)):
        same = student.policy.network(x, t, torch.cat([cond, told], dim=-1))
        torch.testing.assert_close(same, teacher.policy.network(x, t, cond))
    learned = student.learn(random_episodes(), 3, **SHORT).policy.network
    silence, heard = (learned(x, t, torch.cat([cond, told], dim=-1)) for told in (0 * told, told))
    assert not torch.equal(silence, heard)


def test_a_network_that_cannot_be_told_more():
    class Scaled(nn.Module):
        def __init__(self, cond_dim: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(cond_dim))

        def forward(self, x, t, cond):
            return x + (cond * self.weight).sum()

    with pytest.raises(ConfigError, match="a network that takes the condition by linear layers, got weight"):
        copy_widened(Scaled(3), Scaled(5), (4, 2), 3, 2)


@pytest.mark.parametrize("teacher, method", [("edm", "consistency"), ("ddpm", "onedp")])
def test_a_student_keeps_its_teachers_eyes(teacher, method):
    taught = new_agent(space=OBSERVATION, method=teacher)
    student = L1FlowAgent.from_teacher(taught, method).learn(random_episodes(images=True), 2, **SHORT)
    for name, weight in taught.policy.encoder.state_dict().items():
        assert torch.equal(student.policy.encoder.state_dict()[name], weight), name
    for name, weight in taught.policy.network.state_dict().items():
        now = student.policy.network.state_dict()[name]
        assert now.shape != weight.shape or not torch.equal(now, weight), name


def test_a_student_of_pictures_is_continued(tmp_path):
    taught, data = new_agent(space=OBSERVATION, method="edm"), random_episodes(images=True)

    def student(run_dir, callback=None) -> dict[str, torch.Tensor]:
        agent = L1FlowAgent.from_teacher(taught, "consistency")
        agent.learn(data, 3, callback, run_dir=run_dir, checkpoint_every=1, **SHORT)
        return agent.policy.state_dict()

    whole = student(tmp_path / "whole")
    student(tmp_path / "run", lambda told, _: told["step"] < 1)
    continued = student(tmp_path / "run")
    assert (tmp_path / "run" / "progress_2.csv").exists()
    assert all(torch.equal(weight, continued[name]) for name, weight in whole.items())


@pytest.mark.parametrize("network", TINY)
def test_a_student_has_dropout_of_its_own(network):
    kwargs = TINY[network] | ({} if network == "unet" else {"dropout": 0.4})
    student = L1FlowAgent.from_teacher(new_agent(network, method="edm", network_kwargs=kwargs), "consistency")
    assert student.settings.network_kwargs["dropout"] == Consistency.dropout
    assert {one.p for one in student.policy.network.modules() if isinstance(one, nn.Dropout)} == {Consistency.dropout}


@pytest.mark.parametrize("method, betas", [("ddpm", (0.95, 0.999)), ("onedp", (0.0, 0.999))])
def test_adams_betas_are_the_methods_unless_told(method, betas):
    agent = new_agent(method=method)
    data = fitting(random_episodes(), agent.spaces_by_key, agent.action_space, TrainingConfig())
    for given in (None, (0.5, 0.9)):
        training = Training(agent.policy, data, 2, TrainingConfig(precision="float32", betas=given, **SHORT))
        assert {group["betas"] for group in training.optimizer.param_groups} == {given or betas}


def test_targets_without_a_gradient_do_not_keep_the_network_from_one(monkeypatch):
    """In bfloat16 torch keeps casts of weights, and one made under no_grad has no gradient."""
    cached = []

    def loss(self, network, x1, cond, valid):
        cached.append(torch.is_autocast_cache_enabled())
        with torch.no_grad():
            target = network(x1, x1.new_zeros(len(x1)), cond)
        return (network(x1, x1.new_ones(len(x1)), cond) - target - 1).float().square().mean()

    monkeypatch.setattr(L1Flow, "loss", loss)
    agent = new_agent()
    before = {name: weight.clone() for name, weight in agent.policy.network.named_parameters()}
    agent.learn(random_episodes(), 2, precision="bfloat16", learning_rate=1e-2, **SHORT)
    assert cached == [False, False]
    assert not any(torch.equal(weight, before[name]) for name, weight in agent.policy.network.named_parameters())


def test_a_short_distillation_lowers_the_error_of_one_jump():
    task = Fork(1)
    settings = {"batch_size": 64, "learning_rate": 2e-3, "warmup_steps": 20, "val_fraction": 0.0, "log_every": 1000}
    sizes = {"horizon": HORIZON, "n_obs_steps": 1, "n_action_steps": 1, "network_kwargs": {"width": 64, "depth": 2}}
    data = task.demonstrations(1000)
    teacher = L1FlowAgent("mlp", task.spaces(), "edm", **sizes).learn(data, 400, **settings)
    student = L1FlowAgent.from_teacher(teacher, "consistency")

    def distance() -> float:
        """Of one-jump plans to the road, in the expert's standard deviations."""
        told = {angle: np.float32([np.cos(angle), np.sin(angle)]) for angle in np.linspace(-3, 3, 12)}
        return float(np.mean([task.judge(student.sample(seen, 32), angle).distance for angle, seen in told.items()]))

    before = distance()
    student.learn(data, 100, **settings)
    assert distance() < 0.7 * before
