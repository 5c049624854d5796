"""RoboMimic HDF5: what is written is read, what is damaged is refused, and a killed writer loses nothing."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from l1flow_agents.data import ChunkSampler, open_dataset, read_robomimic_hdf5
from l1flow_agents.data.formats import describe_dataset
from l1flow_agents.data.robomimic_hdf5 import demo_names, read_demo, read_env_args
from l1flow_agents.data.robomimic_writer import RobomimicWriter
from l1flow_agents.demonstration import Demonstration
from l1flow_agents.errors import DatasetError

OLD = {"env_name": "Lift", "type": 1, "env_kwargs": {"controller_configs": {"type": "OSC_POSE"}}}  # v0.1: no version
NEW = {
    "env_name": "Lift",
    "env_version": "1.5.1",
    "type": 1,
    "env_kwargs": {"controller_configs": {"type": "BASIC", "body_parts": {"right": {"type": "OSC_POSE"}}}},
}
N_DEMOS = 12  # so that demo_10 and demo_11 sort before demo_2 as text


def episode(number: int, images: bool = True) -> dict:
    """Arguments of `RobomimicWriter.append`, a function of ``number``; lengths differ."""
    rng, n = np.random.default_rng(number), 3 + number % 4
    observations = {"robot0_eef_pos": rng.normal(size=(n, 3)), "object": rng.normal(size=(n, 10))}
    if images:
        observations["agentview_image"] = rng.integers(256, size=(n, 8, 6, 3), dtype=np.uint8)
    return {
        "observations": observations,
        "actions": rng.uniform(-1, 1, (n, 7)),
        "states": rng.normal(size=(n, 32)),
        "rewards": np.arange(n) == n - 1,
        "dones": np.arange(n) == n - 1,
    }


def write_like_robomimic(path: Path, env_args: dict = NEW, as_bytes: bool = False) -> Path:
    """A file of ``N_DEMOS`` demonstrations, made with h5py alone the way robomimic's scripts make it."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        for number in range(N_DEMOS):
            demo, arrays = data.create_group(f"demo_{number}"), episode(number)
            for key, array in arrays.pop("observations").items():
                demo.create_dataset(f"obs/{key}", data=array)
            for key, array in arrays.items():
                demo.create_dataset(key, data=array)
            demo.attrs["num_samples"] = len(arrays["actions"])
            demo.attrs["model_file"] = f"<mujoco model='{number}'/>"
        data.attrs["total"] = sum(demo.attrs["num_samples"] for demo in data.values())
        text = json.dumps(env_args)
        data.attrs["env_args"] = np.bytes_(text) if as_bytes else text
        file["mask/valid"] = np.array([b"demo_10", b"demo_2"], dtype="S8")
        file["mask/good"] = np.array([b"demo_2", b"demo_6"], dtype="S8")
        file["mask/train"] = [f"demo_{number}" for number in range(N_DEMOS) if number not in (2, 10)]
    return path


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("L1FLOW_CACHE", str(tmp_path / "cache"))
    return write_like_robomimic(tmp_path / "lift.hdf5")


def joined(numbers, key: str) -> np.ndarray:
    episodes = [episode(number) for number in numbers]
    return np.concatenate([e[key] if key in e else e["observations"][key] for e in episodes])


def assert_holds(path: Path, numbers) -> None:
    """The file reads as exactly these episodes, in this order."""
    demos = open_dataset(path)
    assert set(demos.observations) == {"agentview_image", "object", "robot0_eef_pos"}
    np.testing.assert_array_equal(np.diff(demos.ends, prepend=0), [3 + number % 4 for number in numbers])
    np.testing.assert_array_equal(demos.actions, joined(numbers, "actions").astype(np.float32))
    for key, array in demos.observations.items():
        expected = joined(numbers, key)
        np.testing.assert_array_equal(array, expected if expected.dtype == np.uint8 else expected.astype(np.float32))


# ---- reading ------------------------------------------------------------------------------------------------------


