"""In which precision a training multiplies."""

from __future__ import annotations

from typing import Any, Literal

import torch

Chosen = Literal["float32", "bfloat16"]
Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS: dict[Chosen, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FAST_ON = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}  # benchmarks/results/precision.json


def decide(precision: Precision, device: torch.device, earlier: Chosen | None = None) -> tuple[Chosen, str]:
    """What ``auto`` means on ``device``, and why; any other ``precision`` is taken as it is.

    Args:
        earlier: precision of the run that is continued, which ``auto`` keeps on whatever machine.
    """
    if precision != "auto":
        return precision, "as set"
    if earlier is not None:
        return earlier, "as this run began"
    return fastest(device)


def fastest(device: torch.device) -> tuple[Chosen, str]:
    """The faster precision of a training step, and why.

    bfloat16 pays where the processor multiplies it; where it does not, a step takes 7 to 21 times as long (AVX2).
    """
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bfloat16", "this GPU multiplies it"
        return "float32", "this GPU does not multiply bfloat16"
    if device.type != "cpu":
        return "float32", f"bfloat16 was never measured on {device.type}"
    tell = getattr(torch.cpu, "get_capabilities", dict)  # older versions do not tell
    capabilities: dict[str, Any] = tell()
    for name, words in FAST_ON.items():
        if capabilities.get(name):
            return "bfloat16", f"this processor has {words}"
    return "float32", f"this processor has no {' and no '.join(FAST_ON.values())}"
