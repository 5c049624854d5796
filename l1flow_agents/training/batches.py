"""Where the windows of a gradient step come from. Those of step k are a function of (seed, k), wherever they lie."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from l1flow_agents.data import Chunks, ChunkSampler
from l1flow_agents.data.normalizer import ACTION
from l1flow_agents.data.symmetry import SYMMETRIES, mirrored, mirrored_tensors
from l1flow_agents.policy import to_tensor
from l1flow_agents.training.config import TrainingConfig

RESIDENT_SHARE = 0.3  # of the card's free memory that demonstrations may take; five trainings at once leave a sixth
BLOCK = 4096  # rows that are moved to the card at a time
AHEAD = 3
log = logging.getLogger(__name__)


class Batch(NamedTuple):
    """Windows as `ChunkPolicy.loss` takes them."""

    observations: dict[str, Tensor]
    actions: Tensor
    valid: Tensor


class Batches(Protocol):
    """The windows of one step after the other."""

    def place(self, step: int) -> None:
        """Make ready what `read` reads; all that needs the host."""

    def read(self) -> Batch:
        """The windows of the step. On a GPU it can be a part of a graph: from the same memory at every step."""


def batches(windows: ChunkSampler, config: TrainingConfig, device: torch.device) -> Batches:
    """What suits the device: on a GPU the data lie there where they fit into `RESIDENT_SHARE` of its free memory."""
    if device.type != "cuda":
        return HostBatches(windows, config, device)
    needed, free = resident_bytes(windows), torch.cuda.mem_get_info(device)[0]
    if needed <= RESIDENT_SHARE * free:
        return ResidentBatches(windows, config, device)
    log.info("data: %.1f GB, prefetched; %.0f %% of the GPU's %.1f GB would keep them there", *_gigabytes(needed, free))
    return PrefetchedBatches(windows, config, device)


def _gigabytes(needed: int, free: int) -> tuple[float, float, float]:
    return needed / 1e9, 100 * RESIDENT_SHARE, free / 1e9


class HostBatches:
    """Gathered and mirrored on the CPU, then moved."""

    def __init__(self, windows: ChunkSampler, config: TrainingConfig, device: torch.device) -> None:
        self.windows, self.config, self.device = windows, config, device

    def place(self, step: int) -> None:
        config = self.config
        chunks = self.windows[self.windows.batch_indices(step, config.batch_size, config.seed)]
        if config.symmetry:
            rows = chosen_rows(config.symmetry, len(chunks.actions), torch.device("cpu"))
            chunks = mirrored(chunks, config.symmetry, rows.numpy())
        self.batch = to_tensors(chunks, self.device)

    def read(self) -> Batch:
        return self.batch


class ResidentBatches:
    """All rows lie on the device, images as uint8; a step is told which windows, and gathers and mirrors them there."""

    def __init__(self, windows: ChunkSampler, config: TrainingConfig, device: torch.device) -> None:
        self.windows, self.config, self.device = windows, config, device
        self.arrays = {key: moved(array, device) for key, array in arrays_of(windows).items()}
        self.edges = [torch.from_numpy(edge).to(device) for edge in windows.edges()]
        self.steps = torch.arange(windows.horizon, device=device)
        self.indices = torch.zeros(min(config.batch_size, len(windows)), dtype=torch.int64, device=device)
        self.epoch = -1

    def place(self, step: int) -> None:
        epoch, part = self.windows.place(step, self.config.batch_size)
        if epoch != self.epoch:
            order = pinned(torch.from_numpy(self.windows.order(epoch, self.config.seed)))
            self.order, self.epoch = order.to(self.device, non_blocking=True), epoch
        self.indices.copy_(self.order[part])

    def read(self) -> Batch:
        start, begin, last = (edge[self.indices][:, None] for edge in self.edges)
        rows = start + self.steps
        clipped = rows.clamp(begin, last)
        newest = clipped[:, : self.windows.n_obs_steps]
        values = {key: array[clipped if key == ACTION else newest] for key, array in self.arrays.items()}
        return mirrored_batch(values, rows == clipped, self.config)


class PrefetchedBatches:
    """Gathered by a thread one step ahead, moved from pinned memory while earlier steps are still computed."""

    def __init__(self, windows: ChunkSampler, config: TrainingConfig, device: torch.device) -> None:
        self.windows, self.config, self.device = windows, config, device
        self.thread = ThreadPoolExecutor(1)
        self.ahead: tuple[int, Future[Batch]] | None = None
        self.batch: Batch | None = None
        self.under_way: deque[torch.cuda.Event] = deque()

    def place(self, step: int) -> None:
        if self.ahead is None or self.ahead[0] != step:
            self.ahead = step, self.thread.submit(self.gathered, step)
        found = self.ahead[1].result()
        self.ahead = step + 1, self.thread.submit(self.gathered, step + 1)
        if self.batch is None:
            self.batch = empty_like(found, self.device)
        for there, here in zip(_tensors(self.batch), _tensors(found), strict=True):
            there.copy_(here, non_blocking=True)
        if self.device.type == "cuda":
            self._keep_pace()

    def _keep_pace(self) -> None:
        """The host is at most `AHEAD` steps ahead of the GPU, or pinned memory would grow with every step."""
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch says no types here
        event.record(torch.cuda.current_stream(self.device))
        self.under_way.append(event)
        if len(self.under_way) > AHEAD:
            self.under_way.popleft().synchronize()

    def gathered(self, step: int) -> Batch:
        """In the thread. The allocator of pinned memory keeps it until it was read."""
        config = self.config
        found = to_tensors(
            self.windows[self.windows.batch_indices(step, config.batch_size, config.seed)], torch.device("cpu")
        )
        observations = {key: pinned(value) for key, value in found.observations.items()}
        return Batch(observations, pinned(found.actions), pinned(found.valid))

    def read(self) -> Batch:
        assert self.batch is not None
        return mirrored_batch({**self.batch.observations, ACTION: self.batch.actions}, self.batch.valid, self.config)


def mirrored_batch(values: dict[str, Tensor], valid: Tensor, config: TrainingConfig) -> Batch:
    """Observations and "action" on the device, mirrored there."""
    if config.symmetry:
        values = mirrored_tensors(values, config.symmetry, chosen_rows(config.symmetry, len(valid), valid.device))
    observations = {key: value for key, value in values.items() if key != ACTION}
    return Batch(observations, values[ACTION], valid)


def chosen_rows(symmetry: str, n: int, device: torch.device) -> Tensor:
    """(maps, n): half of the windows for each map."""
    return torch.rand(len(SYMMETRIES[symmetry].maps), n, device=device) < 0.5


def arrays_of(windows: ChunkSampler) -> dict[str, np.ndarray]:
    return {**windows.episodes.observations, ACTION: windows.episodes.actions}


def resident_bytes(windows: ChunkSampler) -> int:
    """Of `ResidentBatches`: a byte for a pixel, four for every other number, and the windows' edges."""
    arrays = arrays_of(windows).values()
    return sum(array.size * (1 if array.dtype == np.uint8 else 4) for array in arrays) + 24 * len(windows)


