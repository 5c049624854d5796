"""Thousands of small data sets, each spoilt in a way of its own, opened in a process of its own.

    python benchmarks/campaigns/data.py -n 900 --output benchmarks/results/campaign_data.json

Counts what happened: ``loaded``, ``refused`` (a DatasetError of one line), ``raw`` (another exception, or many lines),
``crash`` (the process died), ``slow`` (over 5 s of the processor), ``large`` (over 1 GB more memory). Case k depends on
k alone, so two versions of the library see the same files: put another checkout first on PYTHONPATH. Nothing but
``open_dataset`` and ``DatasetError`` of the library is used.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr

SLOW, LARGE = 5.0, 1 << 30
Spoil = Callable[[Path, np.random.Generator], None]


# ---- whole data sets ------------------------------------------------------------------------------------------------


def make_hdf5(path: Path) -> None:
    """Six demonstrations as robomimic stores them."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for number in range(6):
            n = 4 + number
            demo = file.create_group(f"data/demo_{number}")
            demo["actions"] = rng.uniform(-1, 1, (n, 7))
            demo["states"] = rng.normal(size=(n, 32))
            demo["obs/object"] = rng.normal(size=(n, 10))
            images = rng.integers(256, size=(n, 8, 8, 3), dtype=np.uint8)
            demo.create_dataset("obs/agentview_image", data=images, chunks=(1, 8, 8, 3), compression="gzip")
            demo.attrs["num_samples"] = n
            demo.attrs["model_file"] = "<mujoco/>"
        file["data"].attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {}})
        file["mask/train"] = np.array([b"demo_0", b"demo_3"])


def make_zarr(path: Path, zarr_format: int = 2) -> None:
    """Three episodes as Diffusion Policy stores them."""
    rng = np.random.default_rng(0)
    root = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)  # type: ignore[arg-type]
    for name, array in {
        "data/action": rng.uniform(1, 511, (41, 2)).astype(np.float32),
        "data/img": rng.integers(1, 256, (41, 8, 8, 3)).astype(np.float32),
        "data/state": rng.uniform(1, 511, (41, 5)).astype(np.float32),
        "meta/episode_ends": np.array([12, 21, 41]),
    }.items():
        root.create_array(name, data=array, chunks=(16, *array.shape[1:]))


# ---- ways to spoil them ---------------------------------------------------------------------------------------------


def flip(path: Path, rng: np.random.Generator) -> None:
    file = _some_file(path, rng)
    data = bytearray(file.read_bytes())
    for place in rng.integers(len(data), size=int(rng.integers(1, 40))) if data else ():
        data[place] ^= int(rng.integers(1, 256))
    file.write_bytes(data)


def flip_early(path: Path, rng: np.random.Generator) -> None:
    """Among the first bytes, where headers are."""
    file = _some_file(path, rng)
    data = bytearray(file.read_bytes())
    for place in rng.integers(min(len(data), 2048), size=int(rng.integers(1, 12))) if data else ():
        data[place] = int(rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))]))
    file.write_bytes(data)


def truncate(path: Path, rng: np.random.Generator) -> None:
    file = _some_file(path, rng)
    os.truncate(file, int(rng.integers(file.stat().st_size + 1)))


def zeros(path: Path, rng: np.random.Generator) -> None:
    file = _some_file(path, rng)
    size = file.stat().st_size
    begin = int(rng.integers(size + 1))
    data = bytearray(file.read_bytes())
    data[begin : begin + int(rng.integers(1, 4096))] = bytes(len(data[begin : begin + 4096]))
    file.write_bytes(data)


def remove(path: Path, rng: np.random.Generator) -> None:
    if path.is_dir():
        entries = sorted(path.rglob("*"))
        one = entries[rng.integers(len(entries))]
        shutil.rmtree(one) if one.is_dir() else one.unlink()
        return
    with h5py.File(path, "r+") as file:
        del file[_some_key(file, rng)]


