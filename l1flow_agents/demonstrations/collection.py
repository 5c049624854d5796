"""Demonstrations of the waypoint experts, as a robomimic file. Nothing here imports torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from functools import cache, partial
from inspect import signature
from itertools import count
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator
from tqdm import tqdm

from l1flow_agents.data.robomimic_writer import RobomimicWriter
from l1flow_agents.envs import find_spec
from l1flow_agents.envs.experts import make_expert
from l1flow_agents.errors import ConfigError, DatasetError
from l1flow_agents.parallel import in_order
from l1flow_agents.seeds import COLLECTION_SEED
from l1flow_agents.wrappers import RecordRollouts

GYM_TYPE = 2  # robomimic's number for an environment of Gymnasium
HOPELESS = 50  # episodes without any success before a collection gives up


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
) -> Collected:
    """Let the expert of ``env_id`` act until ``output`` holds ``n_demos`` successful episodes.

    Episode k starts from ``seed + k``; failures are left out, and each demonstration has its seed as an attribute. So
    the file does not depend on ``n_workers``, nor on interruptions: run again, it continues after the last seed kept.

    Raises:
        ConfigError: no such environment or expert. WorkerError: a process died.
        DatasetError: ``output`` is damaged or was collected otherwise, or none of 50 episodes succeeded.
    """
    check_wanted(n_demos, n_workers, seed)
    make_expert(find_spec(env_id).id, np.random.default_rng(0))  # before anything is built: is there one?
    with RobomimicWriter(output, described(env_id)) as writer:
        return fill(
            writer, partial(run_expert, env_id), n_demos, n_workers, seed, progress_bar, f"{env_id}: the expert"
        )


def check_wanted(n_demos: int, n_workers: int, seed: int) -> None:
    if n_demos < 1 or n_workers < 1 or seed < 0:
        raise ConfigError(f"expected n_demos >= 1, n_workers >= 1 and seed >= 0, got {n_demos}, {n_workers} and {seed}")


def fill(
    writer: RobomimicWriter,
    run: Callable[[int], dict[str, Any] | None],
    n_demos: int,
    n_workers: int,
    seed: int,
    progress_bar: bool,
    who: str,
) -> Collected:
    """Append ``run(seed)``, ``run(seed + 1)`` and so on, where they are not None, until there are ``n_demos``.

    Continues after the last seed that ``writer`` has. ``who`` is blamed where nothing succeeds.
    """
    first = _next_seed(writer, seed)
    episodes = in_order(run, count(first), n_workers)
    with (
        closing(episodes),
        tqdm(total=n_demos, initial=min(len(writer), n_demos), unit="demo", disable=not progress_bar) as bar,
    ):
        for n_episodes in count(first - seed + 1):
            if len(writer) >= n_demos:
                break
            demo = next(episodes)
            if demo is not None:
                writer.append(**{**demo, "attributes": {**demo.get("attributes", {}), "seed": seed + n_episodes - 1}})
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


def run_expert(env_id: str, seed: int) -> dict[str, Any] | None:
    """The expert's episode from ``reset(seed=seed)``, as arguments of `RobomimicWriter.append`; None if it failed."""
    env, kept = recorder(env_id), Kept()
    env.writer = kept
    observation, _ = env.reset(seed=seed)
    rng = np.random.default_rng([seed, 1])  # a stream of its own, not the environment's
    expert = make_expert(find_spec(env_id).id, rng)
    ended = False
    while not ended:
        observation, _, terminated, truncated, _ = env.step(expert.act(observation))
        ended = terminated or truncated
    return kept.demo


class Kept:
    """The one demonstration of an episode, if it was kept."""

    demo: dict[str, Any] | None = None

    def append(self, **demo: Any) -> None:
        self.demo = demo


@cache
def recorder(env_id: str) -> RecordRollouts:
    """One environment a process: building a simulator takes longer than an episode."""
    return RecordRollouts(gym.make(env_id, **state_kwargs(env_id)), Kept(), keep="success")


def described(env_id: str) -> dict[str, Any]:
    """robomimic's ``env_args``: the environment's own where it knows them, or how Gymnasium makes it."""
    env: Any = recorder(env_id).unwrapped
    if hasattr(env, "env_args"):
        return env.env_args()
    return {"env_name": env_id, "type": GYM_TYPE, "env_kwargs": state_kwargs(env_id)}


def state_kwargs(env_id: str) -> dict[str, Any]:
    """``obs_type="state"`` for environments that have the choice."""
    creator: Any = find_spec(env_id).entry_point
    creator = load_env_creator(creator) if isinstance(creator, str) else creator
    return {"obs_type": "state"} if creator and "obs_type" in signature(creator).parameters else {}
