"""Promise: a script that calls `evaluate` or makes demonstrations needs no guard, and need not be a file."""

from __future__ import annotations

import subprocess
import sys
import threading
from textwrap import dedent

import gymnasium as gym
import pytest

from l1flow_agents.env_maker import EnvMaker
from l1flow_agents.errors import ConfigError
from l1flow_agents.parallel import in_order
from l1flow_agents.spawning import packed, unpacked

MINE = dedent(
    """
    import gymnasium as gym, numpy as np
    from gymnasium import spaces
    from l1flow_agents.parallel import in_order

    class Mine(gym.Env):
        observation_space = spaces.Box(-1, 1, (3,), np.float32)
        action_space = spaces.Box(-1, 1, (2,), np.float32)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.steps = 0
            return np.zeros(3, np.float32), {}

        def step(self, action):
            self.steps += 1
            return np.zeros(3, np.float32), 1.0, self.steps >= 4, False, {"is_success": True}

    gym.register("Mine-v0", entry_point=Mine)
    gym.register("Same-v0", entry_point="__main__:Mine")
    """
)
WORK = MINE + 'print(list(in_order(lambda env_id: gym.make(env_id).unwrapped.spec.id, ["Mine-v0", "Same-v0"], 2)))'
EVALUATE = MINE + dedent(
    """
    from l1flow_agents import L1FlowAgent, evaluate
    from l1flow_agents.evaluation import Workers

    class Still(gym.ActionWrapper):
        def action(self, action):
            return 0 * action

    agent = L1FlowAgent("mlp", Still(gym.make("Same-v0")), network_kwargs={"width": 32, "depth": 1}, device="cpu")
    with Workers() as workers:  # who take what the script defines for the same the second time
        results = [evaluate(agent, n_episodes=1, n_envs=1, workers=workers) for _ in range(2)]
    print(*(result.success_rate for result in results), results[1].timing.start)
    """
)


@pytest.mark.parametrize(
    ("script", "said", "way"),
    [(WORK, "['Mine-v0', 'Same-v0']\n", way) for way in ("file", "stdin", "-c", "-m")]
    + [(EVALUATE, "1.0 1.0 0.0\n", way) for way in ("file", "stdin")],
)
def test_no_guard_and_no_file_are_needed(script, said, way, tmp_path):
    (tmp_path / "unguarded.py").write_text(script)
    words = {"file": ["unguarded.py"], "stdin": ["-"], "-c": ["-c", script], "-m": ["-m", "unguarded"]}[way]
    given = script if way == "stdin" else None
    done = subprocess.run(
        [sys.executable, *words], input=given, capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert (done.stdout, done.stderr) == (said, "")


def test_what_cannot_be_sent_is_one_line(tmp_path):
    with (tmp_path / "open").open("w") as file:
        with pytest.raises(ConfigError, match="cannot be sent to a worker process") as error:
            list(in_order(file.write, ["x"], 2))
        make = EnvMaker(gym.spec("CartPole-v1"), ((gym.Wrapper, {"log": file}),))
        with pytest.raises(ConfigError, match="environment X cannot be sent"):
            packed(make, "environment X")
    assert "\n" not in str(error.value)


def test_the_programs_environments_come_along(monkeypatch):
    registry = dict(gym.registry)
    gym.register("Sent-v0", entry_point=lambda: gym.make("CartPole-v1"))
    gym.register("Kept-v0", entry_point=threading.Lock().acquire)  # cannot be sent, and spoils nothing
    data = packed("value", "a value")
    monkeypatch.setattr(gym.envs.registration, "registry", registry)
    monkeypatch.setattr(gym, "registry", registry)
    assert "Sent-v0" not in gym.registry
    assert unpacked(data) == "value"
    assert gym.make("Sent-v0").observation_space.shape == (4,)
    assert "Kept-v0" not in gym.registry
