"""A policy's plans on a GPU: recorded once for a batch size, then replayed without waiting for Python (CUDA graphs)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from l1flow_agents.policy import ChunkPolicy

LARGEST = 64  # rows of a batch; above, the arithmetic takes longer than to start it
WARM_UP = 3  # plans before one is recorded, as CUDA's libraries choose and allocate in their first calls
log = logging.getLogger(__name__)


class ReplayedPlans:
    """`ChunkPolicy.plan`, from a recording for the smallest power of two of rows that a batch fits into.

    A recording reads the weights where they lie, so what training writes there counts at once; weights that lie
    elsewhere are recorded anew. What cannot be recorded is planned as ever, and the log says so once.
    """

    def __init__(self, policy: ChunkPolicy) -> None:
        self.policy, self._usable = policy, True
        self._recordings: dict[int, _Recording] = {}
        self._weights: list[Tensor] = []
        self._places: list[int] = []  # of the weights, in memory
        self._lock = threading.Lock()  # the buffers of a recording are for one plan at a time

    def __reduce__(self) -> tuple[Any, ...]:
        return ReplayedPlans, (self.policy,)  # a copy has weights of its own

    def plan(self, observations: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        """As `ChunkPolicy.plan`; the tensors may still lie on the CPU."""
        n = noise.shape[0]
        if self._usable and n <= LARGEST and not torch.is_autocast_enabled(self.policy.device.type):
            with self._lock:
                if (recording := self._recording(1 << (n - 1).bit_length(), observations, noise)) is not None:
                    return recording.plan(observations, noise)
        device = self.policy.device
        return self.policy.plan({key: value.to(device) for key, value in observations.items()}, noise.to(device))

    def _recording(self, rows: int, observations: Mapping[str, Tensor], noise: Tensor) -> _Recording | None:
        if [weight.data_ptr() for weight in self._weights] != self._places or not self._recordings:
            self._recordings, self._weights = {}, [*self.policy.parameters(), *self.policy.buffers()]
            self._places = [weight.data_ptr() for weight in self._weights]
        if rows not in self._recordings:
            try:
                self._recordings[rows] = _Recording(self.policy, rows, observations, noise)
            except RuntimeError as error:  # all that CUDA refuses, and a sampler that waits for the host
                self._usable, self._recordings = False, {}
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                log.info("plans are not replayed as CUDA graphs, and take longer: %s", reason)
        return self._recordings.get(rows)


class _Recording:
    """Buffers for ``rows`` environments, and what computes the plan from them."""

    def __init__(self, policy: ChunkPolicy, rows: int, observations: Mapping[str, Tensor], noise: Tensor) -> None:
        def buffer(like: Tensor) -> Tensor:
            return torch.zeros((rows, *like.shape[1:]), dtype=like.dtype, device=policy.device)

        with torch.inference_mode():
            self.observations = {key: buffer(value) for key, value in observations.items()}
            self.noise = buffer(noise)
        self.replay, self.chunk = captured(lambda: policy.plan(self.observations, self.noise), policy.device)

    @torch.inference_mode()
    def plan(self, observations: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        n = noise.shape[0]
        for key, value in observations.items():
            self.observations[key][:n].copy_(value)
        self.noise[:n].copy_(noise)
        self.replay()
        return self.chunk[:n].clone()


def captured(compute: Callable[[], Tensor], device: torch.device) -> tuple[Callable[[], None], Tensor]:
    """What does again all that ``compute`` does on the GPU, and the tensor that then holds the result."""
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.device(device):
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                compute()
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may use the GPU meanwhile
            result = compute()

    def replay() -> None:
        with torch.cuda.device(device):
            graph.replay()

    return replay, result
