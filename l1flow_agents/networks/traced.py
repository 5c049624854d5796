"""A network without Python between its operations: what a plan on the CPU mostly waits for in a small batch."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

MOST_ROWS = 8  # of a batch; with more of them the arithmetic is what takes time
CALLS_BEFORE = 50  # of one batch size, from when on it pays to trace the network for it (0.05 to 0.5 s)
RUNS_BEFORE = 3  # of a trace, in which torch makes its own changes to it
TORCH = Path(torch.__file__).parent
log = logging.getLogger(__name__)

Evaluation = Callable[[Tensor, Tensor, Tensor], Tensor]


class TracedNetwork:
    """Evaluates a network on the CPU to the bit as it does itself; a batch size that comes often is traced.

    A trace is a list of operations on the network's own weights, so that what training writes there counts at once. It
    is used only if its results have the network's bits, and thrown away where a weight is another tensor or a layer
    another module; a network with hooks has none.
    ``torch.jit.trace`` is deprecated for ``torch.compile``, which needs a C++ compiler and a minute; where it is
    missing, or a network cannot be traced, the network is called as it is.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network, self._usable = network, True
        self._calls: dict[int, int] = {}  # by batch size
        self._traces: dict[int, Evaluation] = {}
        self._parts: list[tuple[dict[str, Any], str, Any]] = []  # holder, name, and what was traced
        self._hooks: list[Any] = []  # the dicts of all modules
        self._tracing = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return TracedNetwork, (self.network,)  # a copy has weights of its own

    def __call__(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        n = len(x)
        if not (self._usable and n <= MOST_ROWS and x.is_cpu) or self.network.training:
            out: Tensor = self.network(x, t, cond)
            return out
        if any(self._hooks) or any(holder.get(name) is not part for holder, name, part in self._parts):
            self._traces, self._parts, self._hooks, self._calls = {}, [], [], {}
        if (trace := self._traces.get(n)) is not None:
            return trace(x, t, cond)
        self._calls[n] = self._calls.get(n, 0) + 1
        expected: Tensor = self.network(x, t, cond)
        if self._calls[n] > CALLS_BEFORE and self._tracing.acquire(blocking=False):
            try:
                self._trace(n, (x, t, cond), expected)
            finally:
                self._tracing.release()
        return expected

    def _trace(self, n: int, given: tuple[Tensor, Tensor, Tensor], expected: Tensor) -> None:
        modules = [*self.network.modules()]
        hooks = [held for module in modules for held in (module._forward_hooks, module._forward_pre_hooks)]
        if any(hooks):
            self._calls[n] = 0
            return
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                trace = torch.jit.trace(self.network, given, check_trace=False)  # type: ignore[no-untyped-call]
            for warning in warned:  # a value decides what is computed; in torch's own layers it is a shape, which stays
                if warning.category.__name__ == "TracerWarning" and TORCH not in Path(warning.filename).parents:
                    raise ValueError(str(warning.message))
            same = [torch.equal(trace(*given), expected) for _ in range(RUNS_BEFORE)]
        except Exception as error:  # whatever a network of another package raises, or a torch without traces
            self._refuse((str(error).strip() or type(error).__name__).splitlines()[0])
            return
        if not all(same):
            self._refuse("the trace computes other bits")
            return
        self._hooks = hooks
        self._parts = [
            (holder, name, part)
            for module in modules
            for holder in (module._parameters, module._buffers, module._modules)
            for name, part in holder.items()
        ]
        self._traces[n] = trace

    def _refuse(self, reason: str) -> None:
        self._usable = False
        log.info("plans are made by the network as it is, and take longer: %s", reason)
