"""Kinds of values that a setting may have, for the annotations of dataclasses and signatures.

An annotation such as ``width: Size = 512`` says type and range in one place; `checks` holds what a user wrote against
it, and ``l1flow train --help`` shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from l1flow_agents import limits

LARGEST = 2**53  # whole numbers up to here are exact in every format that a setting passes through


def _no_truth(value: Any) -> Any:
    """Pydantic would read true as 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("must be odd")
    return value


def _one_line(value: str) -> str:
    if not value.isprintable() or len(value) > 4096:
        raise ValueError("must be one line of printable text")
    return value


def _plain(value: Any, depth: int = 0) -> Any:
    """Values that any file format can hold, and no bombs."""
    if depth > 16:
        raise ValueError("must not be nested that deep")
    if isinstance(value, Mapping):
        for name, part in value.items():
            if not isinstance(name, str):
                raise ValueError("must have names that are text")
            _plain(name)
            _plain(part, depth + 1)
    elif isinstance(value, list | tuple):
        for part in value:
            _plain(part, depth + 1)
    elif isinstance(value, str):
        _one_line(value)
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
        raise ValueError(f"must hold whole numbers of at most {LARGEST}")
    elif isinstance(value, float) and not abs(value) < float("inf"):
        raise ValueError("must hold finite numbers")
    elif not isinstance(value, bool | int | float | None):
        raise ValueError(f"must hold text, numbers, lists and mappings, not {type(value).__name__}")
    return value


_number = BeforeValidator(_no_truth)

Whole = Annotated[int, Field(ge=0, le=LARGEST), _number]
"""0, 1, 2..."""
Count = Annotated[int, Field(ge=1, le=LARGEST), _number]
"""1, 2, 3..."""
Few = Annotated[int, Field(ge=1, le=limits.FEW), _number]
"""A count that memory or time is multiplied by."""
Size = Annotated[int, Field(ge=1, le=65_536), _number]
"""Of one axis of a network's weights."""
OddSize = Annotated[int, Field(ge=1, le=65_535), AfterValidator(_odd), _number]
"""Of a convolution that keeps a sequence's length."""
Levels = Annotated[Sequence[Size], Field(min_length=1, max_length=16)]
"""Channels of each level of a network."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), _number]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), _number]
Share = Annotated[float, Field(ge=0, lt=1), _number]
"""[0, 1)."""
Part = Annotated[float, Field(gt=0, le=1), _number]
"""(0, 1]."""
Text = Annotated[str, Field(min_length=1), AfterValidator(_one_line)]
"""One printable line: a name or a path."""
Settings = Annotated[Mapping[str, Any], AfterValidator(_plain)]
"""Keyword arguments, which the class that takes them checks."""
