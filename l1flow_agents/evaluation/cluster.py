"""Episodes on the cores of a Ray cluster, one at a time on each: what one machine does with ``n_envs=1``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial

from tqdm import tqdm

from l1flow_agents.agent import L1FlowAgent
from l1flow_agents.evaluation.result import EpisodeResult
from l1flow_agents.evaluation.rollouts import Rollouts, show_progress
from l1flow_agents.evaluation.workers import EnvSetup, Workers
from l1flow_agents.parallel import in_order_by

Scored = tuple[EpisodeResult, list[str]]
"""An episode, and the keys of its last info where it did not tell success."""


def run_on_cluster(
    agent: L1FlowAgent,
    setup: EnvSetup,
    episodes: list[EpisodeResult],
    chunked: bool,
    timeout: float,
    cluster: str,
    bar: tqdm,
) -> list[str]:
    """Fill in ``episodes``, on CPUs; returns the keys of the last info that did not tell success."""
    worker = partial(scorer, agent.with_settings(device="cpu"), setup, chunked, timeout)
    info_keys: list[str] = []
    with closing(in_order_by(worker, list(episodes), 1, cluster)) as scored:
        for k, (episode, keys) in enumerate(scored):
            episodes[k], info_keys = episode, keys or info_keys
            show_progress(bar, [one.success for one in episodes if one.success is not None])
    return info_keys


@contextmanager
def scorer(
    agent: L1FlowAgent, setup: EnvSetup, chunked: bool, timeout: float
) -> Iterator[Callable[[EpisodeResult], Scored]]:
    """Scores episodes in one environment, whose process is another: should it die, that is its episode's result."""
    with Workers() as workers:

        def score(episode: EpisodeResult) -> Scored:
            rollouts = Rollouts(agent, setup, workers, [episode], 1, 1, chunked, None, timeout, tqdm(disable=True))
            rollouts.run()
            return episode, rollouts.info_keys

        yield score