def test_demonstrations_come_in_the_order_of_their_numbers(file):
    assert demo_names(file) == [f"demo_{number}" for number in range(N_DEMOS)]
    assert_holds(file, range(N_DEMOS))


@pytest.mark.parametrize("env_args", [OLD, NEW], ids=["v0.1", "v1.5"])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_generations(file, env_args, as_bytes):
    write_like_robomimic(file, env_args, as_bytes)
    assert read_env_args(file) == env_args
    assert_holds(file, range(N_DEMOS))


def test_filter_keys(file):
    assert demo_names(file, "valid") == ["demo_2", "demo_10"]
    assert len(read_robomimic_hdf5(file, filter_key="train")) == N_DEMOS - 2
    for filter_key, numbers in [("valid", [2, 10]), ("good", [2, 6])]:  # of equal length, yet each with its own cache
        for key, array in read_robomimic_hdf5(file, filter_key=filter_key).observations.items():
            np.testing.assert_array_equal(array, joined(numbers, key).astype(array.dtype))
    with pytest.raises(DatasetError, match=r"lift.hdf5: key '/mask/bad' is missing.*'good', 'train', 'valid'"):
        read_robomimic_hdf5(file, filter_key="bad")


def test_images_are_mapped_copied_once_and_indexed_by_windows(file, tmp_path):
    image = open_dataset(file).observations["agentview_image"]
    assert isinstance(image, np.memmap) and image.dtype == np.uint8
    (cache,) = (tmp_path / "cache").iterdir()
    written = cache.stat().st_mtime_ns
    demos = open_dataset(file)
    assert cache.stat().st_mtime_ns == written and len(list(cache.parent.iterdir())) == 1
    chunks = ChunkSampler(demos, 4, 2, 2)[np.array([0, 5])]
    assert chunks.observations["agentview_image"].shape == (2, 2, 8, 6, 3)
    np.testing.assert_array_equal(chunks.observations["agentview_image"][0], image[[0, 0]])


def test_cache_of_changed_data_is_not_used(file):
    open_dataset(file)
    with h5py.File(file, "r+") as opened:
        opened["data/demo_3/obs/agentview_image"][...] = 7
    assert (open_dataset(file).observations["agentview_image"][12:18] == 7).all()  # lengths 3, 4, 5, then 6


def test_images_nobody_asks_for_are_not_read(file, tmp_path):
    assert set(open_dataset(file, keys=["object"]).observations) == {"object"}
    assert not (tmp_path / "cache").exists()
    with pytest.raises(DatasetError, match=r"\['depth'\], found \['agentview_image', 'object', 'robot0_eef_pos'\]"):
        open_dataset(file, keys=["object", "depth"])


def test_a_demonstration_to_replay(file):
    demo, expected = read_demo(file, "demo_11"), episode(11)
    for key in ("states", "actions", "rewards", "dones"):
        np.testing.assert_array_equal(getattr(demo, key), expected[key])
    assert demo.states.dtype == demo.actions.dtype == np.float64
    assert demo.model_file == "<mujoco model='11'/>"
    with pytest.raises(DatasetError, match=r"key '/data/demo_12' is missing"):
        read_demo(file, "demo_12")


def test_raw_file_replays_but_has_no_observations(file):
    with h5py.File(file, "r+") as opened:
        for demo in opened["data"].values():
            for key in ("obs", "rewards", "dones"):
                del demo[key]
    assert read_demo(file, "demo_0").rewards is None
    with pytest.raises(
        DatasetError, match=r"lift.hdf5: key '/data/demo_0/obs' is missing: a raw file.*l1flow add-observations .*-o"
    ):
        open_dataset(file)


# ---- damage -------------------------------------------------------------------------------------------------------


def edit(change):
    def damage(path):
        with h5py.File(path, "r+") as file:
            change(file)

    return damage


def delete(name):
    return edit(lambda file: file.__delitem__(name))


def replace(name, value):
    def change(file):
        del file[name]
        file[name] = value

    return edit(change)


