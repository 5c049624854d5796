"""Several processes on one NVIDIA GPU: by its Multi-Process Service their kernels run at once, otherwise in turn."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONTROL = "nvidia-cuda-mps-control"
PIPE, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
TRIAL = "import torch; torch.ones(1, device='cuda').sum().item()"
log = logging.getLogger(__name__)


@contextmanager
def shared_gpu(n_processes: int) -> Iterator[None]:
    """Processes started here share the GPU by MPS, where the driver has it and it works; what was started is stopped.

    A service that already runs is left alone and used. One that is started here has a folder of its own, so that no
    other process of the machine is concerned.
    """
    if n_processes < 2 or shutil.which(CONTROL) is None or is_running():
        yield
        return
    with tempfile.TemporaryDirectory(prefix="l1flow-mps-", ignore_cleanup_errors=True) as folder:
        before = {name: os.environ.get(name) for name in (PIPE, LOGS)}
        os.environ.update({PIPE: folder, LOGS: folder})
        try:
            if _control(["-d"]) and works():
                log.info("GPU: shared by MPS, started here")
                yield
                return
        finally:
            _control([], "quit\n")
            _put_back(before)
    log.info("GPU: MPS does not work here; its processes take turns")
    yield


def is_running() -> bool:
    return (Path(os.environ.get(PIPE, "/tmp/nvidia-mps")) / "control").exists()


def works() -> bool:
    """A process of its own computes something, as its clients will."""
    try:
        return subprocess.run([sys.executable, "-c", TRIAL], capture_output=True, timeout=60).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _control(arguments: list[str], told: str = "") -> bool:
    try:
        silent = subprocess.DEVNULL  # no pipe: the service would keep it open
        done = subprocess.run([CONTROL, *arguments], input=told, text=True, stdout=silent, stderr=silent, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _put_back(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
