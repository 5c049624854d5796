"""A policy that plans for robots elsewhere: ZeroMQ, encrypted, for those who know its token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zmq
from zmq.auth.thread import ThreadAuthenticator

from l1flow_agents.acting import Actor
from l1flow_agents.errors import ConfigError, L1FlowError
from l1flow_agents.realtime.planning import plan, spec_of
from l1flow_agents.realtime.wire import FAILED, HELLO, NUMBER, MessageError, Request, configure, key_pair, pack_plan

LOOPBACK = "tcp://127.0.0.1:5757"


class PolicyServer:
    """Answers requests for plans, one after the other.

    A client that does not know ``token`` gets no further than the handshake. One that does may send anything: what is
    no request is answered with one line, and what is larger than a request is never read.

    Args:
        agent: who plans.
        token: at least 20 characters, known to the clients.
        address: loopback unless said otherwise; port ``*`` takes a free one.

    Attributes:
        address: with the port that was taken.
        refused: messages that were no requests.

    Raises:
        ConfigError: a token or address that cannot be used.
    """

    def __init__(self, agent: Actor, token: str, address: str = LOOPBACK) -> None:
        self._agent, self.spec, self.refused = agent, spec_of(agent), 0
        (public, secret), (allowed, _) = key_pair(token, "server"), key_pair(token, "client")
        self._context: zmq.Context[Any] = zmq.Context()
        self._doorman = ThreadAuthenticator(self._context)
        self._doorman.start()
        self._doorman.configure_curve_callback(credentials_provider=_OneKey(allowed))
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.curve_server, self._socket.curve_publickey, self._socket.curve_secretkey = True, public, secret
        configure(self._socket, self.spec.request_size)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(f"server: cannot listen at {address!r}: {error}") from None
        endpoint = self._socket.getsockopt(zmq.LAST_ENDPOINT)
        self.address = endpoint.decode().rstrip("\0") if isinstance(endpoint, bytes) else str(endpoint)

    def serve(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Answer until ``stopped``, which is asked five times a second."""
        while not stopped():
            if self._socket.poll(200):
                sender, *parts = self._socket.recv_multipart(copy=True)
                answer = self._answer(parts[0] if len(parts) == 1 else b"")
                try:
                    self._socket.send_multipart([sender, answer], zmq.NOBLOCK)
                except zmq.ZMQError:  # nobody there, or nobody who reads
                    continue

    def close(self) -> None:
        self._doorman.stop()
        self._context.destroy(linger=0)

    def __enter__(self) -> PolicyServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, message: bytes) -> bytes:
        if message == HELLO:
            return self.spec.pack()
        try:
            request = Request.unpack(message, self.spec)
        except MessageError as error:
            self.refused += 1
            return FAILED + str(error).encode()
        try:
            return pack_plan(request.number, plan(self._agent, request))
        except (L1FlowError, RuntimeError, ValueError) as error:  # observations far from all that was learned
            return FAILED + NUMBER.pack(request.number, 0) + " ".join(str(error).split()).encode()


class _OneKey:
    def __init__(self, allowed: bytes) -> None:
        self._allowed = allowed

    def callback(self, domain: str, key: bytes) -> bool:
        return key == self._allowed
