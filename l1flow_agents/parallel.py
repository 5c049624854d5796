"""A function over many items in several processes, results in the items' order. Nothing here imports torch."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from typing import Any, TypeVar

from l1flow_agents.errors import ConfigError, WorkerError
from l1flow_agents.spawning import CONTEXT, packed, serve_parent, unpacked

Item = TypeVar("Item")
Result = TypeVar("Result")

Worker = Callable[[], AbstractContextManager[Callable[[Item], Result]]]
"""Makes what a function needs, such as a simulator, and yields the function; called once a process."""

_function: Iterator[Callable[[Any], Any]]  # of a worker process


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], n_workers: int
) -> Generator[Result, None, None]:
    """``function(item)`` for every item, as a generator; ``items`` may be endless.

    Processes are those of `spawning`; each is sent ``function`` once. At most two items a process are under way ahead
    of the one that is yielded. An exception of ``function`` is raised here, at its item's turn. With one worker
    everything runs in this process.

    Raises:
        WorkerError: a process died. ConfigError: ``function`` cannot be sent.
    """
    return in_order_by(partial(_owning_nothing, function), items, n_workers)


def _owning_nothing(function: Callable[[Item], Result]) -> AbstractContextManager[Callable[[Item], Result]]:
    return nullcontext(function)


def in_order_by(worker: Worker[Item, Result], items: Iterable[Item], n_workers: int) -> Generator[Result, None, None]:
    """`in_order` by a function that owns something."""
    if n_workers == 1:
        with closing(_kept_open(worker)) as functions:
            for item in items:
                yield next(functions)(item)
        return
    executor = ProcessPoolExecutor(n_workers, CONTEXT, initializer=_begin, initargs=(packed(worker, "this work"),))
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(executor.submit(_do, item))
            if len(pending) > 2 * n_workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise WorkerError("a worker process died, perhaps for want of memory; run again with fewer workers") from error
    finally:
        processes = list((executor._processes or {}).values())
        executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:  # what they still compute nobody will ask for
            process.terminate()


def _begin(data: bytes) -> None:
    global _function
    serve_parent()
    _function = _kept_open(unpacked(data))


def _kept_open(worker: Worker[Item, Result]) -> Generator[Callable[[Item], Result], None, None]:
    """The same function again and again; made when it is first asked for, so that an error has an item's turn."""
    with worker() as function:
        while True:
            yield function


def _do(item: Any) -> Any:
    return next(_function)(item)


def on_cluster(
    function: Callable[[Item], Result], items: Iterable[Item], address: str
) -> Generator[Result, None, None]:
    """`in_order` on a Ray cluster, a core an item.

    Args:
        address: of the cluster; ``auto`` finds a running one, ``local`` starts one here.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster. WorkerError: a task was lost.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError("a cluster needs Ray: pip install 'l1flow-agents[cluster]'") from None
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise ConfigError(f"no Ray cluster at {address!r}: {str(error).splitlines()[0]}") from None
    try:
        task = ray.remote(num_cpus=1, max_retries=2)(function)
        for reference in [task.remote(item) for item in items]:
            try:
                yield ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:
                raise WorkerError(f"the cluster lost a task: {str(error).splitlines()[0]}") from None
    finally:
        ray.shutdown()
