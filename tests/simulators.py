"""Simulated tasks that tests share, and the rules that each of them must keep."""

from __future__ import annotations

import gc
import warnings

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common import env_checker as sb3

import l1flow_agents  # noqa: F401  (registers the environments)
from l1flow_agents.layouts import LAYOUTS

_made: dict[str, gym.Env] = {}


def env_of(env_id: str) -> gym.Env:
    """One environment an id for all tests of a file: they must not care what happened in it before."""
    if env_id not in _made:
        _made[env_id] = gym.make(env_id, obs_type="state")
    return _made[env_id]


def let_go() -> None:
    """Of all of them: hundreds of MB each, and a test process runs dozens of files."""
    if _made:
        while _made:
            _made.popitem()[1].close()
        gc.collect()


def assert_parts_are_where_the_layout_says(env_id: str) -> None:
    """robosuite's observables by name, in the present state."""
    env = env_of(env_id).unwrapped
    seen, layout = env.observe()["object"], env.layouts["object"]
    assert layout == LAYOUTS[env_id] and layout.dim == len(seen)
    for _ in range(2):  # relative poses lag by one
        expected = env.simulator._get_observations(force_update=True)
    for name, part in layout.items():
        np.testing.assert_array_equal(seen[part], np.float32(np.atleast_1d(expected[name])), err_msg=name)


def assert_checkers_are_silent(env_id: str) -> None:
    """Gymnasium's and stable-baselines3's checkers, every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env_of(env_id).unwrapped, skip_render_check=True)
        sb3.check_env(env_of(env_id))