def moved(array: np.ndarray, device: torch.device) -> Tensor:
    """All rows on the device, a block at a time: a memory-mapped array need not fit into the host's memory."""
    dtype = torch.uint8 if array.dtype == np.uint8 else torch.float32
    result = torch.empty(array.shape, dtype=dtype, device=device)
    for first in range(0, len(array), BLOCK):
        result[first : first + BLOCK] = to_tensor(np.array(array[first : first + BLOCK]), device)
    return result


def to_tensors(chunks: Chunks, device: torch.device) -> Batch:
    observations = {key: to_tensor(array, device) for key, array in chunks.observations.items()}
    return Batch(observations, to_tensor(chunks.actions, device), torch.from_numpy(chunks.valid).to(device))


def pinned(tensor: Tensor) -> Tensor:
    """In memory from which a GPU reads by itself, where there is one."""
    return tensor.pin_memory() if torch.cuda.is_available() else tensor


def empty_like(batch: Batch, device: torch.device) -> Batch:
    observations = {key: torch.empty_like(value, device=device) for key, value in batch.observations.items()}
    return Batch(
        observations, torch.empty_like(batch.actions, device=device), torch.empty_like(batch.valid, device=device)
    )


def _tensors(batch: Batch) -> Iterator[Tensor]:
    yield from batch.observations.values()
    yield from (batch.actions, batch.valid)
