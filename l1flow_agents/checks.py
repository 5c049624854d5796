"""What a user wrote, held against types: every mistake is one line of a ConfigError, with its place.

Pydantic does the checking: its TypeAdapter takes the dataclasses and signatures as they are, converts what YAML reads
as text (1e-4), and reports every mistake with its place. draccus stops at the first mistake, reads true as 1 and knows
no ranges; jsonargparse takes null for a part; tyro reads command lines, not files, and ends the process on a mistake.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from l1flow_agents.errors import ConfigError
from l1flow_agents.names import check_names, shown

T = TypeVar("T")

DATACLASS = ConfigDict(extra="forbid", use_attribute_docstrings=True)
"""``__pydantic_config__`` of a dataclass that `read_as` reads: no unknown names, and field docstrings for the help."""
SHOWN = 5  # mistakes in a message
KINDS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of less than 4,300 digits",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "string_unicode": "text",
    "string_too_short": "text that is not empty",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "too_long": "a list of at most {max_length}",
    "mapping_type": "a mapping",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping of settings",
    "greater_than": "greater than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "literal_error": "one of {expected}",
    "is_instance_of": "{class}",
}


def read_as(kind: Any, value: Any, where: str = "", name: str = "") -> Any:
    """``value`` as ``kind``: a dataclass, or any annotation.

    Args:
        where: what the message begins with, such as a file's name.
        name: of the value itself.

    Raises:
        ConfigError: names every setting that is wrong, what was expected and what came.
    """
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        mistakes = [_told(kind, name, one) for one in error.errors(include_url=False)]
        more = [f"and {len(mistakes) - SHOWN} more"] if len(mistakes) > SHOWN else []
        start = f"{where}: " if where else ""
        raise ConfigError(start + "; ".join(dict.fromkeys([*mistakes[:SHOWN], *more]))) from None


def checked_arguments(
    function: Callable[..., Any], settings: Mapping[str, Any], what: str, n_given: int = 0
) -> dict[str, Any]:
    """``settings`` as keyword arguments of ``function``, whose first ``n_given`` parameters are taken.

    Raises:
        ConfigError: an unknown name, or a value that is not of its annotation's kind.
    """
    parameters = list(inspect.signature(function).parameters.values())[n_given:]
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
        check_names(settings, [parameter.name for parameter in parameters], what)
    kinds = _kinds(function)
    return {name: read_as(kinds.get(name, Any), value, what, name) for name, value in settings.items()}


def build(cls: Callable[..., T], *args: Any, what: str, settings: Mapping[str, Any] | None) -> T:
    """``cls(*args, **settings)``, with ``settings`` checked against the signature."""
    return cls(*args, **checked_arguments(cls, settings or {}, what, len(args)))


@lru_cache(maxsize=512)
def _cached(kind: Any) -> TypeAdapter:
    return TypeAdapter(kind)


def _adapter(kind: Any) -> TypeAdapter:
    try:
        return _cached(kind)
    except TypeError:  # an annotation that cannot be hashed
        return TypeAdapter(kind)
    except PydanticUserError:  # one that pydantic does not know, of somebody's own class
        return TypeAdapter(Any)


def _kinds(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of the parameters, as far as they can be read: those of other packages need not be."""
    target = function.__init__ if inspect.isclass(function) else function
    try:
        return typing.get_type_hints(target, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def _told(kind: Any, name: str, error: ErrorDetails) -> str:
    """One mistake as ``training.batch_size must be at least 1, got 0``."""
    location = [*filter(None, [name]), *map(str, error["loc"])]
    place = ".".join(shown(part)[1:-1] for part in location if part != "[key]") or "it"
    context = error.get("ctx") or {}
    if error["type"] == "unexpected_keyword_argument":
        return _unknown(kind, name, [str(part) for part in error["loc"]])
    if error["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{place} is missing"
    if error["type"] == "value_error":
        raised = str(context["error"])
        if not raised.startswith("must "):  # a rule between settings, which names them
            return f"{'.'.join(location)}: {raised}" if location else raised
        return f"{place} {raised}, got {shown(error['input'])}"
    if error["type"] == "is_instance_of":
        context["class"] = {"Sequence": "a list", "Mapping": "a mapping"}.get(context["class"], context["class"])
    expected = KINDS.get(error["type"], error["msg"].removeprefix("Input should be ")).format(**context)
    return f"{place} must be {expected}, got {shown(error['input'])}"


def _unknown(kind: Any, name: str, location: list[str]) -> str:
    """The message about a name that no field of the dataclass at its place has."""
    *parents, unknown = location
    for parent in parents:
        hint = typing.get_type_hints(kind).get(parent)
        kind = next((part for part in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(part)), None)
    owner = ".".join(filter(None, [name, *parents])) or "it"
    try:
        check_names([unknown], [field.name for field in dataclasses.fields(kind)], owner)
    except ConfigError as error:
        return str(error)
    return f"{owner} has no setting {shown(unknown)}"
