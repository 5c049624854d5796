"""Evaluation in simulation: the same episodes, starts and noise, however many processes share the work."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from tqdm import tqdm

from l1flow_agents import zoo
from l1flow_agents.agent import L1FlowAgent
from l1flow_agents.checks import read_as
from l1flow_agents.env_description import EnvDescription
from l1flow_agents.env_maker import EnvMaker, maker_of
from l1flow_agents.envs import find_spec, is_ours, plain_id
from l1flow_agents.envs.arguments import checked_env_kwargs
from l1flow_agents.errors import ConfigError, WorkerError
from l1flow_agents.evaluation.result import EpisodeResult, EvaluationResult
from l1flow_agents.evaluation.workers import EnvSetup, Hello, Segment, Worker, WorkerFailure, ready
from l1flow_agents.kinds import Count, Positive, Text, Whole
from l1flow_agents.names import plain, shown
from l1flow_agents.parallel import in_order
from l1flow_agents.seeds import TEST_SEED
from l1flow_agents.spaces import check_same_spaces
from l1flow_agents.spawning import packed, portable
from l1flow_agents.video import VideoRecorder

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
    cluster: str | None = None,
) -> EvaluationResult:
    """Run ``n_episodes`` episodes; episode k starts from ``reset(seed=seed + k)`` and draws the noise of that seed.

    Environments live in processes of their own that execute whole chunks; the policy plans here, in one batch for all
    environments that wait. A script needs no ``__main__`` guard for this. An episode does not depend on ``n_envs``, but
    for float round-off: matrix products round differently for other batch sizes (see docs/evaluation.md for how much).

    Args:
        env_id: the agent's own environment by default, with its step limit and wrappers; another id, or the spec of
            an environment that you made (``env.spec``).
        n_envs: processes, by default one a core.
        env_kwargs: of `gymnasium.make`, laid over the agent's, where it is the agent's environment, or the spec's.
        success_key: the entry of ``info`` that tells success, at any step. Where no info has it, success is not told.
        chunked: False plans anew at every step from the newest observation alone, as
            ``action, _ = agent.predict(observation)`` does.
        video: records chosen episodes on the way.
        timeout: seconds that a worker may take to answer before its episode is given up.
        cluster: address of a Ray cluster whose cores score an episode each, as one machine does with ``n_envs=1``, in
            place of ``n_envs`` and without ``video``; ``auto`` finds a running one.

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
    make, kwargs = _maker(agent, env_id, env_kwargs)
    if cluster is not None and (n_envs or video):
        raise ConfigError(f"{HERE}: a cluster films nothing and has its own cores: expected neither video nor n_envs")
    n_envs = 1 if cluster is not None else min(n_envs or os.cpu_count() or 1, n_episodes)
    started = time.perf_counter()
    filming = {"render_mode": "rgb_array"} if video and video.episodes else {}
    setup = EnvSetup(make, {**kwargs, **filming}, agent.n_obs_steps, bool(video and video.overlay), success_key)
    episodes = [EpisodeResult(index=k, seed=seed + k) for k in range(n_episodes)]
    with tqdm(total=n_episodes, unit="episode", disable=not progress_bar) as bar:
        if cluster is None:
            info_keys = _Evaluation(agent, setup, episodes, n_envs, chunked, video, timeout, bar).run()
        else:
            score = partial(_score_one, agent.with_settings(device="cpu"), setup, chunked, timeout)
            info_keys = _collect(in_order(score, list(episodes), 1, cluster), episodes, bar)
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
    )


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


def _score_one(
    agent: L1FlowAgent, setup: EnvSetup, chunked: bool, timeout: float, episode: EpisodeResult
) -> tuple[EpisodeResult, list[str]]:
    """One episode on its own, and the keys of its info if it told no success."""
    return episode, _Evaluation(agent, setup, [episode], 1, chunked, None, timeout, tqdm(disable=True)).run()


def _collect(scored: Iterable[tuple[EpisodeResult, list[str]]], episodes: list[EpisodeResult], bar: tqdm) -> list[str]:
    """Put what was scored elsewhere into ``episodes``, in their order."""
    info_keys: list[str] = []
    for episode, keys in scored:
        episodes[episode.index] = episode
        info_keys = keys or info_keys
        _show_progress(bar, [one.success for one in episodes if one.success is not None])
    return info_keys


def _show_progress(bar: tqdm, successes: list[bool]) -> None:
    if successes:
        bar.set_postfix(success=f"{np.mean(successes):.2f}", refresh=False)
    bar.update()


