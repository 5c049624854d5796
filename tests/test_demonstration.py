"""Promise: an episode becomes a demonstration that is whole, in an environment that a worker makes once."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from functools import partial

import gymnasium as gym
import numpy as np
import pytest

import l1flow_agents  # noqa: F401  (registers the environments)
from l1flow_agents.demonstration import Demonstration
from l1flow_agents.demonstrations.recording import record_episode
from l1flow_agents.errors import DatasetError
from l1flow_agents.parallel import in_order_by

STEPS = {"actions": np.zeros((3, 2), np.float32), "states": np.zeros((3, 0)), "rewards": [0, 0, 1], "dones": [0, 0, 1]}


def test_a_demonstration_has_the_types_of_robomimics_files():
    demo = Demonstration({"count": [1, 2, 3]}, **STEPS, extra={"info": {"pose": [1.0]}})
    assert [array.dtype for array in demo.steps().values()] == [float, float, float, int, int]
    assert list(demo.steps()) == ["actions", "states", "rewards", "dones", "obs/count"] and len(demo) == 3
    with pytest.raises(AttributeError):
        demo.actions = demo.states


@pytest.mark.parametrize("change", [{"rewards": [0, 1]}, {"dones": [0, 0, None]}, {"states": np.full((3, 1), np.inf)}])
def test_a_demonstration_is_checked_at_its_door(change):
    with pytest.raises(DatasetError, match=f"demonstration: .*{next(iter(change))}"):
        Demonstration({}, **{**STEPS, **change})


def act(observation) -> np.ndarray:
    return np.array([observation["count"][1], 0], np.float32) / 10


def test_an_episode_that_succeeds_is_a_demonstration():
    with closing(gym.make("envs_for_tests:Counter-v0", length=3)) as env:
        demo = record_episode(env, act, 2)
        assert record_episode(env, act, 1) is None  # odd seeds fail
        assert record_episode(env, lambda observation: None if observation["count"][1] == 2 else np.zeros(2), 2) is None
        again = record_episode(env, act, 2)
    np.testing.assert_array_equal(demo.observations["count"], [[2, 0], [2, 1], [2, 2]])
    np.testing.assert_array_equal(demo.next_observations["count"], [[2, 1], [2, 2], [2, 3]])
    np.testing.assert_array_equal(demo.actions[:, 0], np.float32([0, 0.1, 0.2]))
    for one, other in zip(demo.steps().values(), again.steps().values(), strict=True):
        np.testing.assert_array_equal(one, other)


# ---- workers that own something -------------------------------------------------------------------------------------


@contextmanager
def counting(folder):
    """Yields what adds to a list of its own; a file says that the context was left."""
    done = []

    def add(number):
        if number < 0:
            raise ValueError(number)
        done.append(number)
        return os.getpid(), len(done)

    try:
        yield add
    finally:
        (folder / "left").touch()


@contextmanager
def broken():
    raise DatasetError("nothing to own")
    yield


def test_one_process_makes_it_once_and_clears_up(tmp_path):
    results = in_order_by(partial(counting, tmp_path), range(4), 1)
    assert [next(results) for _ in range(3)] == [(os.getpid(), n) for n in (1, 2, 3)]
    assert not (tmp_path / "left").exists()
    assert list(results) == [(os.getpid(), 4)] and (tmp_path / "left").exists()
    assert list(in_order_by(broken, [], 1)) == []  # for nothing, nothing is made


def test_every_process_makes_it_once(tmp_path):
    made: dict[int, list[int]] = {}
    for process, n in in_order_by(partial(counting, tmp_path), range(9), 2):
        made.setdefault(process, []).append(n)
    assert os.getpid() not in made and sum(map(len, made.values())) == 9
    assert all(sorted(counts) == list(range(1, len(counts) + 1)) for counts in made.values())


@pytest.mark.parametrize("n_workers", [1, 2])
def test_what_cannot_be_made_is_an_error_of_the_first_item(n_workers):
    with pytest.raises(DatasetError, match="nothing to own"):
        list(in_order_by(broken, range(3), n_workers))


def test_an_item_that_fails_spoils_no_other(tmp_path):
    results = in_order_by(partial(counting, tmp_path), [0, 1, -1], 2)
    assert [next(results)[1] > 0 for _ in range(2)] == [True, True]
    with pytest.raises(ValueError, match="-1"):
        next(results)
