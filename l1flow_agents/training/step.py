"""A gradient step as one CUDA graph.

Why a captured graph and no compiler: it replays the kernels of the plain step, whose numbers stay what they are; it
needs no compiler on the user's machine and seconds less to start; backward, clipping and optimiser are in it, too.

Chance: a graph reads seed and offset of the device's generator anew at every replay, so `torch.manual_seed` before a
step gives it the numbers that the plain step would draw. A run that is continued, which begins with plain steps, goes
on as if it had not been interrupted.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

WARM_UP = 3  # plain steps before the capture, in which libraries choose kernels and take memory
WAITS = "synchronizing CUDA operation"  # torch's words
Made = tuple[Tensor, Tensor]
Step = Callable[[], Made]
log = logging.getLogger(__name__)


class GraphedStep:
    """Calls ``step`` a few times, then captures it and replays what was captured.

    A step that waits for the GPU, as a network or method from elsewhere may, or that cannot be captured for another
    reason, is called every time.

    Args:
        step: reads and writes the same memory at every call, and returns small tensors.
    """

    def __init__(self, step: Step, device: torch.device) -> None:
        self.step, self.calls = step, 0
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch says no types here
        self.replay: Step | None = None

    def __call__(self) -> Made:
        if self.replay is None and self.calls < WARM_UP:
            self.calls += 1
            made, waited = warmed_up(self.step, self.stream)
            if waited and self.calls == WARM_UP:
                self._give_up("it waits for the GPU")
            return made
        if self.replay is None:
            try:
                self.replay = captured(self.step, self.stream)
            except RuntimeError as error:
                self._give_up(str(error).splitlines()[0])
        assert self.replay is not None
        return self.replay()

    def _give_up(self, why: str) -> None:
        log.info("a step is no graph here and takes longer: %s", why)
        self.replay = self.step


def warmed_up(step: Step, stream: torch.cuda.Stream) -> tuple[Made, bool]:
    """What ``step`` comes to beside the current stream, and whether it made the host wait."""
    current = torch.cuda.current_stream(stream.device)
    stream.wait_stream(current)
    with torch.cuda.stream(stream), told_of_waits() as told:
        made = step()
    current.wait_stream(stream)
    return made, any(WAITS in str(one.message) for one in told)


@contextmanager
def told_of_waits() -> Iterator[list[warnings.WarningMessage]]:
    """Collects torch's warnings, also of operations that make the host wait."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")  # which warns of itself, too
        try:
            yield told
        finally:
            torch.cuda.set_sync_debug_mode(before)


def captured(step: Step, stream: torch.cuda.Stream) -> Step:
    """A function that replays ``step``, which is not executed here.

    Raises:
        RuntimeError: it cannot be captured.
    """
    graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(stream.device)
    try:  # another thread may prefetch meanwhile
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            made = step()
    except RuntimeError:
        torch.cuda.set_stream(current)  # torch leaves the other one
        renew_generator(stream.device)
        raise
    generator = torch.cuda.default_generators[stream.device.index]
    generator.manual_seed(generator.initial_seed())  # from the beginning, whatever a capture leaves

    def replay() -> Made:
        graph.replay()
        return made[0].clone(), made[1].clone()  # a callback may keep them

    return replay


def renew_generator(device: torch.device) -> None:
    """A capture that failed leaves the device's generator in it for ever; give it another state, as it was seeded."""
    torch.cuda.synchronize(device)
    default, fresh = torch.cuda.default_generators[device.index], torch.Generator(device)
    fresh.manual_seed(default.initial_seed())
    default.graphsafe_set_state(fresh.graphsafe_get_state())


@contextmanager
def same_kernels() -> Iterator[None]:
    """Convolutions on a GPU by kernels that add in one order every time, so that a run can be continued exactly."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before
