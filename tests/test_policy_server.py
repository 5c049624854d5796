"""Promise: a policy server plans for those who know its token, bears anything they send, and hears nobody else."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
import zmq

from l1flow_agents.errors import ConfigError, RobotError
from l1flow_agents.realtime import PolicyServer, RemotePlanner, client
from l1flow_agents.realtime.planning import plan
from l1flow_agents.realtime.wire import (
    FAILED,
    HELLO,
    PLAN,
    MessageError,
    Request,
    Spec,
    configure,
    key_pair,
    read_token,
    unpack_plan,
)

TOKEN = "a token of more than twenty characters"


@pytest.fixture(scope="module")
def server(make_agent) -> Iterator[PolicyServer]:
    over = threading.Event()
    with PolicyServer(make_agent(n_obs_steps=2), TOKEN, "tcp://127.0.0.1:*") as one:
        thread = threading.Thread(target=one.serve, args=(over.is_set,))
        thread.start()
        yield one
        over.set()
        thread.join()


def request(spec: Spec, number: int = 3, seed: int = 5) -> Request:
    rng = np.random.default_rng(seed)
    history = {key: rng.normal(size=(2, *shape)).astype(dtype) for key, (shape, dtype) in spec.observations.items()}
    weights = np.linspace(1, 0, spec.n_rows, dtype=np.float32)
    return Request(number, seed, history, np.zeros((spec.n_rows, spec.action_dim), np.float32), weights)


def answer(planner: RemotePlanner) -> np.ndarray:
    while (made := planner.poll()) is None:
        pass
    return made


def test_it_plans_as_the_agent_does(server):
    with RemotePlanner(server.address, TOKEN) as planner:
        assert planner.spec == server.spec
        planner.submit(request(planner.spec, 1))
        planner.submit(asked := request(planner.spec, 2))  # the first is forgotten
        np.testing.assert_array_equal(answer(planner), plan(server._agent, asked))
        assert planner.poll() is None


def test_another_token_is_refused(server, monkeypatch):
    monkeypatch.setattr(client, "ANSWER", 0.5)
    with pytest.raises(ConfigError, match="another token"):
        RemotePlanner(server.address, TOKEN + "!")
    plain = zmq.Context.instance().socket(zmq.DEALER)  # without any key
    plain.setsockopt(zmq.LINGER, 0)
    plain.connect(server.address)
    plain.send(HELLO)
    assert not plain.poll(300)
    plain.close()
    knows = key_pair(TOKEN, "server")[0]  # the server's key, but not the clients'
    half = zmq.Context.instance().socket(zmq.DEALER)
    half.setsockopt(zmq.LINGER, 0)
    half.curve_serverkey, (half.curve_publickey, half.curve_secretkey) = knows, zmq.curve_keypair()
    half.connect(server.address)
    half.send(HELLO)
    assert not half.poll(300)
    half.close()


def test_it_survives_ten_thousand_malformed_messages(server):
    rng, spec = np.random.default_rng(0), server.spec
    good = request(spec).pack(spec)
    (key, _), (public, secret) = key_pair(TOKEN, "server"), key_pair(TOKEN, "client")
    hostile = zmq.Context.instance().socket(zmq.DEALER)
    hostile.curve_serverkey, hostile.curve_publickey, hostile.curve_secretkey = key, public, secret
    configure(hostile, 2**20)
    hostile.setsockopt(zmq.SNDHWM, 0)
    hostile.connect(server.address)
    before = server.refused
    for k in range(10_000):
        cut = int(rng.integers(len(good)))
        wrong = [rng.bytes(cut), good[:cut], good + b"!", b"", PLAN + rng.bytes(len(good)), HELLO + good, good[::-1]][
            k % 7
        ]
        hostile.send(wrong) if k % 5 else hostile.send_multipart([wrong, b"part", b""])
        while hostile.poll(1000 if k % 8 == 7 else 0):  # no more wait than the server's queue takes
            assert hostile.recv().startswith((FAILED, HELLO))
            if k % 8 == 7 and server.refused - before >= k:
                break
    hostile.send(b"x" * 10 * len(good))  # is cut off unread
    for _ in range(20):  # and people who do not speak its language
        with suppress(OSError), socket.create_connection(("127.0.0.1", int(server.address.rsplit(":")[-1]))) as raw:
            raw.sendall(os.urandom(3000))
    with RemotePlanner(server.address, TOKEN) as planner:
        planner.submit(asked := request(planner.spec))
        np.testing.assert_array_equal(answer(planner), plan(server._agent, asked))
    assert server.refused - before > 5_000
    hostile.close(linger=0)


def test_no_message_is_misread(server):
    rng, spec = np.random.default_rng(1), server.spec
    good = request(spec).pack(spec)
    broken = bytearray(good)
    broken[21:25] = np.float32(np.nan).tobytes()
    for wrong in (good[:-1], good + b" ", bytes(broken), rng.bytes(len(good)), b"", FAILED):
        with pytest.raises(MessageError):
            Request.unpack(wrong, spec)
        with pytest.raises(MessageError):
            unpack_plan(wrong, spec)
        with pytest.raises(MessageError):
            Spec.unpack(wrong)
    for text in (b"[]", b"{}", b"[" * 60_000, b'{"observations": {"a": [[-1], "object"]}}', b"\xff"):
        with pytest.raises(MessageError):
            Spec.unpack(HELLO + text)
    assert Spec.unpack(spec.pack()) == spec


def test_an_agent_that_cannot_plan_says_so(server, monkeypatch):
    monkeypatch.setattr(server._agent.policy, "plan", lambda *_: (_ for _ in ()).throw(ValueError("too far")))
    with RemotePlanner(server.address, TOKEN) as planner:
        planner.submit(request(planner.spec))
        with pytest.raises(RobotError, match="too far"):
            answer(planner)


def test_tokens_are_files_for_their_owner(tmp_path):
    path = tmp_path / "deep" / "token"
    with pytest.raises(ConfigError, match="l1flow serve"):
        read_token(path)
    token = read_token(path, make=True)
    assert read_token(path) == token and len(token) > 40 and path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="at least 20"):
        key_pair("secret", "server")
