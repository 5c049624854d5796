"""How long a plan takes: all systems in one process, in turn, so that what else the machine does touches all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

import numpy as np

from l1flow_agents.agent import L1FlowAgent
from l1flow_agents.device import threads
from l1flow_agents.networks import traced

BATCHES = 1, 16
ROUNDS = 40
SLOW = 0.05  # seconds: from here on a quarter of the rounds will do


@threads(1)
def latencies(agents: Mapping[str, L1FlowAgent], rounds: int = ROUNDS) -> dict[str, dict[str, float]]:
    """Name -> batch size -> median seconds of `L1FlowAgent.plan`, histories and noise being there."""
    times: dict[str, dict[str, list[float]]] = {name: {str(n): [] for n in BATCHES} for name in agents}
    for batch in BATCHES:
        inputs = {name: (blank_history(agent, batch), some_noise(agent, batch)) for name, agent in agents.items()}
        for name, agent in agents.items():
            for _ in range(plans_to_warm_up(agent)):
                agent.plan(*inputs[name])
        for k in range(rounds):
            for name, agent in agents.items():
                measured = times[name][str(batch)]
                if measured and measured[0] > SLOW and k % 4:
                    continue
                begin = time.perf_counter()
                agent.plan(*inputs[name])
                measured.append(time.perf_counter() - begin)
    return {name: {n: statistics.median(seconds) for n, seconds in rows.items()} for name, rows in times.items()}


def plans_to_warm_up(agent: L1FlowAgent) -> int:
    """Until its network is traced, where that is done."""
    return 1 + traced.CALLS_BEFORE // agent.policy.method.network_evaluations


def blank_history(agent: L1FlowAgent, n: int) -> dict[str, np.ndarray]:
    return {key: np.zeros((n, agent.n_obs_steps, *box.shape), box.dtype) for key, box in agent.spaces_by_key.items()}


def some_noise(agent: L1FlowAgent, n: int) -> np.ndarray:
    return agent.noise(np.zeros(n, int), np.arange(n))
