"""Ways to build a network without paying for it: its outline alone, or the network without its random weights."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from l1flow_agents import limits
from l1flow_agents.errors import ConfigError

_RANDOM = {nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_}  # what torch's layers begin with


@contextmanager
def outlined() -> Iterator[None]:
    """Modules built here have names and shapes but no memory (torch's meta device).

    Raises:
        ConfigError: from the layer with which a network passes `limits.WEIGHTS`, `limits.BUFFERS` or
            `limits.TENSORS`, however many are still to come.
    """
    thread, tensors, weights, buffers = threading.get_ident(), 0, 0, 0

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal tensors, weights, buffers
        if tensor is None or threading.get_ident() != thread:  # the hooks see every thread's modules
            return
        tensors, weights = tensors + 1, weights + tensor.numel()
        buffers += 0 if isinstance(tensor, nn.Parameter) else tensor.numel()
        if tensors > limits.TENSORS or weights > limits.WEIGHTS or buffers > limits.BUFFERS:
            raise ConfigError(
                f"a network of more than {limits.TENSORS} tensors, {limits.WEIGHTS} weights or "
                f"{limits.BUFFERS} constants"
            )

    hooks = [
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    ]
    try:
        with torch.device("meta"), unfilled():
            yield
    finally:
        for hook in hooks:
            hook.remove()


class unfilled(TorchFunctionMode):
    """Layers built here do not draw their first weights, which takes longer than reading trained ones."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _RANDOM:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)
