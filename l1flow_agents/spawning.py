"""Worker processes that know the program's environments without running its script again. Nothing here imports torch.

Processes are spawned, never forked: a fork after OpenGL was used hangs. Python's own spawned process imports the script
that started it, which fails where that has no ``__main__`` guard or is no file (a notebook, standard input). These do
not; what they must know of the script is sent to them: the environments it registered, by value where it defines them.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import multiprocessing.context
import os
import signal
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import cloudpickle
import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from l1flow_agents.errors import ConfigError

KNOWN = ("gymnasium.", "l1flow_agents.", "gym_pusht.")  # packages whose environments a new process has by itself
_starting = threading.Lock()


class _Process(multiprocessing.context.SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _without_script():
            return multiprocessing.context.SpawnProcess._Popen(process_obj)


class _Context(multiprocessing.context.SpawnContext):
    Process = _Process


CONTEXT = _Context()
"""A `multiprocessing` context whose processes do not import ``__main__``."""


@contextmanager
def _without_script() -> Iterator[None]:
    """`multiprocessing` looks at ``__main__`` to tell a child what to import; let it find nothing there."""
    with _starting:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def packed(value: Any, what: str) -> bytes:
    """``value`` and this program's environments, for `unpacked` in a worker.

    Raises:
        ConfigError: ``value`` holds what cannot be sent to another process, such as an open file.
    """
    try:
        return bytes(cloudpickle.dumps((_registered(), cloudpickle.dumps(value))))
    except Exception as error:  # pickling runs code of whatever it meets
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{what} cannot be sent to a worker process ({type(error).__name__}: {reason}); define it in a module, and "
            "name it module:Name-v0"
        ) from None


def unpacked(data: bytes) -> Any:
    """What `packed` was given, after registering the environments that came with it."""
    import l1flow_agents  # noqa: F401  registers its own first, so that the program's win, as they did there

    registered, value = cloudpickle.loads(data)
    for one in registered:
        with suppress(Exception):  # it lacks a module here; whoever asks for this environment is told
            spec = cloudpickle.loads(one)
            gym.registry[spec.id] = spec
    return cloudpickle.loads(value)


def _registered() -> list[bytes]:
    """The environments of this program that a new process would not have."""
    found = []
    for spec in gym.registry.values():
        if not (isinstance(spec.entry_point, str) and spec.entry_point.startswith(KNOWN)):
            with suppress(Exception):
                found.append(cloudpickle.dumps(portable(spec)))
    return found


def serve_parent() -> None:
    """In a worker process: leave Ctrl-C to the parent, and end when that is gone, even killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def portable(spec: EnvSpec) -> EnvSpec:
    """An entry point ``__main__:Name`` means another ``__main__`` in a worker; the object itself is the same there."""
    if isinstance(spec.entry_point, str) and spec.entry_point.startswith("__main__:"):
        creator = getattr(sys.modules["__main__"], spec.entry_point.partition(":")[2])
        return dataclasses.replace(spec, entry_point=creator)
    return spec
