"""Build a network from a file without paying for it: first its outline, and memory once it is known to fit."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
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
_MADE = {torch.zeros, torch.ones, torch.full, torch.arange, torch.linspace, torch.eye, torch.rand, torch.randn}
_TOO_LARGE = f"a network of more than {limits.TENSORS} tensors, {limits.WEIGHTS} weights or {limits.BUFFERS} constants"


class outlined(TorchFunctionMode):
    """Modules built here have names and shapes, but their weights have no memory until `materialize` gives it to them.

    Weights lie on torch's meta device, and no random ones are drawn. Constants are made, up to `limits.BUFFERS` numbers
    each and together.

    Raises:
        ConfigError: from the layer with which a network passes `limits.WEIGHTS`, `limits.BUFFERS` or
            `limits.TENSORS`, however many are still to come.
    """

    def __enter__(self) -> outlined:
        self.thread, self.tensors, self.weights, self.buffers = threading.get_ident(), 0, 0, 0
        self.hooks = [
            register_module_parameter_registration_hook(self.count),
            register_module_buffer_registration_hook(self.count),
        ]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        for hook in self.hooks:
            hook.remove()
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty:  # a layer's weights; arithmetic on the meta device would take a second to import
            return func(*args, **{**kwargs, "device": "meta"})
        if func in _RANDOM:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        if func is Tensor.to and args[0].is_meta and "memory_format" not in kwargs:
            return args[0]  # to the device where it will have memory
        if func in _MADE and math.prod(_sizes(args)) > limits.BUFFERS:
            raise ConfigError(_TOO_LARGE)
        return func(*args, **kwargs)

    def count(self, module: nn.Module, name: str, tensor: Tensor | None) -> None:
        if tensor is None or threading.get_ident() != self.thread:  # the hooks see every thread's modules
            return
        self.tensors, self.weights = self.tensors + 1, self.weights + tensor.numel()
        self.buffers += 0 if isinstance(tensor, nn.Parameter) else tensor.numel()
        if self.tensors > limits.TENSORS or self.weights > limits.WEIGHTS or self.buffers > limits.BUFFERS:
            raise ConfigError(_TOO_LARGE)


def _sizes(args: Sequence[Any]) -> Iterator[int]:
    """The whole numbers among the arguments of a function that makes a tensor."""
    for arg in args:
        yield from (n for n in (arg if isinstance(arg, list | tuple) else [arg]) if isinstance(n, int) and n > 0)


def materialize(module: nn.Module, device: torch.device) -> None:
    """Give memory, not yet filled, to the weights of an outline; the layout of each in memory stays what it is."""
    for part in module.modules():
        for name, weight in part.named_parameters(recurse=False):
            if weight.is_meta:
                made = torch.empty_strided(weight.shape, weight.stride(), dtype=weight.dtype, device=device)
                part.register_parameter(name, nn.Parameter(made, requires_grad=weight.requires_grad))