def rename(path: Path, rng: np.random.Generator) -> None:
    name = str(rng.choice(["demo_x", "demo_-1", "demo_" + "9" * 4300, "a" * 200, "ü", "demo_6"]))
    if path.is_dir():
        entries = sorted(path.rglob("*"))
        one = entries[rng.integers(len(entries))]
        one.rename(one.with_name(name[:200]))
        return
    with h5py.File(path, "r+") as file:
        key = _some_key(file, rng)
        file.move(key, f"{key.rpartition('/')[0]}/{name}")


VALUES: list[Any] = [
    *(
        [],
        {},
        None,
        1.5,
        "text",
        -1,
        [0],
        [True],
        [10**12, 7],
        [-3, 2],
        [2**63, 2],
        [1e3, 2],
        [[1], 2],
        "9" * 5000,
        10**400,
    ),
    *("|O", "<M8[ns]", "<U7", "|V8", [["a", "<f8"]], ">f8", "<c16", "float128", "string", "|b1", "<f2"),
    *([{"id": "pickle"}], {"id": "pickle"}, {"id": "gzip", "level": 99}, {"id": "lzma"}, [{"id": "json2"}], "NaN"),
    *([{"name": "bytes"}], [{"name": "sharding_indexed", "configuration": {"chunk_shape": [1, 1], "codecs": []}}]),
    *(
        [{"name": "vlen-utf8"}],
        [{"name": "numcodecs.pickle"}],
        {"name": "regular", "configuration": {"chunk_shape": [0]}},
    ),
]


def edit(path: Path, rng: np.random.Generator) -> None:
    """Metadata of Zarr; shapes, types and attributes of HDF5."""
    value = VALUES[rng.integers(len(VALUES))]
    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.name in (".zarray", ".zgroup", "zarr.json", ".zattrs"))
        file = files[rng.integers(len(files))]
        metadata = json.loads(file.read_text())
        keys = sorted(metadata) or ["shape"]
        metadata[keys[rng.integers(len(keys))]] = value
        file.write_text(json.dumps(metadata))
        return
    with h5py.File(path, "r+") as file:
        attributes = [("data", "env_args"), ("data/demo_1", "num_samples"), ("data/demo_1", "model_file")]
        holder, name = attributes[rng.integers(3)]
        odd: list[Any] = [
            np.zeros(3),
            "{",
            "[1]",
            '{"a": ' * 3000,
            -1,
            2**60,
            1.5,
            np.bytes_(b"\xff\xfe"),
            np.zeros((2, 2)),
        ]
        file[holder].attrs[name] = odd[rng.integers(len(odd))]


def replace(path: Path, rng: np.random.Generator) -> None:
    """Another type, another shape, or values that no demonstration has."""
    arrays: list[Any] = [
        *(np.zeros((3, 7)), np.zeros((9, 7, 2)), np.zeros(5), np.zeros((0, 7)), np.float64(3), np.zeros((5, 0))),
        *(np.full((5, 7), np.nan), np.full((5, 7), np.inf), np.full((5, 7), 1e300), np.zeros((5, 7), np.complex64)),
        *(np.zeros((5, 7), bool), np.zeros((5, 7), np.int64), np.array([b"a"] * 5), np.zeros((5, 8, 8, 3), np.float32)),
        *(np.array([5, 3, 41]), np.array([-1, 21, 41]), np.array([2**62, 2**63 - 1, 41]), np.array([1.5, 2, 41])),
    ]
    array = arrays[rng.integers(len(arrays))]
    if path.is_dir():
        names = ["data/action", "data/img", "data/state", "meta/episode_ends"]
        name = names[rng.integers(len(names))]
        shutil.rmtree(path / name)
        found = json.loads((path / "data/zarr.json").read_text()) if (path / "data/zarr.json").exists() else {}
        root = zarr.open_group(str(path), mode="r+", zarr_format=found.get("zarr_format", 2))
        root.create_array(name, data=np.atleast_1d(array))
        return
    with h5py.File(path, "r+") as file:
        key = _some_key(file, rng)
        del file[key]
        file[key] = array


