"""Environments in processes of their own, which run whole chunks of actions. Nothing here imports torch.

Processes are those of `spawning`. No environment is built in the parent.
"""

from __future__ import annotations

import time
import traceback
import weakref
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, Self

import gymnasium as gym
from gymnasium import spaces

from l1flow_agents.env_maker import EnvMaker
from l1flow_agents.errors import L1FlowError, WorkerError
from l1flow_agents.evaluation.runner import EpisodeRunner, Segment
from l1flow_agents.spawning import CONTEXT, serve_parent, unpacked


class EnvSetup(NamedTuple):
    """All that a worker needs to build its environments."""

    make: EnvMaker
    kwargs: dict[str, Any]
    """Of `make`."""
    n_obs_steps: int
    overlay: bool
    success_key: str

    def runner(self) -> EpisodeRunner:
        return EpisodeRunner(self.make(**self.kwargs), self.n_obs_steps, self.overlay, self.success_key)


class Hello(NamedTuple):
    """A worker's first message."""

    observation_space: spaces.Space
    action_space: spaces.Space
    fps: float
    can_overlay: bool


class WorkerFailure(NamedTuple):
    """Why a worker can not go on."""

    reason: str
    details: str = ""
    of_all: bool = False
    """No episode can do better."""


def work(pipe: Connection, data: bytes) -> None:
    """The life of a worker process: build, say hello, then answer until told to stop or the parent is gone.

    ``data`` is an `EnvSetup`, packed. Environments are numbered, and built when they are first asked for something; the
    first one at once.
    """
    serve_parent()
    try:
        setup: EnvSetup = unpacked(data)
        runners = {0: setup.runner()}
        env = runners[0].env
        fps, can_overlay = env.metadata.get("render_fps", 20), hasattr(env.unwrapped, "action_to_pixel")
        pipe.send(Hello(env.observation_space, env.action_space, fps, can_overlay))
        while (message := pipe.recv()) is not None:
            begin = time.perf_counter()
            number, name, *arguments = message
            if number not in runners:
                runners[number] = setup.runner()
            segment: Segment = getattr(runners[number], name)(*arguments)
            pipe.send(segment._replace(seconds=time.perf_counter() - begin))
        for runner in runners.values():
            runner.env.close()
    except (EOFError, BrokenPipeError):
        return
    except WorkerError as error:
        pipe.send(WorkerFailure(str(error), of_all=True))
    except Exception as error:
        clear = isinstance(error, L1FlowError | gym.error.Error)  # one line says it all
        pipe.send(WorkerFailure(f"{type(error).__name__}: {error}", "" if clear else traceback.format_exc()))


class Worker:
    """The parent's end of one worker process; ``data`` is an `EnvSetup`, packed.

    Attributes:
        asked: numbers of the environments that owe an answer, in the order of the answers; at first the hello.
        hello: None until it came.
        built: numbers of the environments that have answered before.
    """

    def __init__(self, data: bytes, timeout: float) -> None:
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=work, args=(theirs, data), daemon=True, name="l1flow environment")
        self.process.start()
        theirs.close()
        self.asked, self.built = deque([0]), set[int]()
        self.hello: Hello | None = None
        self.timeout = timeout
        self.started = time.perf_counter()
        self.deadline = time.monotonic() + timeout

    def ask(self, number: int, *message: Any) -> None:
        """Ask an environment for something; a dead worker is noticed at the next `receive`."""
        if not self.asked:
            self.deadline = time.monotonic() + self.timeout
        self.asked.append(number)
        with suppress(OSError):
            self.pipe.send((number, *message))

    def receive(self) -> Hello | Segment | WorkerFailure:
        """The answer of the environment ``asked[0]``. Call when `ready` says so."""
        if not self.pipe.poll():
            self.stop()
            return WorkerFailure(f"the worker gave no answer in {self.timeout:.0f} s and was stopped")
        try:
            answer: Hello | Segment | WorkerFailure = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(5)
            return WorkerFailure(f"the worker died (exit code {self.process.exitcode})")
        self.deadline = time.monotonic() + self.timeout
        return answer

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def ready(workers: list[Worker]) -> list[Worker]:
    """Those of ``workers`` that have an answer, have died or are overdue; waits until there is one."""
    while True:
        left = min(worker.deadline for worker in workers) - time.monotonic()
        answered = set(wait([worker.pipe for worker in workers], max(left, 0)))
        due = [worker for worker in workers if worker.pipe in answered or time.monotonic() > worker.deadline]
        if due:
            return due


class Workers:
    """The worker processes of `evaluate`, kept from one call to the next.

    A start takes seconds where the simulator is large. Kept are idle processes of one environment at a time: asked for
    another (or other arguments, or another ``n_obs_steps``), they end. They hold their memory until `close`, the end of
    the ``with`` block or of the program, even a killed one.

    Example:
        >>> from l1flow_agents import L1FlowAgent, evaluate
        >>> agent = L1FlowAgent.load("pusht-state")
        >>> with Workers() as workers:
        ...     scores = [evaluate(agent, n_episodes=1, seed=k, workers=workers).mean_score for k in range(2)]
    """

    def __init__(self) -> None:
        self._data = b""
        self._idle: list[Worker] = []
        weakref.finalize(self, _end, self._idle)  # also at the program's exit

    def __reduce__(self) -> tuple[Any, ...]:
        return Workers, ()  # a copy has processes of its own

    def take(self, data: bytes, timeout: float) -> Worker:
        """An idle worker for ``data``, an `EnvSetup`, packed, or else a new one."""
        if data != self._data:
            self.close()
            self._data = data
        while self._idle:
            worker = self._idle.pop()
            if worker.process.is_alive():
                worker.timeout = timeout
                return worker
            worker.stop()
        return Worker(data, timeout)

    def keep(self, worker: Worker) -> None:
        """Give back a worker that owes no answer."""
        self._idle.append(worker)

    def close(self) -> None:
        _end(self._idle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _end(workers: list[Worker]) -> None:
    """Let the processes close their environments, all at once, and end those that do not."""
    for worker in workers:
        with suppress(OSError):
            worker.pipe.send(None)
    deadline = time.monotonic() + 2
    while workers:
        worker = workers.pop()
        worker.process.join(max(deadline - time.monotonic(), 0))
        worker.stop()
