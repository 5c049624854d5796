"""Where tensors live."""

from __future__ import annotations

import torch

from l1flow_agents.errors import ConfigError


def pick_device(device: str | torch.device) -> torch.device:
    """The device of that name, tried; ``auto`` takes a GPU where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
        torch.empty(0, device=picked)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from None
    if picked.type == "meta":
        raise ConfigError("device 'meta' cannot be used: tensors have no numbers there")
    return picked
