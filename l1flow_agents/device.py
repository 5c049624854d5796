"""Where tensors live, and how many threads compute with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Torch's threads within the block, in this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
