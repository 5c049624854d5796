"""Tensors from a safetensors file: compared with the network that wants them before any of them is read."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from l1flow_agents import limits
from l1flow_agents.errors import CheckpointError
from l1flow_agents.files import open_regular
from l1flow_agents.safe_yaml import one_line, quoted

FLOATS = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
OTHERS = {"BOOL": torch.bool, "U8": torch.uint8, "I32": torch.int32, "I64": torch.int64}
BLOCK = 1 << 20


def check_fits(path: Path, target: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless the file's names, shapes and kinds of number are those of ``target``.

    Reads the header alone; ``target`` may lie on torch's meta device.
    """
    _check_size(path, target)
    try:
        with safe_open(path, "pt") as file:
            found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
            described = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in found.items()}
    except (SafetensorError, OSError) as error:
        raise _not_whole(path, error) from None
    if described.keys() != target.keys():
        missing, unknown = sorted(target.keys() - described.keys()), sorted(described.keys() - target.keys())
        raise CheckpointError(
            f"{path}: weights do not fit the network; missing {missing[:3]}, unknown {quoted(unknown[:3])}"
        )
    for name, (dtype, shape) in described.items():
        wanted = target[name]
        if shape != tuple(wanted.shape):
            raise CheckpointError(f"{path}: {name!r} has shape {shape}, expected {tuple(wanted.shape)}")
        if not (dtype in FLOATS if wanted.is_floating_point() else OTHERS.get(dtype) == wanted.dtype):
            raise CheckpointError(f"{path}: {name!r} holds {dtype}, expected {wanted.dtype}")


def fill(path: Path, target: Mapping[str, Tensor]) -> None:
    """Copy the file's tensors into those of ``target``, one at a time.

    Raises:
        CheckpointError: they do not fit, the file is not whole, or a number is not finite.
    """
    check_fits(path, target)
    try:
        with safe_open(path, "pt") as file, torch.no_grad():
            for name, tensor in target.items():
                tensor.copy_(file.get_tensor(name))
                if tensor.numel() and not all(math.isfinite(end.item()) for end in tensor.aminmax()):  # passes NaN on
                    raise CheckpointError(f"{path}: {name!r} holds numbers that are not finite")
    except (SafetensorError, OSError) as error:
        raise _not_whole(path, error) from None


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read block by block."""
    digest, block = hashlib.sha256(), memoryview(bytearray(BLOCK))
    with open_regular(path) as file:
        while n := file.readinto(block):  # type: ignore[attr-defined]
            digest.update(block[:n])
    return digest.hexdigest()


def _check_size(path: Path, target: Mapping[str, Tensor]) -> None:
    """Before safetensors maps the file: its size, and the size that it gives its header."""
    numbers = sum(tensor.numel() for tensor in target.values())
    largest = 8 + limits.HEADER_BYTES + 8 * numbers
    try:
        with open_regular(path) as file:
            first, size = file.read(8) or b"", os.fstat(file.fileno()).st_size
    except OSError as error:
        raise CheckpointError(f"{path}: {one_line(error)}") from None
    header = int.from_bytes(first, "little")
    if len(first) < 8:
        raise _not_whole(path, "fewer than 8 bytes")
    if header > limits.HEADER_BYTES:
        raise _not_whole(path, f"a header of {header} bytes, expected at most {limits.HEADER_BYTES}")
    if size > largest:
        raise CheckpointError(f"{path}: {size} bytes, but the network has only {numbers} weights")


def _not_whole(path: Path, error: object) -> CheckpointError:
    reason = one_line(error) if isinstance(error, BaseException) else error
    return CheckpointError(f"{path}: not a whole safetensors file ({reason})")
