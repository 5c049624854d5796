"""Which environment of which worker runs which episode, and when plans are made."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from l1flow_agents.agent import L1FlowAgent
from l1flow_agents.errors import ConfigError, WorkerError
from l1flow_agents.evaluation.result import EpisodeResult, Timing
from l1flow_agents.evaluation.runner import Segment
from l1flow_agents.evaluation.workers import EnvSetup, Hello, Worker, WorkerFailure, Workers, ready
from l1flow_agents.spaces import check_same_spaces
from l1flow_agents.spawning import packed
from l1flow_agents.video import VideoRecorder


@dataclass(eq=False)
class _Slot:
    """One environment of a worker, and the episode that it runs."""

    worker: Worker
    number: int
    episode: EpisodeResult | None = None
    plans_made: int = 0
    history: dict[str, np.ndarray] | None = None  # for its next plan, where it waits for one


class Rollouts:
    """Runs ``episodes``, which it fills in, in ``n_envs`` environments of ``n_processes`` workers.

    Plans are made for all that wait in one batch, when a worker has run out of them: until then every core is stepping.
    """

    def __init__(
        self,
        agent: L1FlowAgent,
        setup: EnvSetup,
        workers: Workers,
        episodes: list[EpisodeResult],
        n_envs: int,
        n_processes: int,
        chunked: bool,
        video: VideoRecorder | None,
        timeout: float,
        bar: tqdm,
    ) -> None:
        self.agent, self.setup, self.workers, self.episodes = agent, setup, workers, episodes
        self.n_envs, self.n_processes = n_envs, n_processes
        self.chunked, self.video, self.timeout, self.bar = chunked, video, timeout, bar
        self.waiting = deque(episodes)
        self.running: dict[Worker, list[_Slot]] = {}
        self.env_id = setup.make.spec.id
        self.setup_data = packed(setup, f"environment {self.env_id}")
        self.seconds = dict.fromkeys(("start", "stepping", "planning"), 0.0)  # the first two of all workers together
        self.successes: list[bool] = []  # of finished episodes that told
        self.info_keys: list[str] = []  # where success was not told
        self.fps = 20.0

    def run(self) -> Timing:
        began = time.perf_counter()
        try:
            for k in range(self.n_processes):
                self._hire(len(range(k, self.n_envs, self.n_processes)))
            while self.running:
                for worker in ready([worker for worker in self.running if worker.asked]):
                    self._take(worker, worker.receive())
                if any(not worker.asked for worker in self.running):
                    self._plan()
            if self.video:
                self.video.close(self.fps)
        finally:
            for worker in self.running:
                worker.stop()
        start, stepping = (self.seconds[part] / self.n_processes for part in ("start", "stepping"))
        waiting = max(time.perf_counter() - began - start - stepping, 0)
        return Timing(self.n_processes, start, stepping, waiting, self.seconds["planning"])

    def _hire(self, n_slots: int) -> None:
        worker = self.workers.take(self.setup_data, self.timeout)
        self.running[worker] = [_Slot(worker, number) for number in range(n_slots)]
        if worker.hello:
            self._greet(worker, worker.hello)

    def _take(self, worker: Worker, answer: Hello | Segment | WorkerFailure) -> None:
        """Book an answer, and give its environment an episode where it has none."""
        if isinstance(answer, WorkerFailure):
            self._replace(worker, answer)
            return
        number = worker.asked.popleft()
        if isinstance(answer, Hello):
            worker.hello = answer
            self.seconds["start"] += time.perf_counter() - worker.started
            self._greet(worker, answer)
            return
        self.seconds["stepping" if number in worker.built else "start"] += answer.seconds
        worker.built.add(number)
        slot = self.running[worker][number]
        episode = slot.episode
        assert episode is not None
        episode.add(answer.rewards, answer.success)
        if self.video and answer.frames:
            self.video.add(episode.index, answer.frames)
        if not answer.ended:
            slot.history = answer.history
            return
        if self.video:
            self.video.end(episode.index, episode.seed, episode.success, self.fps)
        if episode.success is None:
            self.info_keys = answer.info_keys
        else:
            self.successes.append(episode.success)
        show_progress(self.bar, self.successes)
        self._next_episodes(worker, [slot])

    def _greet(self, worker: Worker, hello: Hello) -> None:
        offered = (hello.observation_space, hello.action_space)
        check_same_spaces(Path(self.env_id), self.agent.spaces_by_key, self.agent.action_space, offered)
        if self.setup.overlay and not hello.can_overlay:
            raise ConfigError(f"{self.env_id} has no action_to_pixel, so a plan cannot be drawn; expected no overlay")
        self.fps = hello.fps
        self._next_episodes(worker, self.running[worker])

    def _next_episodes(self, worker: Worker, free: list[_Slot]) -> None:
        """Begin those that wait; a worker that has none left is done."""
        for slot in free:
            slot.episode, slot.plans_made = self.waiting.popleft() if self.waiting else None, 0
            if slot.episode is not None:
                film = bool(self.video and slot.episode.index in self.video.episodes)
                worker.ask(slot.number, "reset", slot.episode.seed, film)
        if not any(slot.episode for slot in self.running[worker]):
            del self.running[worker]
            self.workers.keep(worker)

    def _plan(self) -> None:
        """One batch for all environments that wait, each with its own noise, and off they go."""
        began = time.perf_counter()
        planning = [
            (slot, slot.episode, slot.history)
            for slots in self.running.values()
            for slot in slots
            if slot.episode is not None and slot.history is not None
        ]
        seeds = np.array([episode.seed for _, episode, _ in planning])
        plans = np.array([slot.plans_made for slot, _, _ in planning])
        histories = {
            key: np.stack([history[key] for _, _, history in planning]).astype(box.dtype, copy=False)
            for key, box in self.agent.spaces_by_key.items()
        }
        if not self.chunked:
            histories = {key: np.repeat(past[:, -1:], past.shape[1], axis=1) for key, past in histories.items()}
        chunks = self.agent.plan(histories, self.agent.noise(seeds, plans))
        n_executed = self.agent.n_action_steps if self.chunked else 1
        for (slot, _, _), chunk in zip(planning, chunks, strict=True):
            slot.plans_made += 1
            slot.history = None
            executed = chunk[:n_executed].astype(self.agent.action_space.dtype, copy=False)
            slot.worker.ask(slot.number, "run", executed, chunk)
        self.seconds["planning"] += time.perf_counter() - began

    def _replace(self, worker: Worker, failure: WorkerFailure) -> None:
        """The worker is lost, and with it the episode that it was at; its others begin again elsewhere."""
        slots = self.running.pop(worker)
        worker.stop()
        if worker.hello is None:
            error = WorkerError(f"{self.env_id} could not be built: {' '.join(failure.reason.split())}")
            error.add_note(failure.details)  # the worker's traceback
            raise error
        if failure.of_all:
            raise WorkerError(f"{self.env_id}: {failure.reason}")
        for slot in slots:
            if slot.episode is not None and slot.number != worker.asked[0]:
                again = EpisodeResult(slot.episode.index, slot.episode.seed)
                self.episodes[again.index] = again
                self.waiting.appendleft(again)
            elif slot.episode is not None:
                slot.episode.error = failure.reason
                show_progress(self.bar, self.successes)
        if self.waiting:
            self._hire(len(slots))


def show_progress(bar: tqdm, successes: list[bool]) -> None:
    """One more episode; ``successes`` are those of all that told it."""
    if successes:
        bar.set_postfix(success=f"{np.mean(successes):.2f}", refresh=False)
    bar.update()
