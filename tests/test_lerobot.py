"""LeRobotDataset: what is written is read back in equal numbers, lazily, and what is hostile is refused in one line."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces

from l1flow_agents import L1FlowAgent
from l1flow_agents.cli import main
from l1flow_agents.data import Episodes, lazy_images, open_dataset
from l1flow_agents.data.convert import convert
from l1flow_agents.data.formats import describe_dataset
from l1flow_agents.data.lerobot_writer import write_lerobot
from l1flow_agents.data.robomimic_writer import RobomimicWriter
from l1flow_agents.data.video_images import VideoImages
from l1flow_agents.demonstration import Demonstration
from l1flow_agents.errors import ConfigError, DatasetError

ENV_ARGS = {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}}


def moving(lengths=(12, 9, 20), size=(48, 64), seed=0, tasks=None) -> Episodes:
    """Demonstrations of two states and a camera before which a square moves."""
    rng, n = np.random.default_rng(seed), sum(lengths)
    pictures = np.full((n, *size, 3), (40, 90, 160), np.uint8)
    for step in range(n):
        pictures[step, 8:24, step : step + 16] = (230, 60, 4 * step)
    states = {"object": rng.normal(size=(n, 10)), "eef_pos": rng.normal(size=(n, 3))}
    low = {key: value.astype(np.float32) for key, value in states.items()}
    actions = rng.uniform(-1, 1, (n, 7)).astype(np.float32)
    rewards = rng.uniform(size=n).astype(np.float32)
    return Episodes({**low, "top": pictures}, actions, np.cumsum(lengths), rewards=rewards, tasks=tasks)


def robomimic(path: Path) -> Path:
    demos, begin = moving(), 0
    with RobomimicWriter(path, ENV_ARGS) as writer:
        for end in demos.ends:
            rows = slice(begin, end)
            seen = {key: array[rows] for key, array in demos.observations.items()}
            states, dones = np.zeros((end - begin, 4)), np.arange(end - begin) == end - begin - 1
            writer.append(Demonstration(seen, demos.actions[rows], states, demos.rewards[rows], dones))
            begin = end
    return path


def assert_equal(one: Episodes, other: Episodes) -> None:
    assert list(one.ends) == list(other.ends) and set(one.observations) == set(other.observations)
    np.testing.assert_array_equal(one.actions, other.actions)
    for key, array in one.observations.items():
        np.testing.assert_array_equal(np.asarray(array), np.asarray(other.observations[key]), err_msg=key)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("L1FLOW_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def written(tmp_path) -> Path:
    """As videos."""
    path = tmp_path / "video"
    write_lerobot(moving(tasks=("lift it", "drop it", "lift it")), path, 20, "", video=True)
    return path


# ---- round trips ----------------------------------------------------------------------------------------------------


def test_robomimic_to_lerobot_and_back(tmp_path):
    first = open_dataset(robomimic(tmp_path / "lift.hdf5"))
    convert(tmp_path / "lift.hdf5", tmp_path / "lift")
    between = open_dataset(tmp_path / "lift")
    assert_equal(first, between)
    assert (between.fps, set(between.tasks), between.env_args) == (20, {"Lift"}, ENV_ARGS)
    convert(tmp_path / "lift", tmp_path / "again.hdf5")
    last = open_dataset(tmp_path / "again.hdf5")
    assert_equal(first, last)
    np.testing.assert_array_equal(last.rewards, first.rewards)
    assert last.env_args == ENV_ARGS


def test_zarr_to_lerobot_and_back(replay, tmp_path):
    convert(replay, tmp_path / "toy", fps=10, task="push the T")
    convert(tmp_path / "toy", tmp_path / "again.zarr")
    assert_equal(open_dataset(replay), open_dataset(tmp_path / "again.zarr"))
    assert open_dataset(tmp_path / "toy").tasks == ("push the T",) * 3


def test_one_command(replay, tmp_path, capsys):
    assert main(["convert", str(replay), str(tmp_path / "toy"), "--keys", "state", "--fps", "10"]) == 0
    assert "3 episodes, 41 steps of state" in capsys.readouterr().out
    assert main(["info", str(tmp_path / "toy")]) == 0
    told = capsys.readouterr().out
    assert "LeRobotDataset v3.0" in told and "fps: 10" in told and "toy: 3" in told


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["toy"], "--fps"),
        (["toy.zarr"], "something is there"),
        (["new.hdf5", "--video"], "only a LeRobotDataset holds videos"),
        (["new", "--to", "rlds"], "unknown format to write 'rlds'"),
    ],
)
def test_what_cannot_be_converted_is_one_line(replay, tmp_path, capsys, arguments, reason):
    arguments[0] = str(tmp_path / arguments[0])
    assert main(["convert", str(replay), *arguments]) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1
    assert not (tmp_path / "toy").exists() and not (tmp_path / "new.hdf5").exists()


def test_videos_lose_a_little_and_nothing_else(written):
    found, real = open_dataset(written), moving()
    assert_equal(real.select(["object", "eef_pos"]), found.select(["object", "eef_pos"]))
    difference = np.asarray(found.observations["top"]).astype(int) - real.observations["top"]
    assert np.abs(difference).mean() < 3


def test_splits_and_tasks_choose_episodes(written):
    assert list(open_dataset(written, filter_key="lift it").lengths) == [12, 20]
    assert list(open_dataset(written, filter_key="train").lengths) == [12, 9, 20]
    lifted, real = open_dataset(written, filter_key="lift it"), open_dataset(written)
    np.testing.assert_array_equal(lifted.observations["top"][12:], real.observations["top"][21:])
    with pytest.raises(DatasetError, match=r"split or task 'paint it', found splits \['train'\].*'lift it'"):
        open_dataset(written, filter_key="paint it")


def test_an_agent_learns_from_it(written, tmp_path):
    demos = open_dataset(written, keys=["top", "object"])
    shapes = {key: array.shape[1:] for key, array in demos.observations.items()}
    seen = {"object": spaces.Box(-9, 9, shapes["object"]), "top": spaces.Box(0, 255, shapes["top"], np.uint8)}
    encoder = {"channels": (8, 8, 16, 16), "n_keypoints": 4, "feature_dim": 6}
    agent = L1FlowAgent(
        "mlp", (spaces.Dict(seen), spaces.Box(-1, 1, (7,))), network_kwargs={"width": 16}, encoder_kwargs=encoder
    )
    agent.learn(demos, 2, batch_size=4, val_fraction=0.4, validate_every=1)
    assert agent.num_timesteps == 2


# ---- what others write ----------------------------------------------------------------------------------------------


def encode(path: Path, pictures: np.ndarray, fps: int, codec: str, options: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, Fraction(fps), options)
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:3], "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def old(tmp_path) -> Path:
    """v2.1, as older recorders wrote it: a Parquet file and an AV1 video an episode, names of motors."""
    path, demos, begin = tmp_path / "old", moving(), 0
    (path / "data" / "chunk-000").mkdir(parents=True)
    (path / "meta").mkdir()
    lines = []
    for number, end in enumerate(demos.ends.tolist()):
        n, rows = end - begin, slice(begin, end)
        columns = {
            "observation.state": demos.observations["object"][rows].tolist(),
            "action": demos.actions[rows].tolist(),
            "timestamp": (np.arange(n) / 10).astype(np.float32),
            "episode_index": np.full(n, number),
        }
        pq.write_table(pa.table(columns), path / "data" / "chunk-000" / f"episode_{number:06d}.parquet")
        video = path / "videos" / "chunk-000" / "observation.images.top" / f"episode_{number:06d}.mp4"
        encode(video, demos.observations["top"][rows], 10, "libsvtav1", {"g": "5", "crf": "20", "preset": "10"})
        lines.append(json.dumps({"episode_index": number, "tasks": ["move it"], "length": n}))
        begin = end
    (path / "meta" / "episodes.jsonl").write_text("\n".join(lines))
    motors = [f"motor_{k}.pos" for k in range(10)]
    features = {
        "observation.state": {"dtype": "float32", "shape": [10], "names": {"motors": motors}},
        "action": {"dtype": "float32", "shape": [7], "names": None},
        "observation.images.top": {"dtype": "video", "shape": [3, 48, 64], "names": ["channels", "height", "width"]},
        "task": {"dtype": "string", "shape": [1], "names": None},
    }
    info = {"codebase_version": "v2.1", "fps": 10, "features": features, "robot_type": "so100"}
    (path / "meta" / "info.json").write_text(json.dumps(info))
    return path


def test_v21_with_av1(old):
    found, real = open_dataset(old), moving()
    assert set(found.observations) == {"state", "top"} and list(found.ends) == list(real.ends)
    np.testing.assert_array_equal(found.observations["state"], real.observations["object"])
    assert np.abs(np.asarray(found.observations["top"]).astype(int) - real.observations["top"]).mean() < 6
    assert describe_dataset(old)["robot"] == "so100"


# ---- lazily ---------------------------------------------------------------------------------------------------------


def decoded(images, monkeypatch) -> list[int]:
    """Rows that are decoded from now on."""
    rows, decode = [], images.decode

    def noted(wanted):
        for row, image in decode(wanted):
            rows.append(row)
            yield row, image

    monkeypatch.setattr(images, "decode", noted)
    return rows


@pytest.mark.parametrize("video", [True, False])
def test_only_what_is_asked_for_is_decoded(tmp_path, monkeypatch, video):
    write_lerobot(moving(), tmp_path / "data", 20, "move", video)
    images = open_dataset(tmp_path / "data").observations["top"]
    rows = decoded(images, monkeypatch)
    one = images[30]
    assert rows == ([29, 30] if video else [30]), "at most the key frame before it"
    again = images[np.array([[30, 30], [2, 31]])]
    assert 30 not in rows[rows.index(30) + 1 :], "kept"
    np.testing.assert_array_equal(again[0, 1], one)
    whole = np.asarray(images)
    for index in (5, -1, slice(3, 9), slice(None, None, -4), np.array([7, 1, 7]), np.zeros((0,), int)):
        np.testing.assert_array_equal(images[index], whole[index])
    assert len(images) == 41 and images.size == whole.size and images.ndim == 4
    with pytest.raises(IndexError):
        images[41]


def test_memory_is_bounded(written, monkeypatch):
    monkeypatch.setattr(lazy_images, "CACHE_SHARE", lazy_images.cache_bytes() * lazy_images.CACHE_SHARE // 50_000)
    images = open_dataset(written).observations["top"]
    first = np.asarray(images)
    assert len(images._kept) == 5, "of 9216 bytes each"
    np.testing.assert_array_equal(images[[40, 0, 20]], first[[40, 0, 20]])


def test_videos_are_closed_again(old, monkeypatch):
    monkeypatch.setattr("l1flow_agents.data.video_images.OPEN", 2)
    images = open_dataset(old).observations["top"]
    whole = np.asarray(images)
    assert isinstance(images, VideoImages) and len(images._open) == 2
    images._kept.clear()
    np.testing.assert_array_equal(images[[0, 15, 40]], whole[[0, 15, 40]])


# ---- damaged and hostile --------------------------------------------------------------------------------------------


def info(**changes):
    def damage(path: Path) -> None:
        file = path / "meta" / "info.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return damage


def feature(name: str, **changes):
    def damage(path: Path) -> None:
        file = path / "meta" / "info.json"
        told = json.loads(file.read_text())
        told["features"][name] = {**told["features"].get(name, {}), **changes}
        file.write_text(json.dumps(told))

    return damage


def column(file: str, name: str, change):
    """Write a column of a Parquet file anew, as ``change`` makes it from its values."""

    def damage(path: Path) -> None:
        table = pq.read_table(path / file)
        values = pa.array(change(table.column(name).to_pylist()))
        pq.write_table(table.set_column(table.column_names.index(name), name, values), path / file)

    return damage


def content(file: str, change):
    def damage(path: Path) -> None:
        (path / file).write_bytes(change((path / file).read_bytes()))

    return damage


def swollen(file: str, name: str):
    """A column's first page declares that it unpacks to more."""

    def damage(path: Path) -> None:
        rows = pq.ParquetFile(path / file).metadata.row_group(0)
        (column,) = [one for one in map(rows.column, range(rows.num_columns)) if one.path_in_schema.startswith(name)]
        begin = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
        data = bytearray((path / file).read_bytes())
        size = begin + 3  # after the kind of page
        assert data[begin] == 0x15 and data[begin + 2] == 0x15 and data[size] & 128 and not data[size + 1] & 128
        data[size : size + 2] = b"\xfe\x7f"  # 8191
        (path / file).write_bytes(data)

    return damage