class _Evaluation:
    """The state of one `evaluate` call: which worker runs which episode."""

    def __init__(
        self,
        agent: L1FlowAgent,
        setup: EnvSetup,
        episodes: list[EpisodeResult],
        n_envs: int,
        chunked: bool,
        video: VideoRecorder | None,
        timeout: float,
        bar: tqdm,
    ) -> None:
        self.agent, self.setup, self.episodes, self.n_envs = agent, setup, episodes, n_envs
        self.chunked, self.video, self.timeout, self.bar = chunked, video, timeout, bar
        self.waiting = deque(episodes)
        self.running: dict[Worker, EpisodeResult | None] = {}  # None: still starting
        self.plans_made: dict[int, int] = {}
        self.env_id = setup.make.spec.id
        self.setup_data = packed(setup, f"environment {self.env_id}")
        self.successes: list[bool] = []  # of finished episodes that told
        self.info_keys: list[str] = []  # where success was not told
        self.fps = 20.0

    def run(self) -> list[str]:
        """Do it; the keys of the last info that did not tell success."""
        try:
            for _ in range(self.n_envs):
                self.running[Worker(self.setup_data, self.timeout)] = None
            while self.running:
                due = [(worker, worker.receive()) for worker in ready(list(self.running))]
                planning = [(worker, answer) for worker, answer in due if self._take(worker, answer)]
                if planning:
                    self._plan(planning)
            if self.video:
                self.video.close(self.fps)
        finally:
            for worker in self.running:
                worker.stop()
        return self.info_keys

    def _take(self, worker: Worker, answer: Hello | Segment | WorkerFailure) -> bool:
        """Book an answer; True if the worker's episode needs a plan."""
        episode = self.running[worker]
        if isinstance(answer, WorkerFailure):
            self._replace(worker, episode, answer)
            return False
        if isinstance(answer, Hello):
            self._greet(answer)
            self._next_episode(worker)
            return False
        assert episode is not None
        episode.add(answer.rewards, answer.success)
        if self.video and answer.frames:
            self.video.add(episode.index, answer.frames)
        if not answer.ended:
            return True
        if self.video:
            self.video.end(episode.index, episode.seed, episode.success, self.fps)
        if episode.success is None:
            self.info_keys = answer.info_keys
        else:
            self.successes.append(episode.success)
        _show_progress(self.bar, self.successes)
        self._next_episode(worker)
        return False

    def _plan(self, planning: list[tuple[Worker, Segment]]) -> None:
        """One batch for all workers that wait, each with its own noise, and off they go."""
        episodes = [self.running[worker] for worker, _ in planning]
        seeds = np.array([episode.seed for episode in episodes if episode])
        plans = np.array([self.plans_made[seed] for seed in seeds.tolist()])
        histories = {
            key: np.stack([segment.history[key] for _, segment in planning]).astype(box.dtype, copy=False)
            for key, box in self.agent.spaces_by_key.items()
        }
        if not self.chunked:
            histories = {key: np.repeat(past[:, -1:], past.shape[1], axis=1) for key, past in histories.items()}
        chunks = self.agent.plan(histories, self.agent.noise(seeds, plans))
        n_executed = self.agent.n_action_steps if self.chunked else 1
        for (worker, _), seed, chunk in zip(planning, seeds.tolist(), chunks, strict=True):
            self.plans_made[seed] += 1
            worker.send("run", chunk[:n_executed].astype(self.agent.action_space.dtype, copy=False), chunk)

    def _greet(self, hello: Hello) -> None:
        offered = (hello.observation_space, hello.action_space)
        check_same_spaces(Path(self.env_id), self.agent.spaces_by_key, self.agent.action_space, offered)
        if self.setup.overlay and not hello.can_overlay:
            raise ConfigError(f"{self.env_id} has no action_to_pixel, so a plan cannot be drawn; expected no overlay")
        self.fps = hello.fps

    def _next_episode(self, worker: Worker) -> None:
        if not self.waiting:
            del self.running[worker]
            worker.finish()
            return
        episode = self.waiting.popleft()
        self.running[worker] = episode
        self.plans_made[episode.seed] = 0
        worker.send("reset", episode.seed, bool(self.video and episode.index in self.video.episodes))

    def _replace(self, worker: Worker, episode: EpisodeResult | None, failure: WorkerFailure) -> None:
        """The worker is lost, and its episode with it; the others go on."""
        del self.running[worker]
        worker.stop()
        if episode is None:
            error = WorkerError(f"{self.env_id} could not be built: {' '.join(failure.reason.split())}")
            error.add_note(failure.details)  # the worker's traceback
            raise error
        if failure.of_all:
            raise WorkerError(f"{self.env_id}: {failure.reason}")
        episode.error = failure.reason
        _show_progress(self.bar, self.successes)
        if self.waiting:
            self.running[Worker(self.setup_data, self.timeout)] = None


def default_agent(env_id: str) -> str:
    """The name of the published agent that `rollout` takes for an environment.

    Raises:
        gymnasium.error.Error: no such environment. ConfigError: no agent for it.
    """
    spec = find_spec(env_id)
    names = zoo.names_for(plain_id(spec)) if is_ours(spec) else []
    if not names:
        raise ConfigError(f"no published agent is for {env_id}; give one, published are {zoo.names()}")
    return names[0]
