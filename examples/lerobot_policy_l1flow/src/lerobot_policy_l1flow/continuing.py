"""Plans that go on from what is left of the last: LeRobot's ``--inference.type=rtc``, real-time chunking."""

from __future__ import annotations

import numpy as np

from l1flow_agents import L1FlowAgent
from l1flow_agents.realtime.schedule import Schedule
from l1flow_agents.spaces import Observation, read_observation
from l1flow_agents.state import SEED


def continued(agent: L1FlowAgent, observation: Observation, left_over: np.ndarray, delay: int) -> np.ndarray:
    """Plans (n, chunk_size, action_dim) from one observation each, as `L1FlowAgent.predict_chunk`.

    Args:
        left_over: (rows, action_dim), of which LeRobot makes a fixed number by rows of zeros at the end.
        delay: how many of them will have been executed before the plan is there; it begins with those.
    """
    meant = np.flatnonzero(left_over.any(axis=1))
    if not len(meant):
        return agent.predict_chunk(observation)
    schedule = Schedule(agent.horizon - agent.n_obs_steps + 1, left_over.shape[1])
    schedule.join(left_over[: meant[-1] + 1], first=0, now=0)
    settled = schedule.settled(0, until=delay)
    arrays, n, _ = read_observation(observation, agent.spaces_by_key)
    history = {key: array[:, None].repeat(agent.n_obs_steps, axis=1) for key, array in arrays.items()}
    counters = agent.initial_state(n)[0]
    noise = agent.noise(counters[:, SEED], np.zeros(n, np.int64))
    actions, weights = (array[None].repeat(n, axis=0) for array in settled)
    return agent.plan(history, noise, (actions, weights)).astype(agent.action_space.dtype, copy=False)
