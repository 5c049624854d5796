"""What robot and policy tell each other: requests and plans as bytes of a length that is known beforehand.

No pickle and no parser: numbers in the order that both sides know, checked by their length. Only the specification,
which the server sends and the client reads once, is JSON. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zmq
import zmq.utils.z85

from l1flow_agents.errors import ConfigError
from l1flow_agents.files import output_path

HELLO, PLAN, FAILED = b"L1F1h", b"L1F1p", b"L1F1e"  # how messages begin
NUMBER = struct.Struct("<QQ")  # of the request, and the seed of its noise
LARGEST = 64 * 2**20  # bytes of a message
LARGEST_SPEC = 2**16
TOKEN = Path("~/.config/l1flow/token")
SHORTEST_TOKEN = 20  # characters
SEAL = 256  # bytes that encryption adds to a message, and more
WAITING = 8  # messages that wait on either side; more are dropped
BEAT, SILENCE = 100, 500  # milliseconds between two signs of life, and without any until a connection is given up
DTYPES = ("uint8", "float32", "float64", "int64", "int32", "int16", "int8", "uint16", "uint32", "float16")


class MessageError(ValueError):
    """A message that is none."""


@dataclass(frozen=True)
class Spec:
    """What plans are made from: shape and dtype of one observation a key, and lengths."""

    observations: Mapping[str, tuple[tuple[int, ...], str]]
    n_obs_steps: int
    n_action_steps: int
    n_rows: int
    action_dim: int
    continues: bool
    """Whether plans continue what is settled; otherwise they begin anew."""

    def pack(self) -> bytes:
        return HELLO + json.dumps({**self.__dict__, "observations": dict(self.observations)}).encode()

    @staticmethod
    def unpack(message: bytes) -> Spec:
        """What `pack` made.

        Raises:
            MessageError: anything else.
        """
        try:
            if not message.startswith(HELLO) or len(message) > LARGEST_SPEC:
                raise ValueError("no specification")
            read = json.loads(message[len(HELLO) :])
            observations = {
                str(key): (tuple(int(n) for n in shape), DTYPES[DTYPES.index(dtype)])
                for key, (shape, dtype) in read["observations"].items()
            }
            lengths = {name: int(read[name]) for name in ("n_obs_steps", "n_action_steps", "n_rows", "action_dim")}
            sizes = [*lengths.values(), *(n for shape, _ in observations.values() for n in shape)]
            if min(sizes) < 1 or max(sizes) > 2**16:
                raise ValueError("lengths")
            spec = Spec(observations, continues=bool(read["continues"]), **lengths)
            if spec.request_size > LARGEST:
                raise ValueError("too large")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise MessageError(f"expected what a policy server says first, got {message[:40]!r} ({error})") from None
        return spec

    @property
    def parts(self) -> list[tuple[str, tuple[int, ...], str]]:
        """Name, shape and dtype of the arrays of a request, in their order."""
        history = [(key, (self.n_obs_steps, *shape), dtype) for key, (shape, dtype) in self.observations.items()]
        return [*history, ("", (self.n_rows, self.action_dim), "float32"), ("", (self.n_rows,), "float32")]

    @property
    def request_size(self) -> int:
        sizes = [math.prod(shape) * np.dtype(dtype).itemsize for _, shape, dtype in self.parts]
        return len(PLAN) + NUMBER.size + sum(sizes)


@dataclass(frozen=True, eq=False)
class Request:
    """What one plan is made from."""

    number: int
    seed: int
    """Seed and number decide the noise."""
    history: Mapping[str, np.ndarray]
    """(n_obs_steps, *shape) a key, oldest first."""
    actions: np.ndarray
    """(n_rows, action_dim) float32, what the plan continues."""
    weights: np.ndarray
    """(n_rows,) float32, 1 where ``actions`` are settled, 0 where there are none."""

    def pack(self, spec: Spec) -> bytes:
        arrays = [*(self.history[key] for key in spec.observations), self.actions, self.weights]
        given = [
            np.ascontiguousarray(array, dtype).reshape(shape).tobytes()
            for array, (_, shape, dtype) in zip(arrays, spec.parts, strict=True)
        ]
        return b"".join([PLAN, NUMBER.pack(self.number, self.seed), *given])

    @staticmethod
    def unpack(message: bytes, spec: Spec) -> Request:
        """What `pack` made.

        Raises:
            MessageError: another length or beginning, or a number that is not finite.
        """
        if len(message) != spec.request_size or not message.startswith(PLAN):
            raise MessageError(f"expected {spec.request_size} bytes from {PLAN!r} on, got {len(message)}")
        number, seed = NUMBER.unpack_from(message, len(PLAN))
        arrays, at = [], len(PLAN) + NUMBER.size
        for _, shape, dtype in spec.parts:
            array = np.frombuffer(message, dtype, math.prod(shape), at).reshape(shape).copy()
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise MessageError("expected finite numbers")
            arrays.append(array)
            at += array.nbytes
        *history, actions, weights = arrays
        if not ((weights >= 0) & (weights <= 1)).all():
            raise MessageError("expected weights in [0, 1]")
        return Request(number, seed, dict(zip(spec.observations, history, strict=True)), actions, weights)


def pack_plan(number: int, plan: np.ndarray) -> bytes:
    return PLAN + NUMBER.pack(number, 0) + np.ascontiguousarray(plan, np.float32).tobytes()


def unpack_plan(message: bytes, spec: Spec) -> tuple[int, np.ndarray]:
    """Number and plan (n_rows, action_dim).

    Raises:
        MessageError: anything else than `pack_plan` made.
    """
    begin = len(PLAN) + NUMBER.size
    if not message.startswith(PLAN) or len(message) != begin + 4 * spec.n_rows * spec.action_dim:
        raise MessageError(f"expected a plan, got {len(message)} bytes")
    plan = np.frombuffer(message, np.float32, offset=begin).reshape(spec.n_rows, spec.action_dim)
    if not np.isfinite(plan).all():
        raise MessageError("expected a plan of finite numbers")
    return NUMBER.unpack_from(message, len(PLAN))[0], plan


def key_pair(token: str, whose: str) -> tuple[bytes, bytes]:
    """Public and secret key of ``server`` or ``client``, for whoever knows the token (CurveZMQ).

    Each side can so check that the other knows it, and nobody else can read or change what they say.

    Raises:
        ConfigError: the token is short enough to be guessed.
    """
    if len(token) < SHORTEST_TOKEN:
        raise ConfigError(f"token: expected at least {SHORTEST_TOKEN} characters, got {len(token)}")
    seed = hashlib.blake2b(token.encode(), digest_size=32, person=f"l1flow {whose}".encode()).digest()
    secret: bytes = zmq.utils.z85.encode(seed)
    return zmq.curve_public(secret), secret


def configure(socket: zmq.Socket[Any], largest: int) -> None:
    """Bounds on what waits and on what is read, and signs of life."""
    for option, value in {
        zmq.MAXMSGSIZE: largest + SEAL,
        zmq.RCVHWM: WAITING,
        zmq.SNDHWM: WAITING,
        zmq.LINGER: 0,
        zmq.HEARTBEAT_IVL: BEAT,
        zmq.HEARTBEAT_TIMEOUT: SILENCE,
        zmq.HANDSHAKE_IVL: 5000,
    }.items():
        socket.setsockopt(option, value)


def read_token(path: str | os.PathLike[str] | None, make: bool = False) -> str:
    """The token in a file, ``~/.config/l1flow/token`` by default; made there, for its owner's eyes, if asked to.

    Raises:
        ConfigError: no such file.
    """
    file = Path(TOKEN if path is None else path).expanduser()
    if make and not file.exists():
        output_path(file).parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(secrets.token_urlsafe(32) + "\n")
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"expected the policy server's token in {file}; `l1flow serve` makes one") from None