def link(path: Path, rng: np.random.Generator) -> None:
    """To itself, in a circle, to another file, to nothing, to a device."""
    if path.is_dir():
        entries = sorted(path.rglob("*"))
        one = entries[rng.integers(len(entries))]
        shutil.rmtree(one) if one.is_dir() else one.unlink()
        targets = [one.name, "..", "/dev/zero", "/dev/random", "/nowhere", "/etc", "/etc/passwd"]
        one.symlink_to(targets[rng.integers(len(targets))])
        return
    other = path.with_name("other.hdf5")
    make_hdf5(other)
    with h5py.File(path, "r+") as file:
        key, kind = _some_key(file, rng), int(rng.integers(8))
        shape = getattr(file[key], "shape", (5, 7))
        del file[key]
        if kind == 0:
            file[key] = h5py.SoftLink(f"/{key}")
        elif kind == 1:
            file[key] = h5py.ExternalLink(str(other), key)
        elif kind == 2:
            file[key] = h5py.ExternalLink("/dev/zero", key)
        elif kind == 3:
            file[key] = file["data"]
        elif kind == 4:
            file.create_dataset(key, shape, "f8", external=[("/etc/passwd", 0, 100_000)])
        else:
            layout = h5py.VirtualLayout(shape=shape, dtype="f8")
            source = [".", str(other), "."][kind - 5]
            layout[...] = h5py.VirtualSource(source, key if kind < 7 else "data/demo_0/actions", shape=shape)
            file.create_virtual_dataset(key, layout)


