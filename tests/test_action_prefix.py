"""Promise: an agent that learned with action prefixes continues what a robot does while it plans."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from l1flow_agents import Episodes
from l1flow_agents.errors import ConfigError
from l1flow_agents.methods.action_prefix import given, random_rows, settled_rows
from l1flow_agents.realtime.planning import plan, spec_of
from l1flow_agents.realtime.wire import Request


def test_rows():
    chunks = torch.zeros(2_000, 8, 2)
    rows = random_rows(chunks, past=1, longest=3)
    lengths = rows.sum(1)
    assert not rows[:, 0].any() and not rows[:, 4:].any(), "neither the past nor what is to be planned"
    assert (rows[:, 1:4].long().diff(dim=1) <= 0).all(), "the first ones"
    assert (torch.bincount(lengths, minlength=4) > 400).all(), "of all lengths alike"
    weight = torch.tensor([[0.0, 1, 1, 1, 1, 0.5, 0, 0]])
    assert settled_rows(weight, past=1, longest=3).long().tolist() == [[0, 1, 1, 1, 0, 0, 0, 0]]


def test_they_are_seen_without_noise():
    known, noisy = torch.ones(1, 4, 2), torch.zeros(1, 4, 2)
    rows = torch.tensor([[True, False, True, False]])
    seen = given(lambda x, t, cond: x, known, rows)(noisy, torch.zeros(1), torch.zeros(1, 1))
    assert seen[0, :, 0].tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("method", ["l1flow", "flow_matching", "ddpm"])
def test_a_plan_goes_on_as_it_began(make_agent, method):
    """Episodes to the left and to the right from the same observations: the prefix alone says which."""
    sides = np.repeat([0.3, -0.3], 20)
    actions = np.stack([sides, np.full(40, 1.0)], axis=1).astype(np.float32)
    demos = Episodes({"pos": np.zeros((40, 3), np.float32)}, actions, np.array([20, 40]))
    agent = make_agent(method=method, horizon=8, n_obs_steps=1, n_action_steps=4, action_prefix=4)
    agent.learn(demos, 400, val_fraction=0, batch_size=32, learning_rate=3e-3, warmup_steps=10, ema_power=0.5)
    spec = spec_of(agent)
    assert spec.continues
    history = {"pos": np.zeros((1, 3), np.float32)}
    for side in (0.3, -0.3):
        known = np.tile(np.float32([side, 1.0]), (spec.n_rows, 1))
        weights = np.float32([1] * 3 + [0.5] * 2 + [0] * 3)
        made = np.stack([plan(agent, Request(k, 0, history, known, weights)) for k in range(20)])
        assert (np.sign(made[:, 3:, 0].mean(1)) == np.sign(side)).mean() >= 0.95


def test_what_is_given_away_is_not_learnt(make_agent):
    agent = make_agent(action_prefix=3, horizon=8, n_obs_steps=2, n_action_steps=4)
    actions, valid = torch.zeros(4, 8, 2), torch.ones(4, 8)
    counted = []
    agent.policy.method.loss = lambda network, x1, cond, valid: counted.append(valid) or valid.sum()
    for _ in range(50):
        agent.policy.loss({"pos": torch.zeros(4, 2, 3)}, actions, valid)
    counted = torch.cat(counted)
    assert (counted[:, 0] == 1).all() and (counted[:, 4:] == 1).all()
    assert counted[:, 1].mean() < counted[:, 2].mean() < counted[:, 3].mean() < 1


@pytest.mark.parametrize(
    "wrong, reason",
    [
        ({"method": "edm", "action_prefix": 2}, "method edm cannot continue a chunk; expected 0"),
        ({"horizon": 8, "n_obs_steps": 2, "n_action_steps": 4, "action_prefix": 7}, "expected 0..6, got 7"),
        ({"action_prefix": -1}, "action_prefix"),
    ],
)
def test_what_cannot_be(make_agent, wrong, reason):
    with pytest.raises(ConfigError, match=reason):
        make_agent(**wrong)
