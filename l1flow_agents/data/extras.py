"""Packages that only some formats need: imported when one of these is read, or named in one line."""

from __future__ import annotations

import importlib
from typing import Any

from l1flow_agents.errors import DatasetError


def needed(module: str, extra: str) -> Any:
    """The module.

    Raises:
        DatasetError: it is not installed; names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise DatasetError(
            f"{package} is needed for this and cannot be imported ({error}); pip install 'l1flow-agents[{extra}]'"
        ) from None
