"""A function over many items in several processes, results in the items' order. Nothing here imports torch."""

from __future__ import annotations

import importlib
import logging
import socket
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar

import numpy as np

from l1flow_agents.errors import ConfigError, WorkerError
from l1flow_agents.spawning import CONTEXT, packed, serve_parent, unpacked
from l1flow_agents.versions import differences, versions

Item = TypeVar("Item")
Result = TypeVar("Result")

Worker = Callable[[], AbstractContextManager[Callable[[Item], Result]]]
"""Makes what a function needs, such as a simulator, and yields the function; called once a process."""


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], n_workers: int, cluster: str | None = None
) -> Generator[Result, None, None]:
    """``function(item)`` for every item, as a generator; ``items`` may be endless.

    Processes are those of `spawning`, or of a Ray cluster; each is sent ``function`` once. At most two items a process
    are under way ahead of the one that is yielded. An exception of ``function`` is raised here, at its item's turn.
    With one worker everything runs in this process.

    Args:
        cluster: address of a Ray cluster, all of whose cores work, in place of ``n_workers`` processes; ``auto`` finds
            a running one, ``local`` starts one here. What a lost worker or machine was at is done again by others.

    Raises:
        WorkerError: a process died; on a cluster, three at the same item, or there is no machine left.
        ConfigError: ``function`` cannot be sent; Ray is not installed, there is no cluster, or it has other packages.
    """
    return in_order_by(partial(_owning_nothing, function), items, n_workers, cluster)


def _owning_nothing(function: Callable[[Item], Result]) -> AbstractContextManager[Callable[[Item], Result]]:
    return nullcontext(function)


def in_order_by(
    worker: Worker[Item, Result], items: Iterable[Item], n_workers: int, cluster: str | None = None
) -> Generator[Result, None, None]:
    """`in_order` by a function that owns something."""
    if cluster is not None:
        return _on_cluster(worker, items, cluster)
    return _here(worker, items) if n_workers == 1 else _in_processes(worker, items, n_workers)


def _here(worker: Worker[Item, Result], items: Iterable[Item]) -> Generator[Result, None, None]:
    with closing(_kept_open(worker)) as functions:
        for item in items:
            yield next(functions)(item)


def _kept_open(worker: Worker[Item, Result]) -> Generator[Callable[[Item], Result], None, None]:
    """The same function again and again; made when it is first asked for, so that an error has an item's turn."""
    with worker() as function:
        while True:
            yield function


def _in_turn(
    items: Iterable[Item],
    begin: Callable[[Item], Future[Result]],
    end: Callable[[Future[Result]], Result],
    n_ahead: Callable[[], int],
) -> Iterator[Result]:
    """What ``end`` makes of each item's future, ``n_ahead`` of which ``begin`` has made meanwhile."""
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(begin(item))
        while len(pending) > n_ahead():
            yield end(pending.popleft())
    while pending:
        yield end(pending.popleft())


# ---- processes of this machine --------------------------------------------------------------------------------------

_function: Iterator[Callable[[Any], Any]]  # of a worker process


def _in_processes(worker: Worker[Item, Result], items: Iterable[Item], n_workers: int) -> Generator[Result, None, None]:
    executor = ProcessPoolExecutor(n_workers, CONTEXT, initializer=_begin, initargs=(packed(worker, "this work"),))
    try:
        yield from _in_turn(items, lambda item: executor.submit(_do, item), Future.result, lambda: 2 * n_workers)
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


def _do(item: Any) -> Any:
    return next(_function)(item)


# ---- the cores of a Ray cluster -------------------------------------------------------------------------------------

ATTEMPTS = 3  # at an item whose worker died
PATIENCE = 60  # seconds without any core before a cluster is given up: one that grows on demand begins without

_functions: dict[str, Generator[Callable[[Any], Any], None, None]] = {}  # at most one, by its key: of a Ray worker


def _on_cluster(worker: Worker[Item, Result], items: Iterable[Item], address: str) -> Generator[Result, None, None]:
    """Tasks of one core each. Ray's workers stay for the next task, and with them what `_do_there` made.

    Ray itself does again what was lost with a worker or a machine. Results are fetched here when they are there, not at
    their turn: what is finished stays so.
    """
    with _connected(address) as ray:
        data = ray.put(np.frombuffer(packed(worker, "this work"), np.uint8))  # an array is not copied for each task
        here = versions()

        def l1flow(*arguments: Any) -> Any:  # sent by value, as a machine that lacks this package can say so
            return importlib.import_module("l1flow_agents.parallel")._do_there(*arguments)

        remote = ray.remote(num_cpus=1, max_retries=ATTEMPTS - 1)(l1flow)
        begun: weakref.WeakKeyDictionary[Future[Any], Any] = weakref.WeakKeyDictionary()

        def begin(item: Any) -> Future[Any]:
            reference = remote.remote(item, data, data.hex(), here)
            future: Future[Any] = reference.future()
            begun[future] = reference
            return future

        def n_cores() -> int:
            return int(ray.cluster_resources().get("CPU", 0))

        def end(future: Future[Any]) -> Any:
            n_idle = 0
            while not wait([future], timeout=1).done:
                n_idle = 0 if n_cores() else n_idle + 1
                if n_idle >= PATIENCE:
                    raise WorkerError(f"the Ray cluster at {address!r} has had no core for {PATIENCE} s")
            try:
                return future.result()
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, ImportError):
                    raise ConfigError(f"a machine of the Ray cluster lacks a package: {error.cause}") from error
                raise error.cause from error
            except ray.exceptions.RayError as error:
                reason = str(error).splitlines()[0]
                raise WorkerError(f"{ATTEMPTS} workers of the Ray cluster died at the same item: {reason}") from error

        try:
            yield from _in_turn(items, begin, end, lambda: 2 * max(n_cores(), 1))
        finally:
            for future, reference in begun.items():
                if not future.done():
                    ray.cancel(reference, force=True)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """The module ``ray``, connected; a connection that the program has already is used, and left as it is."""
    try:
        import ray
    except ImportError:
        raise ConfigError("a cluster needs Ray: pip install 'l1flow-agents[cluster]'") from None
    if ray.is_initialized():
        yield ray
        return
    try:
        host, _, port = address.rpartition(":")
        if port.isdecimal() and "://" not in address:  # Ray tries for minutes, and tells of each
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"no Ray cluster at {address!r}: {str(error).splitlines()[0]}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _do_there(item: Any, data: np.ndarray, key: str, expected: dict[str, str]) -> Any:
    """In a Ray worker: what `_do` is in a process of ours. ``key`` is that of ``data``, ``expected`` the versions."""
    if key not in _functions:
        _functions.clear()
        if found := differences(versions(), expected):
            raise ConfigError(f"{socket.gethostname()} of the Ray cluster has {', '.join(found)}; results would differ")
        _functions[key] = _kept_open(unpacked(data.tobytes()))
    try:
        function = next(_functions[key])
    except BaseException:
        del _functions[key]  # a generator that raised has nothing more to give
        raise
    return function(item)