def attribute(group, name, value):
    return edit(lambda file: file[group].attrs.__setitem__(name, value))


def truncate(share):
    return lambda path: os.truncate(path, int(path.stat().st_size * share))


POS, IMAGE = "data/demo_4/obs/robot0_eef_pos", "data/demo_4/obs/agentview_image"
DAMAGE = {
    "empty": (truncate(0), "not HDF5"),
    "cut in the header": (lambda path: os.truncate(path, 40), "not HDF5"),
    "cut early": (truncate(0.1), "truncated"),
    "cut in the middle": (truncate(0.5), "truncated"),
    "cut at the end": (truncate(0.999), "truncated"),
    "not HDF5": (lambda path: path.write_text("hello"), "not HDF5"),
    "no data": (delete("data"), r"key '/data' is missing.*found \['mask'\]"),
    "data is an array": (replace("data", 3), "key '/data' is missing or not a group"),
    "no demonstrations": (edit(lambda file: file["data"].clear()), "at least one demonstration"),
    "foreign group": (edit(lambda file: file.create_group("data/episode_3")), r"demo_<number>.*\['episode_3'\]"),
    "actions missing": (delete("data/demo_4/actions"), "'/data/demo_4/actions' is missing"),
    "actions flat": (replace("data/demo_4/actions", np.zeros(3)), r"demo_4/actions'.*\(n_steps, action_dim\).*\(3,\)"),
    "actions of another width": (
        replace("data/demo_4/actions", np.zeros((3, 8))),
        r"demo_4/actions'.*\(3, 7\).*\(3, 8\)",
    ),
    "actions cut": (
        replace("data/demo_4/actions", np.zeros((2, 7))),
        "demo_4/actions' has 2 rows, but num_samples is 3",
    ),
    "actions NaN": (
        edit(lambda file: file["data/demo_4/actions"].__setitem__((1, 0), np.nan)),
        "'action'.*NaN.*demo_4, row 1$",
    ),
    "obs infinite": (edit(lambda file: file[POS].__setitem__((1, 0), np.inf)), "'robot0_eef_pos'.*demo_4, row 1$"),
    "obs key missing": (delete(POS), f"'/{POS}' is missing"),
    "obs cut": (replace(POS, np.zeros((2, 3))), rf"'/{POS}': expected float64 \(3, 3\), found float64 \(2, 3\)"),
    "obs of another shape": (replace(POS, np.zeros((3, 4))), r"expected float64 \(3, 3\), found float64 \(3, 4\)"),
    "obs a number": (replace(POS, 1.0), rf"'/{POS}': expected"),
    "obs a text": (replace(POS, "here"), rf"'/{POS}': expected"),
    "image as float": (replace(IMAGE, np.zeros((3, 8, 6, 3))), rf"'/{IMAGE}': expected uint8.*found float64"),
    "mask empty": (replace("mask/valid", np.zeros(0, "S8")), "at least one demonstration"),
    "mask lists too much": (replace("mask/valid", [b"demo_2", b"demo_99"]), r"'/mask/valid' lists \['demo_99'\]"),
}


