"""YAML from a file: plain values, or one line, in bounded time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from l1flow_agents import checkpoint, limits
from l1flow_agents.safe_yaml import UnreadableYaml, dump_yaml, parse_yaml, read_yaml

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12))


def refusal(text: str) -> str:
    started = time.process_time()
    with pytest.raises(UnreadableYaml) as caught:
        parse_yaml(text)
    message = str(caught.value)
    assert message.strip() and "\n" not in message and len(message) <= 2 * limits.MESSAGE
    assert time.process_time() - started < 3
    return message


@pytest.mark.parametrize(
    "text, value",
    [
        ("", None),
        ("a: [1, 2.5, -3, true, no, null, ~, text, 'quoted', 1e-4, 1.0e-4, .inf]", None),
        ("day: 2025-11-28", {"day": "2025-11-28"}),
        ("? 1\n: {2: 3}", {1: {2: 3}}),
        ("n: " + "9" * 100, {"n": int("9" * 100)}),
        ("x: " + "[" * 31 + "]" * 31, None),
        ("! text", "text"),
        ("a: 1:59:59.5", {"a": 7199.5}),
    ],
)
def test_plain_values(text, value):
    read = parse_yaml(text)
    assert read == value or value is None
    assert parse_yaml(dump_yaml(read)) == read


@pytest.mark.parametrize(
    "text, reason",
    [
        (BOMB, "line 1: an anchor or alias"),
        ("a: &a [*a]", "anchor or alias"),
        ("a: *b", "anchor or alias"),
        ("a: !!python/object/apply:os.system [ls]", "line 1: a tag 'tag:yaml.org,2002:python/object/apply:os.system'"),
        ("a: 1\nb: !!binary aGk=", "line 2: a tag"),
        ("a: !" + "x" * 100_000 + " 1", "a tag"),
        ("%YAML 1.1\n---\na: 1", "a directive"),
        ("".join(f"%TAG !a{k}! b\n" for k in range(50_000)) + "---\na: 1", "a directive"),
        ("a: 1\nb: 2\na: 3", "same key twice"),
        ("{1: a, 1.0: b}", "same key twice"),
        ("<<: {a: 1}", "merge"),
        ("[a, b]: 1", "unhashable"),
        ("a: " + "9" * 5000, "a number of 5000 characters"),
        ("a: 0x" + "f" * 5000, "a number of 5002 characters"),
        ("a: 1" + ":1" * 200_000, "a number of 400001 characters"),
        ("a: 1" + ":1" * 200_000 + ".5", "a number of"),
        ("[" * 1_000_000, "more than 32 lists or mappings"),
        ("{a: " * 200_000, "more than 32 lists or mappings"),
        ("- " * 500_000, "more than 32 lists or mappings"),
        ("? " * 500_000, "more than 32 lists or mappings"),
        ("[" + "1," * 400_000 + "1]", "more than 100000 values"),
        ("x" * (limits.YAML_BYTES + 1), "larger than"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("a: \x07", "control characters"),
        ("a: \udcff", "surrogates not allowed"),
        ("a: [1", "while parsing a flow sequence"),
    ],
    ids=range(26),
)
def test_refused_in_one_line_and_little_time(text, reason):
    assert reason in refusal(text)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "loop", "large", "binary"])
def test_files_that_are_none(tmp_path, kind):
    path = tmp_path / "file.yaml"
    {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "device": lambda: path.symlink_to("/dev/zero"),
        "loop": lambda: path.symlink_to(path),
        "large": lambda: (path.touch(), os.truncate(path, 100 << 30)),
        "binary": lambda: path.write_bytes(b"\xff\xfe\x80PK"),
    }[kind]()
    with pytest.raises(UnreadableYaml):
        read_yaml(path)


@pytest.mark.parametrize("path", ["", "a\0b", "missing.yaml"])
def test_names_of_no_file(path):
    with pytest.raises(FileNotFoundError):
        read_yaml(path)


def test_a_name_that_is_too_long():
    with pytest.raises(UnreadableYaml, match="too long"):
        read_yaml("x" * 5000)


def test_a_value_used_twice_is_written_twice():
    shared = [1, 2]
    text = dump_yaml({"one": shared, "other": shared})
    assert "&" not in text and parse_yaml(text) == {"one": [1, 2], "other": [1, 2]}


@pytest.mark.parametrize("value", [{"a": object()}, {"a": {1, 2}}, ["x" * 1000] * 1100, {"a": 10**200}])
def test_what_could_not_be_read_is_not_written(value):
    with pytest.raises(UnreadableYaml):
        dump_yaml(value)


def test_our_own_files_are_read():
    paths = [*Path(checkpoint.__file__).parent.rglob("*.yaml")]
    assert len(paths) > 10
    for path in paths:
        assert isinstance(read_yaml(path), dict), path
