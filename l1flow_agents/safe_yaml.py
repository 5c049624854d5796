"""The one way in which YAML from a file comes in: plain values, in bounded time and memory, or one line why not.

What is read is what our own files hold: null, true and false, numbers, text, lists and mappings. Anchors, aliases,
tags, directives and merge keys are refused, and so are a key that stands twice, deep nesting and endless numbers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from l1flow_agents import limits
from l1flow_agents.files import read_bounded

_Fast: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it is there


class UnreadableYaml(ValueError):
    """Text that is no YAML of plain values within `l1flow_agents.limits`; the message is one line."""


def read_yaml(path: str | os.PathLike[str], max_bytes: int = limits.YAML_BYTES) -> Any:
    """The plain values in a file.

    Raises:
        FileNotFoundError: nothing is there.
        UnreadableYaml: a folder, device or pipe, too large, not UTF-8 or not plain YAML.
    """
    try:
        return parse_yaml(read_bounded(path, max_bytes).decode(), max_bytes)
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableYaml(one_line(error)) from None


def parse_yaml(text: str, max_bytes: int = limits.YAML_BYTES) -> Any:
    """The plain values in ``text``.

    Raises:
        UnreadableYaml: says where and why.
    """
    if len(text) > max_bytes:
        raise UnreadableYaml(f"larger than {max_bytes} bytes")
    try:
        _check(text)
        return yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, UnicodeEncodeError, RecursionError) as error:
        raise UnreadableYaml(one_line(error)) from None


def dump_yaml(value: Any, width: int = 120) -> str:
    """Text that `parse_yaml` gives back as ``value``, keys in their order; a value used twice is written twice.

    Raises:
        UnreadableYaml: a value that is not plain, or more than is read.
    """
    try:
        text = yaml.dump(value, Dumper=_PlainDumper, sort_keys=False, width=width)
    except yaml.YAMLError as error:
        raise UnreadableYaml(one_line(error)) from None
    parse_yaml(text)
    return text


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks and of bearable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limits.MESSAGE else f"{text[: limits.MESSAGE]} ..."


def quoted(value: Any) -> str:
    """``repr(value)`` of bearable length."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= limits.MESSAGE else f"{text[: limits.MESSAGE]} ..."


def _check(text: str) -> None:
    """Walk through the events, which build nothing, and stop at the first that our files never have."""
    if re.search(r"^%", text, re.MULTILINE):  # libyaml compares each of these with all before it
        raise UnreadableYaml("a line that begins with %, a directive, which is not read")
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Fast)):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise UnreadableYaml(f"{_where(event)}: an anchor or alias, which is not read; write the value itself")
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            raise UnreadableYaml(f"{_where(event)}: a tag {tag[: limits.MESSAGE]!r}, which is not read")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > limits.YAML_DEPTH:
            raise UnreadableYaml(f"{_where(event)}: more than {limits.YAML_DEPTH} lists or mappings inside each other")
        if count > limits.YAML_EVENTS:
            raise UnreadableYaml(f"more than {limits.YAML_EVENTS} values")


def _where(event: yaml.Event) -> str:
    return f"line {event.start_mark.line + 1}" if event.start_mark else "somewhere"


class _PlainLoader(_Fast):  # type: ignore[valid-type, misc]  # a class chosen at run time
    """Constructs what JSON knows, and nothing else."""

    def number(self, node: yaml.ScalarNode) -> int | float:
        if len(node.value) > limits.YAML_DIGITS:
            raise ConstructorError(None, None, f"a number of {len(node.value)} characters", node.start_mark)
        construct = self.construct_yaml_int if node.tag.endswith(":int") else self.construct_yaml_float
        try:
            number: int | float = construct(node)
            return number
        except (ValueError, ArithmeticError) as error:
            raise ConstructorError(None, None, f"{node.value!r} is no number ({error})", node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping = yaml.constructor.BaseConstructor.construct_mapping(self, node, deep)  # without merging `<<`
        if len(mapping) < len(node.value):
            raise ConstructorError(None, None, "a mapping with the same key twice", node.start_mark)
        return mapping


_TAG = "tag:yaml.org,2002:"
_PlainLoader.yaml_constructors = {
    f"{_TAG}null": yaml.SafeLoader.construct_yaml_null,
    f"{_TAG}bool": yaml.SafeLoader.construct_yaml_bool,
    f"{_TAG}int": _PlainLoader.number,
    f"{_TAG}float": _PlainLoader.number,
    f"{_TAG}str": yaml.SafeLoader.construct_yaml_str,
    f"{_TAG}timestamp": yaml.SafeLoader.construct_yaml_str,  # 2025-11-28 is text
    f"{_TAG}seq": yaml.SafeLoader.construct_yaml_seq,
    f"{_TAG}map": yaml.SafeLoader.construct_yaml_map,
    None: yaml.SafeLoader.construct_undefined,
}


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True
