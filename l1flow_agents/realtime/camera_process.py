"""The camera of a simulated arm: a process that hands frames on, as a camera's driver does."""

from __future__ import annotations

from multiprocessing.connection import Connection
from select import select

from l1flow_agents.spawning import serve_parent


def hand_on(arm: Connection, loop: Connection) -> None:
    """Every frame of the arm's to the loop, until either is gone. A loop that does not read gets none."""
    serve_parent()
    try:
        while True:
            frame = arm.recv_bytes()
            if writable(loop):
                loop.send_bytes(frame)
    except (EOFError, OSError):
        return


def writable(pipe: Connection) -> bool:
    """Whether what is sent now is taken at once: more than half of the pipe is free."""
    return bool(select([], [pipe.fileno()], [], 0)[1])
