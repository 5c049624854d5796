"""In which precision a training multiplies."""

from __future__ import annotations

from typing import Any, Literal

import torch

Chosen = Literal["float32", "bfloat16"]
Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS: dict[Chosen, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


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

    As measured (benchmarks/results/README.md, Precision): bfloat16 pays with AMX, and with AVX512-BF16 on AMD's
    processors; on Intel's a step takes 1.2 to 2 times as long with AVX512-BF16 alone, 7 to 21 times with AVX2.
    """
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bfloat16", "this GPU multiplies it"
        return "float32", "this GPU does not multiply bfloat16"
    if device.type != "cpu":
        return "float32", f"bfloat16 was never measured on {device.type}"
    tell = getattr(torch.cpu, "get_capabilities", dict)  # older versions do not tell
    capabilities: dict[str, Any] = tell()
    if capabilities.get("amx_bf16"):
        return "bfloat16", "this processor has AMX"
    if capabilities.get("avx512_bf16") and "AMD" in str(capabilities.get("cpu_name")):
        return "bfloat16", "this processor is AMD's and has AVX512-BF16"
    return "float32", "this processor has no AMX and is none of AMD's with AVX512-BF16"