def enormous(path: Path, rng: np.random.Generator) -> None:
    """Shapes and chunks that nothing holds."""
    n = int(10 ** rng.integers(7, 14))
    if path.is_dir():
        files = sorted(one for one in (path / "data").rglob("*") if one.name in (".zarray", "zarr.json"))
        files = [one for one in files if "shape" in json.loads(one.read_text())]
        file = files[rng.integers(len(files))]
        metadata = json.loads(file.read_text())
        width = metadata["shape"][1:]
        which = int(rng.integers(4))
        metadata["shape"] = [n, *width] if which != 1 else [metadata["shape"][0], n]
        if which >= 2:
            chunks = [n, *width] if which == 2 else [1, *width]
            if "chunks" in metadata:
                metadata["chunks"] = chunks
            else:
                metadata["chunk_grid"]["configuration"]["chunk_shape"] = chunks
        file.write_text(json.dumps(metadata))
        return
    with h5py.File(path, "r+") as file:
        key = ["data/demo_1/actions", "data/demo_1/obs/object", "data/demo_1/obs/agentview_image"][rng.integers(3)]
        width = file[key].shape[1:]
        dtype = file[key].dtype
        which = int(rng.integers(3))
        for number in range(6):
            one = key.replace("demo_1", f"demo_{number}")
            del file[one]
            shape = (n, *width)
            tiles = (
                None if which == 0 else (1024, *width) if which == 1 else (min(n, 2**28 // int(np.prod(width))), *width)
            )
            file.create_dataset(one, shape, dtype, chunks=tiles, compression="gzip" if which == 1 else None)
            file[f"data/demo_{number}"].attrs["num_samples"] = n


SPOILS: list[Spoil] = [flip, flip_early, truncate, zeros, remove, rename, edit, replace, link, enormous]


def _some_file(path: Path, rng: np.random.Generator) -> Path:
    if path.is_file():
        return path
    files = sorted(one for one in path.rglob("*") if one.is_file())
    return files[rng.integers(len(files))]


def _some_key(file: h5py.File, rng: np.random.Generator) -> str:
    keys: list[str] = []
    file.visit(keys.append)
    return keys[rng.integers(len(keys))]


def make_case(number: int, folder: Path) -> tuple[Path, str]:
    """Data set ``number``, in ``folder``, and what it is."""
    rng = np.random.default_rng([17, number])
    spoil = SPOILS[number % len(SPOILS)]
    kind = number // len(SPOILS) % 3
    path = folder / ("case.hdf5" if kind == 0 else "case.zarr")
    make_hdf5(path) if kind == 0 else make_zarr(path, 2 if kind == 1 else 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spoil(path, rng)
    return path, f"{['hdf5', 'zarr 2', 'zarr 3'][kind]}: {spoil.__name__}"


# ---- opening them ---------------------------------------------------------------------------------------------------


def attempt(path: Path) -> tuple[str, str]:
    """What comes of opening ``path``, in this process."""
    from l1flow_agents.data import open_dataset
    from l1flow_agents.errors import DatasetError

    try:
        episodes = open_dataset(path)
        for array in (episodes.actions, *episodes.observations.values()):
            array[:1].max(initial=0)
    except DatasetError as error:
        return ("refused" if "\n" not in str(error) else "raw"), str(error)[:300]
    except BaseException as error:
        return "raw", f"{type(error).__name__}: {error}"[:300]
    return "loaded", ""


def outcome(path: Path) -> tuple[str, str]:
    """The same in a process of its own, which may die, hang or take memory."""
    reading, writing = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if not child:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
            verdict, message = attempt(path)
            grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        os.write(writing, json.dumps(["large" if grown > LARGE else verdict, message]).encode())
        os._exit(0)
    os.close(writing)
    spent = cpu = 0.0
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            cpu = usage.ru_utime + usage.ru_stime
            break
        spent = time.monotonic() - started
        if spent > 5 * SLOW:
            os.kill(child, signal.SIGKILL)
            os.wait4(child, 0)
            os.close(reading)
            return "slow", f"over {spent:.0f} s"
        time.sleep(0.002)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    if os.WIFSIGNALED(status):
        return "crash", signal.Signals(os.WTERMSIG(status)).name
    if cpu > SLOW:  # of the processor, not the wall: other programs may be running
        return "slow", f"{cpu:.1f} s"
    verdict, message = json.loads(told)
    return verdict, message


def campaign(numbers: range) -> dict[str, Any]:
    """Counts by kind of case, and an example of each that went wrong."""
    import l1flow_agents.data.replay_zarr
    import l1flow_agents.data.robomimic_hdf5  # noqa: F401  (children need not import them)

    total: Counter[str] = Counter()
    kinds: dict[str, Counter[str]] = {}
    wrong: list[dict[str, Any]] = []
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["L1FLOW_CACHE"] = f"{folder}/cache"
            path, kind = make_case(number, Path(folder))
            verdict, message = outcome(path)
        total[verdict] += 1
        kinds.setdefault(kind, Counter())[verdict] += 1
        if verdict not in ("loaded", "refused"):
            wrong.append({"case": number, "kind": kind, "verdict": verdict, "message": message.replace(folder, "")})
    return {
        "cases": len(numbers),
        **{name: total[name] for name in ("refused", "loaded", "raw", "crash", "slow", "large")},
        "kinds": {kind: dict(counts) for kind, counts in sorted(kinds.items())},
        "wrong": wrong[:60],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=900, help="cases (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--label", default="after", help="of this run in the output")
    parser.add_argument("--output", type=Path, help="JSON file, to which this run is added")
    arguments = parser.parse_args()
    found = campaign(range(arguments.first, arguments.first + arguments.n))
    found["command"] = "python " + " ".join(sys.argv)
    print(json.dumps({key: value for key, value in found.items() if key != "wrong"}, indent=1))
    for one in found["wrong"]:
        print(one)
    if arguments.output:
        old = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
        arguments.output.write_text(json.dumps({**old, arguments.label: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