@pytest.mark.parametrize("damage, reason", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_named(file, tmp_path, damage, reason):
    damage(file)
    with pytest.raises(DatasetError, match=reason) as caught:
        read_robomimic_hdf5(file)
        read_robomimic_hdf5(file, filter_key="valid")
    assert "lift.hdf5: " in str(caught.value)
    assert not [path for path in (tmp_path / "cache").glob("*") if path.is_dir()]  # nothing half done


def test_a_wrong_filter_key_is_described_beside_the_rest(file):
    whole = describe_dataset(file)
    replace("mask/valid", [b"demo_2", b"demo_99"])(file)
    reason = "key '/mask/valid' lists ['demo_99'], found no such demonstration"
    assert describe_dataset(file) == {**whole, "filter_keys": {**whole["filter_keys"], "valid": reason}}


def test_damaged_image_is_named_and_leaves_no_cache(file, tmp_path):
    file.unlink()
    with RobomimicWriter(file, NEW) as writer:
        writer.append(Demonstration(**episode(0)))
    with h5py.File(file) as opened:
        offset = opened["data/demo_0/obs/agentview_image"].id.get_chunk_info(2).byte_offset
    with open(file, "r+b") as raw:
        raw.seek(offset)
        raw.write(bytes(8))
    with pytest.raises(DatasetError, match=r"lift.hdf5: key '/data/demo_0/obs/agentview_image' is damaged"):
        open_dataset(file)
    assert list((tmp_path / "cache").iterdir()) == []


def test_flipped_bytes_raise_no_other_error(file):
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    for _ in range(40):
        flipped = bytearray(whole)
        for place in rng.integers(len(whole), size=30):
            flipped[place] ^= rng.integers(1, 256)
        file.write_bytes(flipped)
        with contextlib.suppress(DatasetError):
            open_dataset(file)


@pytest.mark.parametrize(
    "damage, reason",
    [
        (edit(lambda file: file["data"].attrs.__delitem__("env_args")), "is missing"),
        (attribute("data", "env_args", "{Lift"), "is not JSON"),
        (attribute("data", "env_args", "[1]"), r"expected a JSON object, found \[1\]"),
    ],
)
def test_env_args_that_cannot_be_read(file, damage, reason):
    damage(file)
    with pytest.raises(DatasetError, match=rf"lift.hdf5: attribute 'env_args' of 'data'.* {reason}"):
        read_env_args(file)


@pytest.mark.parametrize("function", [read_env_args, demo_names, read_robomimic_hdf5])
def test_no_such_file(tmp_path, function):
    with pytest.raises(DatasetError, match=r"nowhere\.hdf5: no such file"):
        function(tmp_path / "nowhere.hdf5")


def test_a_file_that_somebody_writes_is_in_use_not_damaged(file):
    script = "import h5py, sys; file = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read()"
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "open\n"
    with pytest.raises(DatasetError, match=r"lift\.hdf5: in use: another process has it open for writing$"):
        open_dataset(file)
    writer.communicate()
    assert_holds(file, range(N_DEMOS))


def test_an_empty_demonstration_is_named(file):
    with h5py.File(file, "r+") as opened:
        demo = opened["data/demo_7"]
        for key, array in {key: demo[key] for key in ("actions", *(f"obs/{one}" for one in demo["obs"]))}.items():
            empty = array[:0]
            del demo[key]
            demo[key] = empty
        demo.attrs["num_samples"] = 0
    with pytest.raises(DatasetError, match=r"lift\.hdf5: demo_7 is empty"):
        open_dataset(file)


def link(place, target):
    def change(file):
        del file[place]
        file[place] = target(file) if callable(target) else target

    return edit(change)


def virtual(place, source, name):
    def change(file):
        shape = file[place].shape
        layout = h5py.VirtualLayout(shape=shape, dtype="f8")
        layout[...] = h5py.VirtualSource(source or file.filename, name, shape=shape)
        del file[place]
        file.create_virtual_dataset(place, layout)

    return edit(change)


def declared(shape, **kwargs):
    """All demonstrations declare actions of this shape, of which nothing is stored."""

    def change(file):
        for demo in file["data"].values():
            del demo["actions"]
            demo.create_dataset("actions", shape, "f8", **kwargs)
            demo.attrs["num_samples"] = shape[0]

    return edit(change)


ACTIONS = "data/demo_4/actions"
HOSTILE = {
    "virtual, of itself": (virtual(ACTIONS, ".", ACTIONS), "put together from other arrays"),
    "virtual, of another file": (virtual(POS, "/etc/passwd", "data"), "put together from other arrays"),
    "stored in another file": (
        edit(lambda file: (file.pop(POS), file.create_dataset(POS, (3, 3), "f8", external=[("/etc/passwd", 0, 72)]))),
        "put together from other arrays or files",
    ),
    "external link": (link(POS, h5py.ExternalLink("/etc/passwd", "x")), f"'/{POS}' is a link to somewhere else"),
    "soft link to itself": (link(ACTIONS, h5py.SoftLink(f"/{ACTIONS}")), f"'/{ACTIONS}' is a link"),
    "demonstration elsewhere": (link("data/demo_4", h5py.ExternalLink("x.hdf5", "data")), "'/data/demo_4' is a link"),
    "a group in itself": (link("data/demo_4/obs", lambda file: file["data/demo_4"]), "agentview_image' is missing"),
    "enormous": (declared((10**12, 7)), "declares .*TB, which the .* cannot hold"),
    "enormous chunks": (declared((2**26, 7), chunks=(2**26, 7)), "chunks of 3.76 GB"),
    "more than fits": (declared((10**7, 7), chunks=(1000, 7), compression="gzip"), "declares .* cannot hold"),
    "compound": (replace(ACTIONS, np.zeros(3, [("a", "f8"), ("b", "f8")])), r"expected \(n_steps, action_dim\)"),
    "objects": (
        edit(lambda file: (file.pop(POS), file.create_dataset(POS, (3, 3), h5py.string_dtype()))),
        "expected float64",
    ),
    "a number of many digits": (edit(lambda file: file["data"].move("demo_4", "demo_" + "9" * 5000)), "demo_<number>"),
    "a name that is no text": (edit(lambda file: h5py.h5g.create(file["data"].id, b"\xff\xfe")), "demo_<number> only"),
}


@pytest.mark.parametrize("damage, reason", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused_before_they_are_read(file, damage, reason):
    damage(file)
    with pytest.raises(DatasetError, match=reason) as caught:
        open_dataset(file)
    assert "\n" not in str(caught.value)


# ---- writing ------------------------------------------------------------------------------------------------------


@pytest.fixture
def target(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("L1FLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "new" / "lift.hdf5"


def fill(writer: RobomimicWriter, n: int) -> RobomimicWriter:
    while len(writer) < n:
        writer.append(Demonstration(**episode(len(writer))))
    return writer


def test_written_file_is_laid_out_as_robomimics(target):
    model = "<mujoco>" + 100_000 * " " + "</mujoco>"  # larger than an attribute's usual 64 KiB
    datagen_info = {"eef_pose": np.ones((3, 4, 4)), "object_poses": {"cube": np.zeros((3, 4, 4))}, "source": [5]}
    observations = episode(0)["observations"]
    with RobomimicWriter(target, NEW) as writer:
        given = {"model_file": model, "next_observations": observations, "extra": {"datagen_info": datagen_info}}
        writer.append(Demonstration(**episode(0), **given))
    with h5py.File(target) as file:
        demo = file["data/demo_0"]
        assert file["data"].attrs["total"] == demo.attrs["num_samples"] == 3
        assert json.loads(file["data"].attrs["env_args"]) == NEW
        assert set(demo) == {"actions", "states", "rewards", "dones", "obs", "next_obs", "datagen_info"}
        assert demo["actions"].dtype == demo["states"].dtype == demo["rewards"].dtype == np.float64
        assert list(demo["dones"]) == [0, 0, 1]
        assert demo["datagen_info/object_poses/cube"].shape == (3, 4, 4)
        assert demo["obs/agentview_image"].chunks == (1, 8, 6, 3) and demo["obs/agentview_image"].compression == "gzip"
        for key, array in observations.items():
            np.testing.assert_array_equal(demo[f"next_obs/{key}"], array)
    assert read_demo(target, "demo_0").model_file == model


def test_round_trip_in_one_go_and_in_parts(target):
    with RobomimicWriter(target, NEW) as writer:
        fill(writer, 4).close()
        assert_holds(target, range(4))
        fill(writer, 6)
    fill(RobomimicWriter(target, NEW), 9)  # never closed
    assert_holds(target, range(6))
    assert_holds(target.parent / "lift.hdf5.parts" / "demo_8.hdf5", [8])
    with RobomimicWriter(target, NEW) as writer:
        assert len(writer) == 9
        fill(writer, N_DEMOS)
    assert_holds(target, range(N_DEMOS))
    assert os.listdir(target.parent) == ["lift.hdf5"]
    with h5py.File(target) as file:
        assert file["data"].attrs["total"] == len(joined(range(N_DEMOS), "actions"))


def test_a_file_of_robomimic_is_continued(file):
    with h5py.File(file, "r+") as opened:  # as robomimic stores them
        for demo in opened["data"].values():
            for key, dtype in [("rewards", np.float64), ("dones", np.int64)]:
                values = demo[key][()].astype(dtype)
                del demo[key]
                demo[key] = values
    with RobomimicWriter(file, NEW) as writer:
        fill(writer, N_DEMOS + 2)
    assert_holds(file, range(N_DEMOS + 2))
    assert demo_names(file, "valid") == ["demo_2", "demo_10"]


@pytest.mark.parametrize("name", ["x.zarr", "x", "hdf5"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(DatasetError, match=rf"{name}: expected a name ending in \.hdf5 or \.h5$"):
        RobomimicWriter(tmp_path / name, NEW)
    assert not list(tmp_path.iterdir())


def test_closing_without_an_episode_writes_nothing(target):
    RobomimicWriter(target, NEW).close()
    assert not target.exists()


def test_an_error_outside_keeps_what_was_appended(target):
    with pytest.raises(ZeroDivisionError), RobomimicWriter(target, NEW) as writer:
        fill(writer, 2)
        raise ZeroDivisionError
    assert_holds(target, range(2))


def changed(**change) -> dict:
    return {**episode(1), **change}


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (changed(actions=np.full((4, 7), np.nan)), "demonstration: key 'actions' holds a NaN"),
        (changed(actions=[["a"] * 7] * 4), "demonstration: actions are not numbers"),
        (changed(actions=np.zeros(4)), r"demonstration: expected actions \(n_steps, action_dim\), found \(4,\)"),
        (changed(actions=np.zeros((0, 7))), r"demonstration: expected actions .* found \(0, 7\)"),
        (changed(observations={"object": np.full((4, 2), "a")}), "demonstration: key 'obs/object': expected numbers"),
        (changed(states=np.zeros((5, 32))), r"'states' is \(5, 32\), expected \(4, ...\)"),
        (changed(rewards=0.0), r"'rewards' is \(\), expected \(4, ...\)"),
        (changed(observations={"object": np.zeros((3, 10))}), r"'obs/object' is \(3, 10\)"),
        (
            changed(actions=np.zeros((4, 8))),
            r"lift.hdf5: demo_1: expected \{.*\(7,\).*as the others have, found \{.*\(8,\)",
        ),
        (
            changed(observations={"object": np.zeros((4, 10))}),
            "lift.hdf5: demo_1: expected .*robot0_eef_pos.* as the others have",
        ),
    ],
)
def test_an_episode_that_does_not_fit_is_refused(target, arguments, reason):
    fill(RobomimicWriter(target, NEW), 1)
    with RobomimicWriter(target, NEW) as writer:  # knows the others from the disk
        with pytest.raises(DatasetError, match=reason):
            writer.append(Demonstration(**arguments))
        fill(writer, 2)
    assert_holds(target, range(2))


@pytest.mark.parametrize("closed", [False, True])
def test_another_environment_is_refused(target, closed):
    writer = fill(RobomimicWriter(target, NEW), 1)
    if closed:
        writer.close()
    del writer
    with pytest.raises(DatasetError, match=r"lift.hdf5.*env_args: .*expected env_version None, found '1.5.1'"):
        RobomimicWriter(target, OLD)


def test_a_lost_part_is_noticed(target):
    fill(RobomimicWriter(target, NEW), 3)
    (target.parent / "lift.hdf5.parts" / "demo_1.hdf5").unlink()
    with pytest.raises(DatasetError, match=r"parts: expected demonstrations from 0 on, found \[0, 2\]"):
        RobomimicWriter(target, NEW)


# ---- killed writers -----------------------------------------------------------------------------------------------


def killed(function, *arguments, after: float | None = None) -> None:
    """Run it in a process of its own and SIGKILL that after so many seconds, unless it does so itself."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    if after is not None:
        time.sleep(after)
        process.kill()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL


def append_for_ever(path: Path, n_appended) -> None:
    writer = RobomimicWriter(path, NEW)
    n_appended.value = len(writer)  # one more, where the last process was killed before it could say so
    while True:
        writer.append(Demonstration(**episode(len(writer))))
        n_appended.value = len(writer)
        if len(writer) % 5 == 0:
            writer.close()


def test_killed_at_any_time(target):
    n_appended, rng = multiprocessing.Value("i", 0), np.random.default_rng(0)
    while n_appended.value < 20:
        killed(append_for_ever, target, n_appended, after=rng.uniform(0.02, 0.2))
        if target.exists():
            assert_holds(target, range(len(demo_names(target))))
        assert len(RobomimicWriter(target, NEW)) - n_appended.value in (0, 1)  # 1: killed before it could say so
    with RobomimicWriter(target, NEW) as writer:
        n = len(writer)
    assert_holds(target, range(n))
    assert os.listdir(target.parent) == ["lift.hdf5"]


def die_at(path: Path, module: str, function: str, closing: bool) -> None:
    writer = RobomimicWriter(path, NEW)
    if closing:
        fill(writer, 4)
    setattr(sys.modules[module], function, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
    if closing:
        writer.close()
    writer.append(Demonstration(**episode(2)))


@pytest.mark.parametrize(
    "module, function, closing, n_before, n_closed, n",
    [
        ("os", "fsync", False, 2, 2, 2),  # the part is written under its temporary name
        ("os", "replace", False, 2, 2, 2),
        ("shutil", "copyfile", True, 2, 2, 4),
        ("os", "replace", True, 2, 2, 4),  # merged under the temporary name
        ("os", "replace", True, 0, 0, 4),
        ("shutil", "rmtree", True, 2, 4, 4),  # merged, and the parts are still there
    ],
)
def test_killed_at_a_chosen_place(target, module, function, closing, n_before, n_closed, n):
    with RobomimicWriter(target, NEW) as writer:
        fill(writer, n_before)
    killed(die_at, target, module, function, closing)
    if n_closed:
        assert_holds(target, range(n_closed))
    with RobomimicWriter(target, NEW) as writer:
        assert len(writer) == n
        fill(writer, 6)
    assert_holds(target, range(6))
    assert os.listdir(target.parent) == ["lift.hdf5"]


# ---- robomimic itself ---------------------------------------------------------------------------------------------


def test_robomimic_reads_what_we_write(target):
    dataset = pytest.importorskip("robomimic.utils.dataset", reason="robomimic is not installed")
    obs_utils = pytest.importorskip("robomimic.utils.obs_utils")
    obs_utils.initialize_obs_utils_with_obs_specs(
        {"obs": {"low_dim": ["object", "robot0_eef_pos"], "rgb": ["agentview_image"]}}
    )
    with RobomimicWriter(target, NEW) as writer:
        for number in range(N_DEMOS):
            arrays = episode(number)
            writer.append(Demonstration(**arrays, next_observations=arrays["observations"]))
    sequences = dataset.SequenceDataset(
        hdf5_path=str(target),
        obs_keys=("object", "robot0_eef_pos", "agentview_image"),
        dataset_keys=("actions", "rewards", "dones"),
        seq_length=2,
    )
    assert len(sequences) == len(joined(range(N_DEMOS), "actions"))
    ours = open_dataset(target)
    for row in (0, 7, len(sequences) - 3):  # not the last of an episode: that one is padded
        item = sequences[row]
        np.testing.assert_allclose(item["actions"], ours.actions[row : row + 2], rtol=1e-6)
        for key, array in ours.observations.items():
            np.testing.assert_allclose(item["obs"][key], array[row : row + 2], rtol=1e-6)
