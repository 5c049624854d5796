"""Promise: whatever a data set is made of, opening it ends soon, in `Episodes` or in one line."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import zarr

from l1flow_agents.data import open_dataset
from l1flow_agents.errors import DatasetError

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "campaigns" / "data.py"


def test_a_hundred_and_fifty_spoilt_data_sets(tmp_path):
    """The long campaign's figures are in benchmarks/results/campaign_data.json."""
    output = tmp_path / "found.json"  # a process of its own: it forks, which a process with threads must not
    subprocess.run([sys.executable, SCRIPT, "-n", "150", "--output", output], check=True, stdout=subprocess.DEVNULL)
    found = json.loads(output.read_text())["after"]
    assert found["wrong"] == []
    assert found["refused"] > 70 and found["loaded"] > 10, "spoilt enough, and not all"


# ---- Zarr that would run, allocate or leave -------------------------------------------------------------------------


class Runs:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def metadata(name: str, **changes):
    def damage(path: Path) -> None:
        file = path / name / ".zarray"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return damage


def pickled(path: Path) -> None:
    metadata("data/state", dtype="|O", filters=[{"id": "pickle", "protocol": 5}], compressor=None)(path)
    for chunk in (path / "data" / "state").glob("*.0"):
        chunk.write_bytes(pickle.dumps(Runs(str(path / "executed"))))


def linked(name: str, target: str):
    def damage(path: Path) -> None:
        one = path / name
        shutil.rmtree(one) if one.is_dir() else one.unlink()
        one.symlink_to(target)

    return damage


def bomb(path: Path) -> None:
    metadata("data/state", compressor={"id": "zlib", "level": 9})(path)
    packed = zlib.compress(bytes(1 << 28), 9)
    for chunk in (path / "data" / "state").glob("*.0"):
        chunk.write_bytes(packed)


def sharded(path: Path) -> None:
    shutil.rmtree(path / "data" / "state")
    root = zarr.open_group(str(path.with_name("other")), mode="w", zarr_format=3)
    root.create_array("state", data=np.ones((40, 5), np.float32), chunks=(10, 5), shards=(20, 5))
    shutil.move(path.with_name("other") / "state", path / "data" / "state")


def pipe(path: Path) -> None:
    (path / "data" / "state" / "0.0").unlink()
    os.mkfifo(path / "data" / "state" / "0.0")


def long_attributes(path: Path) -> None:
    with open(path / "data" / "state" / ".zattrs", "wb") as file:
        file.truncate(1 << 40)


HOSTILE = {
    "pickle": (pickled, "expected (no filters|numbers)"),
    "objects": (metadata("data/state", dtype="|O"), r"expected numbers, found values of type \|O"),
    "unknown codec": (metadata("data/state", compressor={"id": "mine"}), "expected a compressor of blosc.*'mine'"),
    "enormous": (metadata("data/action", shape=[10**13, 2]), "3 of 625000000000 chunks; the copy is incomplete"),
    "enormous chunks": (metadata("data/state", chunks=[10**10, 5]), "chunks of 200 GB"),
    "wide": (metadata("data/state", shape=[41, 10**12]), "the copy is incomplete|rows|cannot hold"),
    "chunks of no rows": (metadata("data/state", chunks=[0, 5]), "unreadable metadata"),
    "shape of words": (metadata("data/state", shape="many"), "unreadable metadata"),
    "a million digits": (
        lambda path: (path / "data/state/.zarray").write_text('{"shape": [' + "9" * 10**6 + "]}"),
        "unreadable metadata|at most",
    ),
    "array elsewhere": (linked("data/state", "/etc"), "data/state.*(link|missing|metadata)"),
    "group elsewhere": (linked("data", "/etc"), "link|action"),
    "chunk elsewhere": (linked("data/state/0.0", "/dev/zero"), "0.0 is a link"),
    "metadata elsewhere": (linked("data/state/.zarray", "/dev/zero"), "link|metadata"),
    "a pipe": (pipe, "0.0 is not a regular file"),
    "a bomb": (bomb, "unpacks to .* expected 320"),
    "shards": (sharded, "at most one compressor and no shards"),
    "long attributes": (long_attributes, "at most 1048576 bytes"),
}


@pytest.mark.parametrize("damage, reason", HOSTILE.values(), ids=HOSTILE)
def test_hostile_zarr_is_refused_before_zarr_sees_it(replay, damage, reason):
    damage(replay)
    with pytest.raises(DatasetError, match=reason) as caught:
        open_dataset(replay)
    assert "\n" not in str(caught.value) and not (replay / "executed").exists()
