"""Evaluation in simulation: the same episodes, starts and noise, however many processes share the work."""

from __future__ import annotations

import os
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from l1flow_agents import zoo
from l1flow_agents.agent import L1FlowAgent
from l1flow_agents.envs import find_spec
from l1flow_agents.errors import ConfigError, WorkerError
from l1flow_agents.evaluation.result import EpisodeResult, EvaluationResult
from l1flow_agents.evaluation.workers import EnvSetup, Hello, Segment, Worker, WorkerFailure, ready
from l1flow_agents.seeds import TEST_SEED
from l1flow_agents.spaces import check_same_spaces
from l1flow_agents.video import VideoRecorder


def evaluate(
    agent: L1FlowAgent,
    env_id: str | None = None,
    n_episodes: int = 50,
    seed: int = TEST_SEED,
    n_envs: int | None = None,
    *,
    env_kwargs: dict[str, Any] | None = None,
    chunked: bool = True,
    video: VideoRecorder | None = None,
    progress_bar: bool = False,
    timeout: float = 300,
) -> EvaluationResult:
    """Run ``n_episodes`` episodes; episode k starts from ``reset(seed=seed + k)`` and draws the noise of that seed.

    Environments live in spawned processes that execute whole chunks; the policy plans here, in one batch for all
    environments that wait. An episode does not depend on ``n_envs``, but for float round-off: matrix products
    round differently for other batch sizes (see docs/evaluation.md for how much).

    Args:
        env_id: the agent's own environment by default.
        n_envs: processes, by default one a core.
        env_kwargs: of `gymnasium.make`; by default the agent's, if the environment is its own.
        chunked: False plans anew at every step from the newest observation alone, as
            ``action, _ = agent.predict(observation)`` does.
        video: records chosen episodes on the way.
        timeout: seconds that a worker may take to answer before its episode is given up.

    Raises:
        ConfigError, gymnasium.error.Error: a bad argument or an unknown environment id.
        CheckpointError: the environment's spaces are not the agent's.
        WorkerError: the environment cannot be built.
    """
    env_id = env_id or agent.env_id
    if env_id is None:
        raise ConfigError("the agent does not know its environment; expected env_id")
    if n_episodes < 1 or seed < 0 or (n_envs is not None and n_envs < 1):
        raise ConfigError(f"expected n_episodes >= 1, seed >= 0 and n_envs >= 1, got {n_episodes}, {seed} and {n_envs}")
    own = find_spec(env_id).id == agent.env_id  # an unknown id fails here, with Gymnasium's suggestion
    if env_kwargs is None:
        env_kwargs = agent.env_kwargs if own else {}
    n_envs = min(n_envs or os.cpu_count() or 1, n_episodes)
    started = time.perf_counter()
    filming = {"render_mode": "rgb_array"} if video and video.episodes else {}
    setup = EnvSetup(env_id, {**env_kwargs, **filming}, agent.n_obs_steps, bool(video and video.overlay))
    episodes = [EpisodeResult(index=k, seed=seed + k) for k in range(n_episodes)]
    with tqdm(total=n_episodes, unit="episode", disable=not progress_bar) as bar:
        _Evaluation(agent, setup, episodes, n_envs, chunked, video, timeout, bar).run()
    return EvaluationResult(
        env_id=env_id,
        env_kwargs=env_kwargs,
        n_action_steps=agent.n_action_steps if chunked else 1,
        episodes=episodes,
        n_envs=n_envs,
        seconds=time.perf_counter() - started,
        videos=[str(path) for path in video.paths] if video else [],
    )


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
        self.successes: list[bool] = []  # of finished episodes
        self.fps = 20.0

    def run(self) -> None:
        try:
            for _ in range(self.n_envs):
                self.running[Worker(self.setup, self.timeout)] = None
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
        self.successes.append(episode.success)
        self._show_progress()
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
        check_same_spaces(Path(self.setup.env_id), self.agent.spaces_by_key, self.agent.action_space, offered)
        if self.setup.overlay and not hello.can_overlay:
            raise ConfigError(
                f"{self.setup.env_id} has no action_to_pixel, so a plan cannot be drawn; expected no overlay"
            )
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
            raise WorkerError(f"{self.setup.env_id} could not be built: {failure.reason}\n{failure.details}".strip())
        episode.error = failure.reason
        self._show_progress()
        if self.waiting:
            self.running[Worker(self.setup, self.timeout)] = None

    def _show_progress(self) -> None:
        if self.successes:
            self.bar.set_postfix(success=f"{np.mean(self.successes):.2f}", refresh=False)
        self.bar.update()


def default_agent(env_id: str) -> str:
    """The name of the published agent that `rollout` takes for an environment.

    Raises:
        gymnasium.error.Error: no such environment. ConfigError: no agent for it.
    """
    names = zoo.names_for(find_spec(env_id).id)
    if not names:
        raise ConfigError(f"no published agent is for {env_id}; give one, published are {zoo.names()}")
    return names[0]
