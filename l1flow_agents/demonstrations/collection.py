"""Demonstrations of the waypoint experts, as a robomimic file. Nothing here imports torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from tqdm import tqdm

from l1flow_agents.data.robomimic_writer import RobomimicWriter
from l1flow_agents.demonstration import Demonstration
from l1flow_agents.demonstrations.recording import env_args_of, make_env, record_episode
from l1flow_agents.envs import find_spec
from l1flow_agents.envs.experts import make_expert
from l1flow_agents.errors import ConfigError, DatasetError
from l1flow_agents.parallel import Worker, in_order_by
from l1flow_agents.seeds import COLLECTION_SEED

UNLIMITED = 500  # steps taken for an episode's where it has no limit
HOPELESS = 50  # episodes without any success before a collection gives up

TAKEN_OVER = 0.4  # of an episode's step limit: the expert takes over from an agent before that

Run = Callable[[int], Demonstration | None]
"""The episode that starts from a seed; None if it failed."""

Policy = Callable[[Any], np.ndarray]
"""The action for an observation."""

Novice = Callable[[gym.Env], Callable[[int], Policy]]
"""Called with the environment, once a process: gives what acts in the episode of a seed."""


class Collected(NamedTuple):
    """What a file holds, and how many episodes that took."""

    n_demos: int
    n_episodes: int

    @property
    def success_rate(self) -> float:
        return self.n_demos / self.n_episodes

    def __str__(self) -> str:
        return f"{self.success_rate:.2f} ({self.n_demos} of {self.n_episodes} episodes)"


def collect(
    env_id: str,
    n_demos: int,
    output: str | os.PathLike,
    n_workers: int = 1,
    seed: int = COLLECTION_SEED,
    progress_bar: bool = False,
    cluster: str | None = None,
    novice: Novice | None = None,
    extras: Sequence[str] = (),
) -> Collected:
    """Let the expert of ``env_id`` act until ``output`` holds ``n_demos`` successful episodes.

    Episode k starts from ``seed + k``; failures are left out, and each demonstration has its seed as an attribute. So
    the file does not depend on who works, nor on interruptions: run again, it continues after the last seed kept.

    Args:
        n_workers, cluster: processes here, or the address of a Ray cluster, all of whose cores work (`in_order`).
        novice: acts until a random step of every episode, then the expert takes over, and the demonstration is what
            follows: a correction, from states that an agent gets into and the expert alone does not (DAgger by
            takeover; Ross et al. 2011, Kelly et al. 2019). An episode that the novice solves before is left out.
        extras: what the environment's observation shows beyond the data sets'.

    Raises:
        ConfigError: no such environment, expert or cluster. WorkerError: a process died.
        DatasetError: ``output`` is damaged or was collected otherwise, or none of 50 episodes succeeded.
    """
    check_wanted(n_demos, n_workers, seed)
    make_expert(find_spec(env_id).id, np.random.default_rng(0))  # before anything is built: is there one?
    with closing(make_env(env_id, extras)) as env:
        described = env_args_of(env, env_id)
    with RobomimicWriter(output, described) as writer:
        run = partial(expert, env_id, novice, extras)
        return fill(writer, run, n_demos, n_workers, seed, progress_bar, f"{env_id}: the expert", cluster)


def check_wanted(n_demos: int, n_workers: int, seed: int) -> None:
    if n_demos < 1 or n_workers < 1 or seed < 0:
        raise ConfigError(f"expected n_demos >= 1, n_workers >= 1 and seed >= 0, got {n_demos}, {n_workers} and {seed}")


def fill(
    writer: RobomimicWriter,
    worker: Worker[int, Demonstration | None],
    n_demos: int,
    n_workers: int,
    seed: int,
    progress_bar: bool,
    who: str,
    cluster: str | None = None,
) -> Collected:
    """Append the episodes from ``seed``, ``seed + 1`` and so on that are not None until there are ``n_demos``.

    Continues after the last seed that ``writer`` has.

    Args:
        worker: yields what runs an episode.
        who: is blamed where nothing succeeds.
    """
    first = _next_seed(writer, seed)
    episodes = in_order_by(worker, count(first), n_workers, cluster)
    with (
        closing(episodes),
        tqdm(total=n_demos, initial=min(len(writer), n_demos), unit="demo", disable=not progress_bar) as bar,
    ):
        for n_episodes in count(first - seed + 1):
            if len(writer) >= n_demos:
                break
            demo = next(episodes)
            if demo is not None:
                writer.append(replace(demo, attributes={**demo.attributes, "seed": seed + n_episodes - 1}))
                bar.update()
            elif not len(writer) and n_episodes >= HOPELESS:
                raise DatasetError(f"{who} failed in all of {n_episodes} episodes")
            bar.set_postfix(success=f"{len(writer) / n_episodes:.2f}", refresh=False)
    return Collected(len(writer), _next_seed(writer, seed) - seed)


def _next_seed(writer: RobomimicWriter, first: int) -> int:
    """The seed after that of the last demonstration, ``first`` in an empty file."""
    if not len(writer):
        return first
    found = [writer.attributes(k).get("seed", -1) for k in (0, len(writer) - 1)]
    if int(found[0]) < first:
        raise DatasetError(f"{writer.path}: expected demonstrations collected from seed {first} on, found {found}")
    return int(found[1]) + 1


@contextmanager
def expert(env_id: str, novice: Novice | None = None, extras: Sequence[str] = ()) -> Iterator[Run]:
    """Runs the expert's episodes, in one environment: building a simulator takes longer than an episode."""
    with closing(make_env(env_id, extras)) as env:
        yield partial(run_expert, env, find_spec(env_id).id, novice(env) if novice else None)


def run_expert(env: gym.Env, env_id: str, acting: Callable[[int], Policy] | None, seed: int) -> Demonstration | None:
    """The expert's episode from ``reset(seed=seed)``; None if it failed."""
    expert = make_expert(env_id, np.random.default_rng([seed, 1]))  # a stream of its own, not the environment's
    if acting is None:
        return record_episode(env, expert.act, seed)
    n_steps = int(np.random.default_rng([seed, 2]).integers(1, max(2, int(TAKEN_OVER * step_limit(env_id)))))
    left, agent = count(-n_steps), acting(seed)
    demo = record_episode(env, lambda seen: agent(seen) if next(left) < 0 else expert.act(seen), seed)
    corrected = demo and demo.after(n_steps)
    return corrected and replace(corrected, attributes={**corrected.attributes, "taken_over": n_steps})


def step_limit(env_id: str) -> int:
    """Steps of an episode, for what depends on that."""
    return find_spec(env_id).max_episode_steps or UNLIMITED
