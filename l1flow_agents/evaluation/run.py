"""Evaluation in simulation: the same episodes, starts and noise, however many processes share the work."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import gymnasium as gym
import torch
from gymnasium.envs.registration import EnvSpec
from tqdm import tqdm

from l1flow_agents import zoo
from l1flow_agents.agent import L1FlowAgent
from l1flow_agents.checks import read_as
from l1flow_agents.data.normalizer import is_image
from l1flow_agents.device import threads
from l1flow_agents.env_description import EnvDescription
from l1flow_agents.env_maker import EnvMaker, maker_of
from l1flow_agents.envs import find_spec, is_ours, plain_id
from l1flow_agents.envs.arguments import checked_env_kwargs
from l1flow_agents.errors import ConfigError
from l1flow_agents.evaluation.cluster import run_on_cluster
from l1flow_agents.evaluation.result import EpisodeResult, EvaluationResult
from l1flow_agents.evaluation.rollouts import Rollouts
from l1flow_agents.evaluation.workers import EnvSetup, Workers
from l1flow_agents.kinds import Count, Positive, Text, Whole
from l1flow_agents.names import plain, shown
from l1flow_agents.seeds import TEST_SEED
from l1flow_agents.spawning import portable
from l1flow_agents.video import VideoRecorder

SHARERS = 3  # environments of a process that can be shared: enough for batches of three or four plans
HERE = "evaluate"  # what messages about its arguments begin with


def evaluate(
    agent: L1FlowAgent,
    env_id: str | EnvSpec | None = None,
    n_episodes: int = 50,
    seed: int = TEST_SEED,
    n_envs: int | None = None,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    success_key: str = "is_success",
    chunked: bool = True,
    video: VideoRecorder | None = None,
    progress_bar: bool = False,
    timeout: float = 300,
    workers: Workers | None = None,
    cluster: str | None = None,
) -> EvaluationResult:
    """Run ``n_episodes`` episodes; episode k starts from ``reset(seed=seed + k)`` and draws the noise of that seed.

    Environments live in other processes that execute whole chunks; the policy plans here, in one batch for all
    environments that wait. A script needs no ``__main__`` guard for this. An episode does not depend on ``n_envs``, but
    for float round-off: matrix products round differently for other batch sizes (see docs/evaluation.md for how much).

    Args:
        env_id: the agent's own environment by default, with its step limit and wrappers; another id, or the spec of
            an environment that you made (``env.spec``).
        n_envs: environments at a time, each in a process of its own. This library's own, seen without pictures, share
            processes, at most one a core. By default one a core, or three of those that share.
        env_kwargs: of `gymnasium.make`, laid over the agent's, where it is the agent's environment, or the spec's.
        success_key: the entry of ``info`` that tells success, at any step. Where no info has it, success is not told.
        chunked: False plans anew at every step from the newest observation alone, as
            ``action, _ = agent.predict(observation)`` does.
        video: records chosen episodes on the way.
        timeout: seconds that a worker may take to answer before its episode is given up.
        workers: processes to use again, which stay for the next call; by default they start here and end here.
        cluster: address of a Ray cluster whose cores score an episode each, as one machine does with ``n_envs=1``, in
            place of ``n_envs`` and ``workers`` and without ``video``; ``auto`` finds a running one.

    Raises:
        ConfigError, gymnasium.error.Error: a bad argument, an unknown environment id, or an environment that cannot
            be made again from what is known of it.
        CheckpointError: the environment's spaces are not the agent's.
        WorkerError: the environment cannot be built.
    """
    if not isinstance(agent, L1FlowAgent):
        raise ConfigError(
            f"{HERE}: agent must be an agent, such as L1FlowAgent.load('pusht-state'), got {shown(agent)}"
        )
    n_episodes, seed = read_as(Count, n_episodes, HERE, "n_episodes"), read_as(Whole, seed, HERE, "seed")
    n_envs, timeout = read_as(Count | None, n_envs, HERE, "n_envs"), read_as(Positive, timeout, HERE, "timeout")
    success_key = read_as(Text, success_key, HERE, "success_key")
    env_kwargs = read_as(Mapping[str, Any] | None, env_kwargs, HERE, "env_kwargs")
    if not isinstance(workers, Workers | None):
        raise ConfigError(f"{HERE}: workers must be a Workers(), got {shown(workers)}; n_envs says how many")
    if cluster is not None and (n_envs or video or workers):
        raise ConfigError(
            f"{HERE}: a cluster has cores of its own and films nothing: expected no n_envs, workers, video"
        )
    make, kwargs = _maker(agent, env_id, env_kwargs)
    filming = bool(video and video.episodes)
    n_envs, n_processes = _spread(n_envs, n_episodes, shared=_can_share(make, agent) and not filming)
    started = time.perf_counter()
    drawn = {"render_mode": "rgb_array"} if filming else {}
    setup = EnvSetup(make, {**kwargs, **drawn}, agent.n_obs_steps, bool(video and video.overlay), success_key)
    episodes = [EpisodeResult(index=k, seed=seed + k) for k in range(n_episodes)]
    with (  # a thread of torch's that finds no free core makes every plan wait for it
        threads(min(torch.get_num_threads(), max(_n_cores() - n_processes, 1))),
        tqdm(total=n_episodes, unit="episode", disable=not progress_bar) as bar,
        Workers() if workers is None else nullcontext(workers) as kept,
    ):
        if cluster is not None:
            info_keys = run_on_cluster(agent, setup, episodes, chunked, timeout, cluster, bar)
            n_envs, timing = 1, None
        else:
            rollouts = Rollouts(agent, setup, kept, episodes, n_envs, n_processes, chunked, video, timeout, bar)
            timing, info_keys = rollouts.run(), rollouts.info_keys
    return EvaluationResult(
        env_id=env_id if isinstance(env_id, str) else plain_id(make.spec),
        env_kwargs={**make.spec.kwargs, **kwargs},
        n_action_steps=agent.n_action_steps if chunked else 1,
        episodes=episodes,
        n_envs=n_envs,
        seconds=time.perf_counter() - started,
        videos=[str(path) for path in video.paths] if video else [],
        success_key=success_key,
        info_keys=info_keys,
        max_episode_steps=make.spec.max_episode_steps,
        wrappers=[wrapper.__name__ for wrapper, _ in make.wrappers],
        timing=timing,
    )


def _can_share(make: EnvMaker, agent: L1FlowAgent) -> bool:
    """Whether several environments may live in one process: ours, which have nothing in common, seen without pictures.

    Those of others may have anything in common, such as `numpy.random`; an OpenGL context takes as much as a process.
    """
    return is_ours(make.spec) and not make.wrappers and not any(map(is_image, agent.spaces_by_key.values()))


def _n_cores() -> int:
    return os.cpu_count() or 1


def _spread(n_envs: int | None, n_episodes: int, shared: bool) -> tuple[int, int]:
    """Environments and processes. In a shared one, one steps while others wait for plans, which come in batches."""
    n_envs = min(n_envs or _n_cores() * (SHARERS if shared else 1), n_episodes)
    return n_envs, min(n_envs, _n_cores()) if shared else n_envs


def _maker(
    agent: L1FlowAgent, env_id: str | EnvSpec | None, env_kwargs: Mapping[str, Any] | None
) -> tuple[EnvMaker, dict[str, Any]]:
    """What makes the environment, and the arguments to call it with."""
    own, given = agent.provenance.env, dict(env_kwargs or {})
    if isinstance(env_id, EnvSpec):
        make = maker_of(env_id)
    elif not isinstance(env_id, str | None):
        hint = "; give it as env.spec" if isinstance(env_id, gym.Env) else ""
        raise ConfigError(f"{HERE}: env_id must be an id or the spec of an environment, got {shown(env_id)}{hint}")
    elif env_id is None and own is None:
        raise ConfigError("the agent does not know its environment; expected env_id")
    else:
        # an unknown id fails here, with Gymnasium's suggestion
        described = own if own and (env_id is None or own.is_of(find_spec(env_id))) else EnvDescription(str(env_id))
        make = described.maker()
        checked_env_kwargs(make.spec, {**plain(described.kwargs), **given}, described.id)
    given = checked_env_kwargs(make.spec, given, plain_id(make.spec))
    return replace(make, spec=portable(make.spec)), given


def default_agent(env_id: str) -> str:
    """The name of the agent that `rollout` takes for an environment: a published one, or one that you can train.

    Raises:
        gymnasium.error.Error: no such environment. ConfigError: no agent for it, nor a configuration.
    """
    spec = find_spec(env_id)
    names = zoo.names_for(plain_id(spec)) if is_ours(spec) else []
    if not names:
        raise ConfigError(
            f"no agent is published for {env_id}, and no configuration of the package trains one; give an agent, "
            f"published are {zoo.names()}"
        )
    return names[0]