def link(file: str, target: str):
    def damage(path: Path) -> None:
        (path / file).unlink()
        (path / file).symlink_to(target)

    return damage


def other_video(size=(48, 64), n=41):
    def damage(path: Path) -> None:
        encode(path / VIDEO, np.zeros((n, *size, 3), np.uint8), 20, "libx264", {"g": "2"})

    return damage


def box(name: bytes, at: int, *numbers: int):
    """The numbers at a place of a box of the mp4 are others."""

    def change(mp4: bytes) -> bytes:
        place = mp4.index(name) + 4 + at
        return mp4[:place] + struct.pack(f">{len(numbers)}I", *numbers) + mp4[place + 4 * len(numbers) :]

    return content(VIDEO, change)


def another_box(name: bytes):
    return content(VIDEO, lambda mp4: struct.pack(">I4s", 8, name) + mp4)


DATA, EPISODES = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.top/chunk-000/file-000.mp4"
BAD_FORMAT = "data/{chunk_index.__class__}/{file_index:999999999d}"
HOSTILE = {
    "no JSON": (content("meta/info.json", lambda old: old[:50]), "not readable as JSON"),
    "deep JSON": (content("meta/info.json", lambda old: b"[" * 10**5), "not readable as JSON"),
    "long JSON": (content("meta/info.json", lambda old: old + b" " * (1 << 20)), "larger than"),
    "a device": (link("meta/info.json", "/dev/zero"), "expected a regular file"),
    "another version": (info(codebase_version="v9.0"), "expected codebase_version v3.0 or v2.1, found 'v9.0'"),
    "a path": (info(data_path="../../{chunk_index}.parquet"), "expected data_path"),
    "a format": (info(data_path=BAD_FORMAT), "expected data_path"),
    "no fps": (info(fps="fast"), "expected fps above 0"),
    "no features": (info(features=[1]), "expected features as a mapping"),
    "many features": (info(features={f"observation.{k}": {} for k in range(5000)}), "at most 1000"),
    "a name that climbs": (feature("../../x", dtype="video", shape=[1, 1, 3]), "expected a plain name"),
    "a huge shape": (feature("action", shape=[10**5, 10**5]), "numbers a step"),
    "a wrong shape": (feature("action", shape=[6]), "'action': expected 6 values a row, found more"),
    "a longer shape": (feature("action", shape=[8]), "rows of other lengths"),
    "a column that is not there": (
        feature("observation.x", dtype="float32", shape=[2]),
        r"no column \['observation.x'\]",
    ),
    "a clash": (feature("observation.images.object", dtype="image", shape=[4, 4, 3]), "would both be the key 'object'"),
    "grey": (feature("observation.images.top", shape=[48, 64, 1]), "expected colour pictures"),
    "another picture size": (feature("observation.images.top", shape=[64, 64, 3]), r"expected pictures \(64, 64\)"),
    "no Parquet": (content(DATA, lambda old: old[: len(old) // 2]), "damaged, truncated or not Parquet"),
    "no rows": (lambda path: (path / DATA).unlink(), "the copy is incomplete"),
    "no episodes": (lambda path: (path / EPISODES).unlink(), "the copy is incomplete"),
    "a pipe": (lambda path: ((path / DATA).unlink(), os.mkfifo(path / DATA)), "not Parquet"),
    "longer than it is": (column(EPISODES, "length", lambda old: [10**14, *old[1:]]), "cannot hold|has 12 rows"),
    "negative": (column(EPISODES, "data/file_index", lambda old: [-1, *old[1:]]), "numbers of at least 0"),
    "somewhere else": (column(EPISODES, "data/file_index", lambda old: [7, *old[1:]]), "the copy is incomplete"),
    "twice the same": (column(EPISODES, "episode_index", lambda old: [0, 0, 0]), "expected episodes 0, 1, 2"),
    "tasks of numbers": (column(EPISODES, "tasks", lambda old: [1, 2, 3]), "expected lists of texts"),
    "gaps": (column(DATA, "action", lambda old: [None, *old[1:]]), "action'"),
    "words": (column(DATA, "action", lambda old: ["up"] * 41), "'action': expected numbers, found"),
    "pages that swell": (swollen(DATA, "action"), "'action.*pages of 8... bytes, expected no more than"),
    "NaN": (column(DATA, "action", lambda old: [[np.nan] * 7, *old[1:]]), "NaN or infinity, first in episode 0"),
    "times that are none": (column(DATA, "timestamp", lambda old: [np.inf] * 41), "timestamp"),
    "out of order": (column(DATA, "episode_index", lambda old: old[::-1]), "in the order of their episodes"),
    "no video": (lambda path: (path / VIDEO).unlink(), "No such file or directory; the copy is incomplete"),
    "half a video": (content(VIDEO, lambda old: old[: len(old) // 2]), "damaged|no frame|incomplete"),
    "another file": (content(VIDEO, lambda old: b"#EXTM3U\nfile:///etc/passwd\n"), "damaged or no mp4"),
    "small pictures": (other_video(size=(32, 32)), r"expected pictures \(48, 64\), found \(32, 32\)"),
    "a short video": (other_video(n=20), "no frame at 1.0000 s"),
    "endless samples": (box(b"stsz", 4, 1, 80_000_000), "80000000 samples in"),
    "endless durations": (box(b"stts", 8, 80_000_000), "durations of 80000000 samples"),
    "edits": (box(b"elst", 4, 10_000), "10000 edits"),
    "fragments": (another_box(b"moof"), "a box b'moof' within the file, which is not read"),
    "a box too long": (box(b"mvhd", -8, 1 << 30), "bytes where .* are left"),
    "a video that is a device": (link(VIDEO, "/dev/zero"), "expected a regular file"),
}


@pytest.mark.parametrize("damage, reason", HOSTILE.values(), ids=HOSTILE)
def test_what_is_hostile_is_one_line(written, damage, reason):
    damage(written)
    with pytest.raises(DatasetError) as caught:
        demos = open_dataset(written)
        np.asarray(demos.observations["top"])
    assert re.search(reason, str(caught.value)) and "\n" not in str(caught.value)


PICTURES = {
    "no picture": (b"GIF89a" + bytes(50), "a picture is damaged"),
    "nothing": (None, "expected pictures in the rows"),
    "a huge one": (b"", r"expected \(48, 64, 3\), found \(9000, 9000, 'RGB'\)"),
}


@pytest.mark.parametrize("stored, reason", PICTURES.values(), ids=PICTURES)
def test_pictures_in_rows(tmp_path, stored, reason):
    write_lerobot(moving(), tmp_path / "data", 20, "move")
    if stored == b"":
        chunk = b"IHDR" + struct.pack(">IIBBBBB", 9_000, 9_000, 8, 2, 0, 0, 0)
        stored = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
        stored += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    name = "observation.images.top"
    column(DATA, name, lambda old: [{"bytes": stored, "path": "../../etc/passwd"}, *old[1:]])(tmp_path / "data")
    images = open_dataset(tmp_path / "data").observations["top"]
    assert images[5].shape == (48, 64, 3), "the others can be had"
    with pytest.raises(DatasetError, match=reason):
        images[0]


def test_a_few_bytes_do_not_stand_for_gigabytes(tmp_path):
    """The same 1 MB in each of 41 rows, and a task of 64 kB: Parquet stores them once, and they are read once."""
    path = tmp_path / "data"
    write_lerobot(moving(), path, 20, "move")
    column(DATA, "observation.images.top", lambda old: [{"bytes": bytes(1 << 20), "path": ""}] * 41)(path)
    column(EPISODES, "tasks", lambda old: [["x" * (1 << 16)]] * 3)(path)
    reading = f"""
import pyarrow, l1flow_agents
demos = l1flow_agents.open_dataset({str(path)!r})
try:
    demos.observations["top"][40]
except l1flow_agents.errors.DatasetError as error:
    print(max(map(len, demos.tasks)), pyarrow.default_memory_pool().max_memory() < 10e6, error)
"""
    told = subprocess.run([sys.executable, "-c", reading], check=True, capture_output=True, text=True).stdout
    assert told.startswith("4096 True") and "a picture is damaged" in told


def test_a_package_that_is_missing_is_named(written, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    demos = open_dataset(written)
    with pytest.raises(DatasetError, match=r"av is needed.*pip install 'l1flow-agents\[lerobot\]'"):
        demos.observations["top"][0]
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DatasetError, match=r"pyarrow is needed.*pip install 'l1flow-agents\[lerobot\]'"):
        open_dataset(written)


def test_odd_sizes_are_written_as_png(tmp_path):
    with pytest.raises(DatasetError, match="even height and width"):
        write_lerobot(moving(size=(47, 64)), tmp_path / "odd", 20, "move", video=True)
    assert not (tmp_path / "odd").exists()
    write_lerobot(moving(size=(47, 64)), tmp_path / "odd", 20, "move")
    assert_equal(open_dataset(tmp_path / "odd"), moving(size=(47, 64)))
    with pytest.raises(ConfigError, match="something is there"):
        convert(tmp_path / "odd", tmp_path / "odd")
