"""A policy in another process or on another machine, as a planner. Nothing here imports torch."""

from __future__ import annotations

import secrets
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import zmq
from zmq.utils.monitor import recv_monitor_message

from l1flow_agents.errors import ConfigError, RobotError
from l1flow_agents.realtime.wire import (
    FAILED,
    HELLO,
    LARGEST,
    MessageError,
    Request,
    Spec,
    configure,
    key_pair,
    unpack_plan,
)
from l1flow_agents.spawning import CONTEXT, serve_parent

ANSWER = 3.0  # seconds for a server to say what it is
STARTING = 120.0  # seconds that loading an agent may take


class RemotePlanner:
    """Plans of a `PolicyServer`. A connection that breaks, or is silent for half a second, is a `RobotError` of `poll`.

    Args:
        address: such as ``tcp://10.0.0.2:5757``.
        token: the server's.

    Raises:
        ConfigError: nobody answers there, or whoever does has another token.
    """

    def __init__(self, address: str, token: str) -> None:
        (server, _), (public, secret) = key_pair(token, "server"), key_pair(token, "client")
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.curve_serverkey = server
        self._socket.curve_publickey, self._socket.curve_secretkey = public, secret
        configure(self._socket, LARGEST)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._wanted: int | None = None
        self._gone = False
        try:
            self._socket.connect(address)
            self._socket.send(HELLO)
            if not self._socket.poll(int(1e3 * ANSWER)):
                raise ConfigError(
                    f"no policy server at {address}, or one with another token: no answer in {ANSWER:g} s"
                )
            self.spec = Spec.unpack(self._socket.recv())
        except (zmq.ZMQError, MessageError) as error:
            self.close()
            raise ConfigError(f"policy server at {address!r}: {error}") from None
        except ConfigError:
            self.close()
            raise

    def submit(self, request: Request) -> None:
        self._wanted = request.number
        try:
            self._socket.send(request.pack(self.spec), zmq.NOBLOCK)
        except zmq.ZMQError:
            raise RobotError("the policy server takes no more requests") from None

    def poll(self) -> np.ndarray | None:
        plan = None
        try:
            while self._socket.poll(0):
                message = self._socket.recv(zmq.NOBLOCK)
                if message.startswith(FAILED):
                    raise RobotError(f"the policy cannot plan: {message[len(FAILED) :].decode(errors='replace')}")
                number, rows = unpack_plan(message, self.spec)
                if number == self._wanted:
                    plan, self._wanted = rows, None
        except MessageError as error:
            raise RobotError(f"policy server: {error}") from None
        while self._monitor.poll(0):
            self._gone = recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"] == zmq.EVENT_DISCONNECTED
        if self._gone:
            raise RobotError("the policy's server is gone")
        return plan

    def close(self) -> None:
        self._context.destroy(linger=0)

    def __enter__(self) -> RemotePlanner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PolicyProcess(RemotePlanner):
    """An agent that plans in a process of its own on this machine, so that the loop keeps its beat.

    Args:
        agent: checkpoint folder or published name.
        device: see `pick_device`. threads: of torch.

    Raises:
        L1FlowError: what loading the agent raises there, here as a ConfigError.
    """

    def __init__(self, agent: str, device: str = "auto", threads: int = 1) -> None:
        token = secrets.token_urlsafe(32)
        pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(
            target=plan_here, args=(theirs, agent, device, threads, token), daemon=True, name="l1flow policy"
        )
        self.process.start()
        theirs.close()
        try:
            told = pipe.recv() if pipe.poll(STARTING) else f"no agent in {STARTING:.0f} s"
        except EOFError:
            told = f"the policy's process died (exit code {self.process.exitcode})"
        if not told.startswith("tcp://"):
            self.process.kill()
            raise ConfigError(told)
        super().__init__(told, token)

    def poll(self) -> np.ndarray | None:
        if not self.process.is_alive():
            raise RobotError("the policy's process died")
        return super().poll()

    def close(self) -> None:
        super().close()
        self.process.kill()
        self.process.join()


def plan_here(pipe: Connection, name: str, device: str, threads: int, token: str) -> None:
    """The life of a policy's process."""
    serve_parent()
    import torch

    from l1flow_agents.agent import ChunkAgent
    from l1flow_agents.errors import L1FlowError
    from l1flow_agents.realtime.planning import warm_up
    from l1flow_agents.realtime.server import PolicyServer

    torch.set_num_threads(threads)
    try:
        agent = ChunkAgent.load(name, device=device)
        server = PolicyServer(agent, token, "tcp://127.0.0.1:*")
    except L1FlowError as error:
        pipe.send(str(error))
        return
    warm_up(agent)
    pipe.send(server.address)
    server.serve()
