"""Promise: the fork counts what lies on a way, and what lies between."""

from __future__ import annotations

import numpy as np
import pytest

from l1flow_agents.comparison.fork import HORIZON, NOISE, Fork

ANGLE = 0.3


@pytest.mark.parametrize("n_ways", [2, 3, 4])
def test_the_expert_follows_all_ways(n_ways):
    task, rng = Fork(n_ways), np.random.default_rng(0)
    plans = task.ways(ANGLE)[rng.integers(n_ways, size=400)]
    plans = plans + NOISE * rng.normal(size=plans.shape)
    modes = task.judge(plans, ANGLE)
    assert modes.near == modes.covered == 1
    assert modes.distance == pytest.approx(1, abs=0.1)
    assert modes.at_mean == 0


def test_one_way_is_not_all_and_the_mean_is_none():
    task = Fork(2)
    left, mean = task.ways(ANGLE)[0], task.ways(ANGLE).mean(axis=0)
    one = task.judge(np.tile(left, (10, 1, 1)), ANGLE)
    assert (one.near, one.covered, one.at_mean, one.distance) == (1, 0.5, 0, 0)
    between = task.judge(np.tile(mean, (10, 1, 1)), ANGLE)
    assert (between.near, between.covered, between.at_mean) == (0, 0, 1)


@pytest.mark.parametrize("apart, followed", [(2.9, 1.0), (3.1, 0.0)])
def test_near_is_within_three_standard_deviations(apart, followed):
    task = Fork(2)
    assert task.judge(task.ways(ANGLE)[:1] + apart * NOISE, ANGLE).near == followed


def test_demonstrations_are_what_is_judged():
    task = Fork(3)
    data = task.demonstrations(50, seed=1)
    plans, told = data.actions.reshape(50, HORIZON, 2), data.observations["observation"][::HORIZON]
    for plan, (cosine, sine) in zip(plans, told, strict=True):
        assert task.judge(plan[None], np.arctan2(sine, cosine)).near == 1
    taken = [task.judge(plan[None], np.arctan2(s, c)).covered for plan, (c, s) in zip(plans, told, strict=True)]
    assert taken == pytest.approx([1 / 3] * 50)
