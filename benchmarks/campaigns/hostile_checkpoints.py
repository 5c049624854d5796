"""Checkpoint folders that somebody might make to hurt: mutations of real ones, each from a seed of its own."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from gymnasium import spaces

from l1flow_agents import L1FlowAgent

CONFIG, WEIGHTS = "config.yaml", "model.safetensors"
CANARY = "canary"  # what hostile files try to make, in the working directory
Rng = np.random.Generator

NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"width": 16, "depth": 1, "time_dim": 8},
    "unet": {"dims": [8, 16], "time_dim": 8},
    "transformer": {"width": 16, "depth": 1, "n_heads": 2},
}
SETTINGS = {
    "network_kwargs": [
        "width",
        "depth",
        "expansion",
        "dropout",
        "time_dim",
        "dims",
        "kernel_size",
        "n_groups",
        "n_heads",
    ],
    "encoder_kwargs": ["fourier", "quaternions", "turns", "channels", "n_keypoints", "feature_dim", "crop", "bf16"],
    "method_kwargs": ["loss", "space", "time", "sampler", "t_mid", "n_steps", "start_std", "dsm_weight", "stochastic"],
}
METHODS = ["l1flow", "flow_matching", "ddpm", "l1_regression", "edm", "consistency", "onedp", "none"]


@dataclass
class Raw:
    """Text that stands in the YAML as it is, where a dumped value could not say it."""

    text: str


VALUES: list[Any] = [
    *[None, True, False, 0, -1, 1, 2, 7, 64, 4096, 100_000, 10**6, 10**9, 2**31, 2**63, 2**64, 10**99],
    *[0.5, -0.0, 1.5, 1e-300, 1e308, float("nan"), float("inf"), float("-inf")],
    *[
        "",
        "text",
        "1",
        "1e5",
        "x" * 5000,
        "%9999999999d",
        "%s" * 100,
        "a\0b",
        "../../etc/passwd",
        "os:system",
        "\u2028",
    ],
    *["{0.__class__}", "é" * 300, "l1flow_agents:PushT-v0", "float32", "S1000000000", "f4,f4", "object"],
    *[[], [1], [0], [-1], [1.5], ["x"], [[]], [None], [10**9], [10**5, 10**5], [1] * 100, [2] * 2000, [[1, 2], [3]]],
    *[{}, {"a": 1}, {1: 2}, {"": None}, {"shape": [3]}, {"pos": [0]}, {"pos": [[None, 0, 1]]}, {"pos": ["%9d"]}],
    *[
        Raw("9" * 5000),
        Raw("0x" + "f" * 5000),
        Raw("1" + ":1" * 3000),
        Raw("1" + ":59" * 400 + ".5"),
        Raw("2024-01-01"),
    ],
    *[
        Raw("2024-99-99"),
        Raw("!!binary aGk="),
        Raw("!!set {a, b}"),
        Raw("!!int x"),
        Raw("!!timestamp x"),
        Raw("!!int ''"),
    ],
    *[Raw("!!bool perhaps"), Raw("!!float ''"), Raw("*nothing"), Raw("&a [1]"), Raw("=")],
    Raw(f"!!python/object/apply:os.system ['touch {CANARY}']"),
    Raw("!!python/name:os.system"),
    Raw("[" * 40 + "]" * 40),
]


def make_sources(folder: Path) -> list[Path]:
    """Real checkpoints, one a network: pictures and numbers, numbers, and a bare box."""
    picture: dict[str, spaces.Space[Any]] = {
        "pos": spaces.Box(-1, 1, (3,)),
        "image": spaces.Box(0, 255, (16, 16, 3), np.uint8),
    }
    seen = [spaces.Dict(picture), spaces.Box(-1, 1, (5,)), spaces.Dict({"pos": picture["pos"]})]
    action = spaces.Box(np.array([-0.5, 0], np.float32), np.array([0.5, 2], np.float32))
    encoder = {"channels": [8, 8], "n_keypoints": 4, "feature_dim": 6}
    for (network, settings), observed in zip(NETWORKS.items(), seen, strict=True):
        made: dict[str, Any] = {"network_kwargs": settings, "encoder_kwargs": encoder, "device": "cpu"}
        L1FlowAgent(network, (observed, action), **made).save(folder / network)
    return [folder / network for network in NETWORKS]


def make_case(number: int, seed: int, sources: list[Path], folder: Path) -> tuple[str, Any]:
    """Make ``folder`` a mutation that (seed, number) determine; its kind, and what is to be given to `load`."""
    rng = np.random.default_rng((seed, number))
    kinds, shares = zip(*KINDS.values(), strict=True)
    kind = list(KINDS)[rng.choice(len(kinds), p=np.array(shares) / sum(shares))]
    source = sources[rng.integers(len(sources))]
    shutil.copytree(source, folder)
    name = KINDS[kind][0](rng, folder)
    return kind, folder if name is None else name


def pick(rng: Rng, choices: list[Any]) -> Any:
    return copy.deepcopy(choices[rng.integers(len(choices))])


# ---- the configuration --------------------------------------------------------------------------------------------


def read(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((folder / CONFIG).read_text())
    return config


def write(folder: Path, config: dict[str, Any]) -> None:
    raws: list[str] = []

    def stored(value: Any) -> Any:
        if isinstance(value, Raw):
            raws.append(value.text)
            return f"RAW{len(raws) - 1}RAW"
        if isinstance(value, dict):
            return {key: stored(part) for key, part in value.items()}
        return [stored(part) for part in value] if isinstance(value, list) else value

    text = yaml.safe_dump(stored(config), sort_keys=False)
    for k, raw in enumerate(raws):
        text = text.replace(f"RAW{k}RAW", raw)
    (folder / CONFIG).write_text(text, errors="surrogatepass")


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in nested dicts and lists."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


def any_value(rng: Rng, folder: Path) -> None:
    config = read(folder)
    for _ in range(rng.integers(1, 3)):
        container, key = pick_place(rng, config)
        container[key] = pick(rng, VALUES)
    write(folder, config)


def pick_place(rng: Rng, config: dict[str, Any]) -> tuple[Any, Any]:
    found = places(config)
    return found[rng.integers(len(found))]


def any_key(rng: Rng, folder: Path) -> None:
    """Drop, rename or add a key, or exchange two values."""
    config = read(folder)
    container, key = pick_place(rng, config)
    what = rng.integers(4)
    if what == 0:
        del container[key]
    elif what == 1 and isinstance(container, dict):
        container[pick(rng, [1, None, "", "x" * 300, "a.b", "a\0", "keys", "action", "seed", "env", "__class__"])] = (
            container.pop(key)
        )
    elif what == 2 and isinstance(container, dict):
        container[pick(rng, ["extra", "device", "env", "horizon", "__init__", 2])] = pick(rng, VALUES)
    else:
        other, there = pick_place(rng, config)
        container[key], other[there] = copy.deepcopy(other[there]), copy.deepcopy(container[key])
    write(folder, config)


def setting(rng: Rng, folder: Path) -> None:
    """A setting of the network, the encoder, the method, or a length."""
    config = read(folder)
    agent = config["agent"]
    for _ in range(rng.integers(1, 3)):
        part = pick(rng, [*SETTINGS, "lengths", "method"])
        if part == "lengths":
            agent[pick(rng, ["horizon", "n_obs_steps", "n_action_steps"])] = pick(rng, VALUES)
        elif part == "method":
            agent["method"] = pick(rng, METHODS)
        else:
            agent[part][pick(rng, SETTINGS[part])] = pick(rng, VALUES)
    if rng.random() < 0.2:
        agent["horizon"], agent["n_obs_steps"] = int(rng.integers(1, 200_000)), int(rng.integers(1, 1000))
    write(folder, config)


def space(rng: Rng, folder: Path) -> None:
    config = read(folder)
    name = pick(rng, list(config["observation_space"]))
    box = config["action_space"] if rng.random() < 0.3 else config["observation_space"][name]
    huge = [[10**9], [10**5, 10**5], [3000, 3000, 3], [1] * 70, [2**40, 0], [1] * 9, [0], [-1, -1], [3, 10**7]]
    what = rng.integers(4)
    if what == 0:
        box["shape"] = pick(rng, huge)
    elif what == 1:
        box["dtype"] = pick(
            rng, ["S1000000000", "U9", "O", "f4,f4", "complex64", "m8", "float64", "uint8", "V10", ">f4"]
        )
    elif what == 2:
        box[pick(rng, ["low", "high"])] = pick(rng, VALUES)
    else:
        config["observation_space"] = {f"key{k}": copy.deepcopy(box) for k in range(int(rng.integers(2, 4000)))}
    write(folder, config)


def text(rng: Rng, folder: Path) -> None:
    """YAML that is more than it seems."""
    whole = (folder / CONFIG).read_text()
    n = int(rng.integers(8, 11))
    bomb = "a0: &a0 [lol, lol]\n" + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, n))
    merged = "m0: &m0 {x: 1}\n" + "".join(f"m{k}: &m{k} {{<<: [*m{k - 1}, *m{k - 1}]}}\n" for k in range(1, 26))
    (folder / CONFIG).write_text(
        pick(
            rng,
            [
                bomb + whole + f"score: *a{n - 1}\n",
                bomb + whole.replace("network_kwargs:\n", f"network_kwargs:\n    dims: *a{n - 1}\n"),
                bomb + f"observation_space: *a{n - 1}\naction_space: {{}}\n" + "format: 1\nagent: {}\nenv: {}\n"
                "weights_sha256: x\n",
                merged + whole,
                whole + "loop: &loop [*loop]\n",
                whole.replace("env:\n", "env: &env\n") + "extra: *env\n",
                "[" * 100_000,
                "{a: " * 20_000,
                "- " * 50_000,
                "? " * 50_000,
                "".join(f"%TAG !a{k}! b\n" for k in range(20_000)) + "---\n" + whole,
                "%YAML 9.9\n---\n" + whole,
                whole + "format: 1\n",
                whole + "more: 1" + ":1" * 200_000 + "\n",
                whole + "more: " + "9" * int(rng.integers(4000, 500_000)) + "\n",
                whole + "more: [" + "1," * 400_000 + "1]\n",
                whole + "".join(f"k{k}: {k}\n" for k in range(60_000)),
                whole + "more: " + "x" * 3_000_000 + "\n",
                whole + "---\n" + whole,
                whole + "...\n---\n!!python/object/new:os.system [x]\n",
                whole + "<<: {format: 1}\n",
                whole + "? [a, b]\n: c\n",
                whole + "? {a: b}\n: c\n",
                whole.replace("\n", "\r"),
                "\ufeff" + whole,
                whole + "more: \x07\n",
                whole + "\tmore: 1\n",
                whole + f"more: !!python/object/apply:subprocess.run [['touch', '{CANARY}']]\n",
                whole + f"more: !!python/object/apply:builtins.eval [\"open('{CANARY}', 'w')\"]\n",
                whole.replace("id: null", f"id: {CANARY}_module:Some-v0"),
            ],
        )
    )


def config_bytes(rng: Rng, folder: Path) -> None:
    damage(rng, folder / CONFIG)


def damage(rng: Rng, path: Path) -> None:
    content = bytearray(path.read_bytes())
    what, at = rng.integers(5), int(rng.integers(len(content)))
    if what == 0:
        del content[at:]
    elif what == 1:
        content[at] ^= 1 << int(rng.integers(8))
    elif what == 2:
        content[at:at] = rng.bytes(int(rng.integers(1, 200)))
    elif what == 3:
        del content[at : at + int(rng.integers(1, 200))]
    else:
        content = bytearray(rng.bytes(int(rng.integers(1, 5000))))
    path.write_bytes(content)


# ---- the weights --------------------------------------------------------------------------------------------------


def seal(folder: Path) -> None:
    """Record the hash of the altered weights, as someone would who altered them on purpose."""
    config = read(folder)
    config["weights_sha256"] = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    write(folder, config)


def weights_bytes(rng: Rng, folder: Path) -> None:
    damage(rng, folder / WEIGHTS)
    if rng.random() < 0.6:
        seal(folder)


def weights_header(rng: Rng, folder: Path) -> None:  # noqa: C901  # one alternative after another
    content = (folder / WEIGHTS).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    names = [name for name in header if name != "__metadata__"]
    one, other = header[names[rng.integers(len(names))]], header[names[rng.integers(len(names))]]
    written: str | None = None
    what = rng.integers(16)
    if what == 0:
        one["data_offsets"] = list(other["data_offsets"])
    elif what == 1:
        one["data_offsets"] = pick(rng, [[0, 2**63], [-1, 4], [8, 4], [0, 2**64], [0], "all", None, [0.5, 4]])
    elif what == 2:
        one["dtype"] = pick(rng, ["F64", "I64", "BOOL", "F8_E4M3", "Q9", 3, None, "F16", "I32", "U8"])
    elif what == 3:
        one["shape"] = pick(rng, [[2**32, 2**32], [2**63], [-1], [0], [], [1.5], "wide", [1] * 10_000, [10**30], None])
    elif what == 4:
        header["x" * int(rng.integers(1, 100_000))] = dict(one)
    elif what == 5:
        del header[names[0]]
    elif what == 6:
        header["__metadata__"] = pick(rng, [{"a": 1}, [], {"a": "b" * 100_000}, {"a": {"b": "c"}}, 3])
    elif what == 7:
        written = json.dumps(header)[:-1] + "," + json.dumps({names[0]: header[names[0]]})[1:]
    elif what == 8:
        written = "[" * 100_000
    elif what == 9:
        written = json.dumps(header) + " " * int(rng.integers(1, 6_000_000))
    elif what == 10:
        written = json.dumps({f"t{k}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for k in range(60_000)})
    elif what == 11:
        one["shape"] = [int("9" * int(rng.integers(1, 18)))]
    elif what == 12:  # floats that are not finite
        data = struct.pack("<f", float(pick(rng, ["nan", "inf", "-inf"]))) * (len(data) // 4)
    elif what == 13:
        one["shape"] = list(reversed(one["shape"])) or [1]
    elif what == 14:
        header = {names[k]: header[name] for k, name in enumerate(rng.permutation(names))}
    else:
        data = data[: int(rng.integers(len(data)))] if rng.random() < 0.5 else data + rng.bytes(100)
    encoded = (json.dumps(header) if written is None else written).encode()
    if rng.random() < 0.2:
        length = pick(rng, [0, 1, 2**63, 2**64 - 1, 10**8, 10**8 + 1, len(encoded) + 1, len(encoded) + len(data)])
    else:
        length = len(encoded)
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", length) + encoded + data)
    if rng.random() < 0.8:
        seal(folder)


def other_weights(rng: Rng, folder: Path) -> None:
    """A whole file, of another network."""
    config = read(folder)
    agent = config["agent"]
    agent["network"] = pick(rng, [*NETWORKS])
    agent["network_kwargs"] = pick(
        rng, [{}, *NETWORKS.values(), {"width": 10**6}, {"depth": 10**6}, {"dims": [8] * 30}]
    )
    if rng.random() < 0.5:
        agent["horizon"] = pick(rng, [8, 16, 1000, 9_984, 100_000, 2**20, 10**9])
    write(folder, config)


# ---- kinds of file ------------------------------------------------------------------------------------------------


def file_kind(rng: Rng, folder: Path) -> None:
    """Something else in the place of a file."""
    path = folder / pick(rng, [CONFIG, WEIGHTS])
    whole = path.read_bytes()
    kind = pick(rng, ["pipe", "folder", "socket", "link", "loop", "sparse", "large", "empty", "copy", "secret"])
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server, in_folder(folder):
            server.bind(path.name)
    elif kind == "link":
        targets = [
            "/dev/zero",
            "/dev/random",
            "/dev/tty",
            "/dev/stdin",
            "/proc/self/mem",
            "/proc/self/environ",
            "/nothing",
        ]
        path.symlink_to(pick(rng, [*targets, "/proc/kmsg", "/dev/full", "/dev/null", "/"]))
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "sparse":  # takes no room on the disk
        path.write_bytes(whole)
        os.truncate(path, pick(rng, [300 << 20, 3 << 30, 40 << 30]))
    elif kind == "large":
        with open(path, "wb") as file:
            file.write(whole)
            for _ in range(int(rng.integers(1, 60))):
                file.write(b"more: [1, 2, 3]\n" * (1 << 16))
    elif kind == "copy":  # what the Hub's cache does
        real = folder.with_name(folder.name + ".blob")
        real.write_bytes(whole)
        path.symlink_to(real)
    elif kind == "secret":
        path.write_bytes(whole)
        path.chmod(0)
    else:
        path.write_bytes(b"")


class in_folder:
    """The working directory for a block: a socket's whole path may be too long."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        self.before = os.getcwd()
        os.chdir(self.folder)

    def __exit__(self, *_: object) -> None:
        os.chdir(self.before)


# ---- names --------------------------------------------------------------------------------------------------------


class Strange:
    """A path-like object whose path is none."""

    def __init__(self, path: Any) -> None:
        self.path = path

    def __fspath__(self) -> Any:
        return self.path


def name(rng: Rng, folder: Path) -> Any:
    long = "x" * int(rng.integers(200, 6000))
    return pick(
        rng,
        [
            *[
                "",
                " ",
                ".",
                "..",
                "/",
                "//",
                "~",
                "a\0b",
                "\0",
                long,
                f"{long}/{long}",
                f"{folder}/{long}",
                "\udcff",
                "é" * 200,
            ],
            *["../../etc", "/etc/passwd", "/dev/zero", "/dev", "/proc/self/fd/0", f"{folder}/{CONFIG}", f"{folder}/"],
            *[
                "pusht-sate",
                "PUSHT-STATE",
                "../bundled/pusht-state",
                "pusht-state/../lift-state",
                "pusht-state\n",
                ".zip",
            ],
            *[
                "somebody/their-agent",
                "a/b/c",
                "a/..",
                "-/-",
                f"a/{'b' * 300}",
                "a/b.zip",
                "https://huggingface.co/a/b",
            ],
            *[None, 0, 7, 1.5, True, b"pusht-state", b"", bytearray(b"x"), [], {}, [str(folder)], object, 10**5000],
            *[
                Strange(b"bytes"),
                Strange("a\0b"),
                Strange(3),
                Strange(None),
                Path(),
                Path("/"),
                Path(".."),
                Path("a\0"),
            ],
            *[f"{folder}.zip", str(folder), str(folder) + "\n", "\u202eabc", "$HOME", "*", "con", "a" * 255 + ".zip"],
        ],
    )


KINDS: dict[str, tuple[Callable[[Rng, Path], Any], float]] = {
    "any value": (any_value, 24),
    "any key": (any_key, 8),
    "a setting": (setting, 18),
    "a space": (space, 8),
    "text": (text, 9),
    "bytes of the config": (config_bytes, 6),
    "bytes of the weights": (weights_bytes, 6),
    "header of the weights": (weights_header, 8),
    "another network": (other_weights, 4),
    "kind of file": (file_kind, 5),
    "name": (name, 6),
}
"""Kind -> what makes one, and its share."""
