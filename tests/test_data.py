"""Readers, windows and normalisation: what training sees is what was demonstrated."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import zarr
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from l1flow_agents.data import (
    FORMATS,
    ChunkSampler,
    Episodes,
    Normalizer,
    formats,
    open_dataset,
    read_replay_zarr,
    replay_zarr,
)
from l1flow_agents.data.actions import rescaled, within
from l1flow_agents.errors import ConfigError, DatasetError

# ---- human demonstrations -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pusht(human_demos, tmp_path_factory) -> Episodes:
    return read_replay_zarr(human_demos, cache_dir=tmp_path_factory.mktemp("cache"))


def test_real_shapes(pusht):
    shapes = {key: (array.shape, array.dtype) for key, array in pusht.observations.items()}
    f32 = np.dtype(np.float32)
    assert shapes["image"] == ((738, 96, 96, 3), np.dtype(np.uint8))
    assert shapes["state"] == ((738, 5), f32)
    assert shapes["agent_pos"] == ((738, 2), f32)
    assert pusht.actions.shape == (738, 2)
    assert list(np.diff(pusht.ends, prepend=0)) == [161, 118, 141, 159, 159]


def test_real_images_are_mapped_and_equal_the_file(pusht, human_demos):
    image = pusht.observations["image"]
    assert isinstance(image, np.memmap)
    stored = zarr.open_group(str(human_demos), mode="r")["data/img"]
    for begin in (0, 315, 728):
        np.testing.assert_array_equal(image[begin : begin + 10], stored[begin : begin + 10])


def test_real_agent_pos_is_the_start_of_state(pusht):
    np.testing.assert_array_equal(pusht.observations["agent_pos"], pusht.observations["state"][:, :2])


def test_an_episode_has_seven_windows_fewer_than_rows(pusht):
    assert len(ChunkSampler(pusht, 16, 2, 8)) == 738 - 5 * 7


def test_window_counts_of_all_are_the_published_ones(real_data):
    demos = read_replay_zarr(real_data, keys=["state"])
    assert len(demos) == 206
    assert len(ChunkSampler(demos, 16, 2, 8)) == 24_208
    train, val = demos.split(0.02, seed=42)
    assert list(val) == [18, 90, 134, 157]
    assert len(train) == 202
    assert not set(train) & set(val)


def test_the_sample_is_the_beginning_of_all(human_demos, real_data):
    part, whole = (zarr.open_group(str(path), mode="r") for path in (human_demos, real_data))
    assert set(part["data"]) == set(whole["data"])
    for name in ["meta/episode_ends", *(f"data/{name}" for name in whole["data"])]:
        kept, all_rows = part[name], whole[name]
        assert (kept.dtype, kept.chunks, kept.compressors) == (all_rows.dtype, all_rows.chunks, all_rows.compressors)
        np.testing.assert_array_equal(kept[:], all_rows[: kept.shape[0]])


# ---- reading a replay buffer --------------------------------------------------------------------------------------


def test_replay_is_read_as_it_is(replay):
    demos, root = open_dataset(replay), zarr.open_group(str(replay), mode="r")
    assert set(demos.observations) == {"agent_pos", "image", "state"}
    np.testing.assert_array_equal(demos.observations["image"], root["data/img"][:])
    np.testing.assert_array_equal(demos.observations["state"], root["data/state"][:])
    np.testing.assert_array_equal(demos.actions, root["data/action"][:])
    assert list(demos.ends) == [12, 21, 41]


def test_cache_is_converted_once(replay, monkeypatch):
    first = open_dataset(replay).observations["image"]
    monkeypatch.setattr(replay_zarr, "_to_uint8", None)  # calling it again would raise
    np.testing.assert_array_equal(open_dataset(replay).observations["image"], first)


def test_cache_of_changed_data_is_not_used(replay):
    before = np.array(open_dataset(replay).observations["image"])
    zarr.open_group(str(replay), mode="r+")["data/img"][:] = 7.0
    after = open_dataset(replay).observations["image"]
    assert (after == 7).all() and (before != 7).any()


def test_images_nobody_asks_for_are_not_read(replay, tmp_path):
    assert set(open_dataset(replay, keys=["state"]).observations) == {"state"}
    assert not (tmp_path / "cache").exists()


def test_unknown_key_names_the_known_ones(replay):
    with pytest.raises(DatasetError, match=r"\['depth'\].*agent_pos.*image.*state"):
        open_dataset(replay, keys=["depth"])


def test_a_flat_state_has_no_position_in_it(replay):
    root = zarr.open_group(str(replay), mode="r+")
    del root["data/state"]
    root.create_array("data/state", data=np.arange(1, 42), chunks=(16,))
    assert set(open_dataset(replay).observations) == {"image", "state"}


def remove(name):
    return lambda path: (path / name).unlink()


def remove_all(pattern):
    def damage(path):
        for chunk in path.glob(pattern):
            chunk.unlink()

    return damage


def without_fill(name):
    def damage(path):
        (path / name).unlink()
        metadata = (path / name).with_name(".zarray")
        metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "fill_value": None}))

    return damage


def forget_array(name):
    def damage(path):
        zarr.consolidate_metadata(str(path))
        shutil.rmtree(path / name)

    return damage


def shorten(name):
    def damage(path):
        chunk = (path / name).read_bytes()
        (path / name).write_bytes(chunk[: len(chunk) // 2])

    return damage


def write(name, text):
    return lambda path: (path / name).write_text(text)


def store(name, value, where=...):
    def damage(path):
        zarr.open_group(str(path), mode="r+")[name][where] = value

    return damage


def remove_array(name):
    return lambda path: shutil.rmtree(path / name)


DAMAGE = {
    "ends chunk missing": (remove("meta/episode_ends/0"), "meta/episode_ends.*0 of 1 chunks; the copy is incomplete"),
    "action chunks missing": (remove_all("data/action/[12].0"), "data/action.*1 of 3 chunks; the copy is incomplete"),
    "image chunks missing": (remove_all("data/img/*.0.0.0"), "data/img.*0 of 3 chunks; the copy is incomplete"),
    "chunk missing that has no fill value": (without_fill("data/state/1.0"), "data/state.*2 of 3 chunks"),
    "listed array missing": (forget_array("data/state"), r".zmetadata lists \['state'\].*incomplete"),
    "chunk cut": (shorten("data/action/2.0"), "data/action.*damaged.*chunk 2.0"),
    "image chunk cut": (shorten("data/img/1.0.0.0"), "data/img.*damaged.*chunk 1.0.0.0"),
    "image chunk empty": (write("data/img/2.0.0.0", ""), "data/img.*damaged: chunk 2.0.0.0"),
    "chunk undecodable": (write("data/img/2.0.0.0", 12 * "-" + "\x10\0\0\0"), "data/img.*damaged: chunk 2.0.0.0"),
    "action missing": (remove_array("data/action"), "data/action.*missing"),
    "ends missing": (remove_array("meta/episode_ends"), "meta/episode_ends.*missing"),
    "ends not increasing": (store("meta/episode_ends", [12, 12, 41]), "episode 1 is empty"),
    "ends negative": (store("meta/episode_ends", [-3, 12, 41]), "episode 0 is empty"),
    "ends too far": (store("meta/episode_ends", [12, 21, 42]), "ends at row 42.*41 actions"),
    "garbage metadata": (write("data/state/.zarray", "{not json"), "data/state"),
    "wrong metadata": (write("data/state/.zarray", json.dumps({"zarr_format": 2})), "data/state"),
    "action NaN": (store("data/action", np.nan, (20, 1)), "'action'.*NaN.*episode 1, row 8$"),
    "state infinite": (store("data/state", np.inf, (40, 3)), "'(agent_pos|state)'.*infinity.*episode 2, row 19$"),
    "pixel too bright": (store("data/img", 256.0, (17, 0, 0, 0)), "data/img.*rows 16..32.*0..255.*256"),
    "pixel NaN": (store("data/img", np.nan, (5, 0, 0, 0)), "data/img.*rows 0..16"),
}


@pytest.mark.parametrize("damage, reason", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_named_and_leaves_no_cache(replay, tmp_path, damage, reason):
    damage(replay)
    with pytest.raises(DatasetError, match=reason) as caught:
        open_dataset(replay)
    assert "toy.zarr" in str(caught.value)
    partial = [path for path in (tmp_path / "cache").glob("**/*") if path.is_dir() or "img" in str(caught.value)]
    assert partial == []


def test_group_missing(replay):
    shutil.rmtree(replay / "meta")
    with pytest.raises(DatasetError, match=r"toy\.zarr.*meta/"):
        read_replay_zarr(replay)


@pytest.mark.parametrize(
    "make, reason", [(lambda p: p.mkdir(), "unknown format"), (lambda p: None, "no such data set")]
)
def test_not_a_data_set(tmp_path, make, reason):
    make(tmp_path / "here")
    with pytest.raises(DatasetError, match=f"here.*{reason}"):
        open_dataset(tmp_path / "here")


# ---- what Zarr leaves out, and pictures of floats -------------------------------------------------------------------


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_chunk_of_zeros_that_zarr_left_out_is_zeros(tmp_path, monkeypatch, zarr_format):
    """It may have been lost, too: that cannot be told, and is said."""
    monkeypatch.setenv("L1FLOW_CACHE", str(tmp_path / "cache"))
    root = zarr.open_group(str(tmp_path / "z.zarr"), mode="w", zarr_format=zarr_format)
    state, img = np.ones((40, 3), np.float32), np.full((40, 4, 4, 3), 9, np.float32)
    state[10:20], img[30:] = 0, 0
    arrays = {"data/action": np.ones((40, 2), np.float32), "data/state": state, "data/img": img}
    for name, array in {**arrays, "meta/episode_ends": np.array([40])}.items():
        root.create_array(name, data=array, chunks=(10, *array.shape[1:]))
    assert len(list((tmp_path / "z.zarr" / "data" / "state").rglob("[1-9].0"))) < 3, "Zarr has left one out"
    with pytest.warns(UserWarning, match="data/(state|img)' has 3 of 4 chunks: .*an incomplete copy looks the same"):
        demos = open_dataset(tmp_path / "z.zarr")
    np.testing.assert_array_equal(demos.observations["state"], state)
    np.testing.assert_array_equal(demos.observations["image"], img)


@pytest.mark.parametrize("compressor", [None, "zstd", "gzip", "blosc"])
def test_every_usual_compressor_of_both_formats(tmp_path, compressor):
    from zarr import codecs

    chosen = {"zstd": codecs.ZstdCodec(), "gzip": codecs.GzipCodec(), "blosc": codecs.BloscCodec()}.get(compressor)
    root = zarr.open_group(str(tmp_path / "z.zarr"), mode="w", zarr_format=3)
    arrays = {"data/action": np.ones((40, 2), np.float32), "data/state": np.random.default_rng(0).normal(size=(40, 3))}
    for name, array in {**arrays, "meta/episode_ends": np.array([40])}.items():
        root.create_array(name, data=array, chunks=(16, *array.shape[1:]), compressors=chosen and [chosen])
    state = open_dataset(tmp_path / "z.zarr").observations["state"]
    np.testing.assert_array_equal(state, arrays["data/state"].astype(np.float32))


def with_images(path, images) -> np.ndarray:
    root = zarr.open_group(str(path), mode="r+")
    del root["data/img"]
    root.create_array("data/img", data=images, chunks=(16, *images.shape[1:]))
    return open_dataset(path).observations["image"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_pictures_of_floats_in_0_to_1_are_scaled(replay, dtype):
    pixels = np.random.default_rng(1).integers(256, size=(41, 8, 8, 3))
    pixels[:16] = 0  # a whole chunk of black decides nothing
    np.testing.assert_array_equal(with_images(replay, (pixels / 255).astype(dtype)), pixels)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
def test_dark_pictures_of_0_to_255_stay_dark(replay, dtype):
    pixels = np.random.default_rng(1).integers(2, size=(41, 8, 8, 3))
    pixels[40, 0, 0, 0] = 2 if dtype is np.float32 else 1  # floats that are all 0 or 1 are a black and white picture
    np.testing.assert_array_equal(with_images(replay, pixels.astype(dtype)), pixels)


@pytest.mark.parametrize(
    "images, found", [(np.full((41, 8, 8, 3), -0.5), "-0.5"), (np.full((41, 8, 8, 3), 256.0), "256")]
)
def test_other_pictures_are_refused(replay, images, found):
    with pytest.raises(DatasetError, match=rf"0\.\.255 or all of them in 0\.\.1, found {found}"):
        with_images(replay, images)


def test_the_real_pictures_are_decided_by_their_first_chunk(replay, monkeypatch):
    read = []
    monkeypatch.setattr(
        replay_zarr.ZarrArray,
        "rows",
        lambda self, rows, plain=replay_zarr.ZarrArray.rows: read.append(rows) or plain(self, rows),
    )
    replay_zarr._is_unit(replay_zarr.look_at(replay, "data/img"))
    assert read == [slice(0, 16)]


# ---- formats --------------------------------------------------------------------------------------------------------


def test_a_format_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr(FORMATS, "_things", dict(FORMATS._things))
    rows = np.zeros((4, 2), np.float32)
    text = formats.Format(
        "rows of text",
        lambda path: path.suffix == ".txt",
        lambda path, keys=None: Episodes({"state": rows}, rows, [4], str(path)),
        lambda path: {"format": "rows of text"},
    )
    FORMATS.register("text")(text)
    (tmp_path / "demos.txt").write_text("0 0")
    assert open_dataset(tmp_path / "demos.txt").n_steps == 4
    assert formats.describe_dataset(tmp_path / "demos.txt") == {"format": "rows of text"}
    with pytest.raises(DatasetError, match="rows of text has no filter keys, got 'train'"):
        open_dataset(tmp_path / "demos.txt", filter_key="train")
    with pytest.raises(ConfigError, match="data format 'text' exists already"):
        FORMATS.register("text")(formats.Format("another", text.detect, text.read, text.describe))


@pytest.mark.parametrize("error", [OSError("two\nlines"), SystemExit("two lines")])
def test_a_format_that_fails_to_tell_is_one_line_and_the_rest_works(replay, monkeypatch, caplog, error):
    def detect(path):
        raise error

    monkeypatch.setattr(FORMATS, "_things", dict(FORMATS._things))
    formats._blame.cache_clear()
    FORMATS.register("broken")(formats.Format("broken rows", detect, open_dataset, dict))
    assert open_dataset(replay).n_steps == formats.describe_dataset(replay)["steps"]
    (line,) = [record.getMessage() for record in caplog.records]
    kind = type(error).__name__
    assert line == f"left out: data format 'broken rows' cannot tell what is its own ({kind}: two lines)"


# ---- actions --------------------------------------------------------------------------------------------------------

METRES = spaces.Box(np.float32([-1, 0]), np.float32([1, 2]), dtype=np.float32)


def demos_with(actions) -> Episodes:
    return Episodes({"a": ROWS}, np.array(actions), [2, 5], names=("demo_3", "demo_7"))


def test_actions_outside_are_refused_with_share_and_extremes():
    demos = demos_with([[0, 0], [1, 2], [0, 1], [-3, 1], [4, 3]])
    with pytest.raises(DatasetError) as caught:
        within(demos, METRES)
    text = str(caught.value)
    for part in (
        "key 'action': 40.0% of the steps",
        "demo_7, row 1",
        "dimension 0 holds -3..4",
        "expected -1..1",
        "clip",
    ):
        assert part in text
    clipped = within(demos, METRES, "clip")
    np.testing.assert_array_equal(clipped.actions, [[0, 0], [1, 2], [0, 1], [-1, 1], [1, 2]])


def test_rounding_is_not_outside():
    demos = demos_with(np.float32([[1.0000001, 2.0000002], [-1.0005, -0.001], [0, 0], [0, 0], [0, 0]]))
    assert within(demos, METRES) is demos
    free = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    assert within(demos_with(np.full((5, 2), 1e30)), free).actions.max() > 1e29


def test_units_are_changed_by_their_bounds_not_by_the_data():
    demos = rescaled(demos_with(np.full((5, 2), 0.025)), -0.05, 0.05, METRES)
    np.testing.assert_allclose(demos.actions[0], [0.5, 1.5], rtol=1e-6)
    with pytest.raises(ConfigError, match="finite bounds with low < high"):
        rescaled(demos, 1, 1, METRES)


def test_the_real_actions_lie_inside(real_data):
    within(open_dataset(real_data, keys=["state"]), spaces.Box(0, 512, (2,), np.float32))


# ---- Episodes -----------------------------------------------------------------------------------------------------

ROWS = np.zeros((5, 2), np.float32)


@pytest.mark.parametrize(
    "observations, actions, ends, reason",
    [
        ({}, ROWS, [5], "at least one observation key"),
        ({"a": ROWS}, ROWS[:, 0], [5], r"actions must be \(n_steps, action_dim\)"),
        ({"a": ROWS}, ROWS, [], "at least one row"),
        ({"a": ROWS}, ROWS, [3, 3, 5], "episode 1 is empty"),
        ({"a": ROWS}, ROWS, [0, 5], "episode 0 is empty"),
        ({"a": ROWS}, ROWS, [2, 4], "ends at row 4 but there are 5 actions"),
        ({"a": ROWS[:4]}, ROWS, [5], "'a' has 4 rows, expected 5"),
        ({"a": ROWS}, ROWS, [2.0, 5.0], "episode ends must be whole numbers, found float64"),
        ({"a": ROWS}, ROWS, np.array([5, 2], np.uint64), "episode 1 is empty"),
        (ROWS, ROWS, [5], "found ndarray; a single array of observations is {'observation': array}"),
        ({"a": ROWS.astype(complex)}, ROWS, [5], "'a': expected rows of numbers, found type complex64|complex128"),
        ({"a": ROWS.astype(object)}, ROWS, [5], "'a': expected rows of numbers, found type object"),
        ({"a": [[1], [1, 2]]}, ROWS, [5], "'a' is no array"),
        ({"a": ROWS}, 3.0, [5], "'action': expected rows of numbers, found a single one"),
        ({"a": ROWS * np.nan}, ROWS, [5], "'a' holds a NaN or infinity, first in episode 0, row 0"),
    ],
)
def test_inconsistent_episodes_are_refused(observations, actions, ends, reason):
    with pytest.raises(DatasetError, match=reason):
        Episodes(observations, actions, ends if len(ends) else np.array(ends, int))


def test_what_numpy_makes_by_default_is_taken():
    demos = Episodes({"a": [[1.0, 2.0]] * 5, "c": np.arange(5)[:, None]}, np.ones((5, 2)), [2, 5])
    assert demos.observations["c"].dtype == np.int64, "training turns it into float32, a batch at a time"
    assert demos.observations["a"].shape == (5, 2) and demos.ends.dtype == np.int64


def test_places_are_those_of_the_source():
    demos = Episodes({"a": ROWS}, ROWS, [2, 5], names=("demo_3", "demo_7"))
    assert [demos.place(row) for row in (1, 2, 4)] == ["demo_3, row 1", "demo_7, row 0", "demo_7, row 2"]
    with pytest.raises(DatasetError, match="demo_7 is empty"):
        Episodes({"a": ROWS}, ROWS, [5, 5], names=("demo_3", "demo_7"))
    with pytest.raises(DatasetError, match="1 names for 2 episodes"):
        Episodes({"a": ROWS}, ROWS, [2, 5], names=("demo_3",))


def test_fingerprint_changes_with_any_value(make_episodes):
    base = make_episodes()
    assert base.fingerprint == make_episodes().fingerprint
    actions, pos = base.actions.copy(), base.observations["pos"].copy()
    actions[3, 1] += 1e-3
    pos[4, 2] += 1e-3
    others = [
        Episodes(base.observations, actions, base.ends),
        Episodes({"pos": pos}, base.actions, base.ends),
        Episodes({"position": base.observations["pos"]}, base.actions, base.ends),
        Episodes(base.observations, base.actions, base.ends[1:]),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 5


@given(n=st.integers(1, 40), fraction=st.floats(0, 0.99), seed=st.integers(0, 9))
def test_split_takes_every_episode_once(n, fraction, seed):
    rows = np.zeros((n, 1), np.float32)
    train, val = Episodes({"a": rows}, rows, np.arange(1, n + 1)).split(fraction, seed)
    assert sorted([*train, *val]) == list(range(n))
    assert len(train) >= 1
    assert len(val) == (0 if fraction == 0 or n == 1 else min(max(1, round(n * fraction)), n - 1))


# ---- windows ------------------------------------------------------------------------------------------------------


def slow_windows(lengths, horizon, n_obs, n_act, ids):
    """All windows as lists of (row, inside), written down step by step."""
    windows = []
    for episode in ids:
        first_row, length = sum(lengths[:episode]), lengths[episode]
        starts = list(range(-(n_obs - 1), length - horizon + (n_act - 1) + 1)) or [-(n_obs - 1)]
        for start in starts:
            window = []
            for step in range(start, start + horizon):
                inside = 0 <= step < length
                nearest = step if inside else (0 if step < 0 else length - 1)
                window.append((first_row + nearest, inside))
            windows.append(window)
    return windows


@st.composite
def window_cases(draw):
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    n_obs, n_act = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    horizon = draw(st.integers(n_obs - 1 + n_act, n_obs + n_act + 5))
    ids = draw(st.lists(st.sampled_from(range(len(lengths))), min_size=1, unique=True))
    return lengths, horizon, n_obs, n_act, ids


@settings(deadline=None)
@given(case=window_cases())
def test_windows_equal_the_slow_ones(case):
    lengths, horizon, n_obs, n_act, ids = case
    row = np.arange(sum(lengths), dtype=np.float32)
    demos = Episodes({"row": row[:, None]}, np.stack([row, -row], axis=1), np.cumsum(lengths))
    sampler = ChunkSampler(demos, horizon, n_obs, n_act, np.array(ids))
    expected = np.array(slow_windows(*case))  # (windows, horizon, [row, inside])

    assert len(sampler) == len(expected)
    chunks = sampler[np.arange(len(sampler))]
    np.testing.assert_array_equal(chunks.actions, np.stack([expected[..., 0], -expected[..., 0]], axis=-1))
    np.testing.assert_array_equal(chunks.observations["row"][..., 0], expected[:, :n_obs, 0])
    np.testing.assert_array_equal(chunks.valid, expected[..., 1])


@given(batch=st.integers(1, 9), epoch=st.integers(0, 3), seed=st.integers(0, 3))
def test_an_epoch_shows_every_window_once(batch, epoch, seed):
    rows = np.zeros((36, 1), np.float32)
    sampler = ChunkSampler(Episodes({"a": rows}, rows, np.array([36])), 1, 1, 1)
    per_epoch = len(sampler) // batch
    batches = [sampler.batch_indices(epoch * per_epoch + k, batch, seed) for k in range(per_epoch)]
    shown = np.concatenate(batches)
    assert all(len(indices) == batch for indices in batches)
    assert len(set(shown)) == len(shown) == per_epoch * batch  # all 36 where the batch divides them


def test_batches_are_a_function_of_step_and_seed(make_episodes):
    def sampler():
        return ChunkSampler(make_episodes(), 8, 2, 4)

    walked = sampler()
    in_order = [walked.batch_indices(step, 10, seed=3) for step in range(20)]
    for step in (17, 2, 11):
        np.testing.assert_array_equal(sampler().batch_indices(step, 10, seed=3), in_order[step])
        np.testing.assert_array_equal(walked.batch_indices(step, 10, seed=3), in_order[step])
        assert (walked.batch_indices(step, 10, seed=4) != in_order[step]).any()
    assert (in_order[0] != in_order[len(walked) // 10]).any()  # each epoch has an order of its own


def test_few_windows_make_one_batch(make_episodes):
    sampler = ChunkSampler(make_episodes((4,)), 3, 1, 2)
    assert sorted(sampler.batch_indices(5, 256, seed=0)) == list(range(len(sampler)))


@pytest.mark.parametrize("lengths", [(0, 1, 1), (4, 0, 1), (4, 1, 0), (4, 3, 3)])
def test_lengths_that_do_not_fit(make_episodes, lengths):
    with pytest.raises(ConfigError, match="horizon"):
        ChunkSampler(make_episodes(), *lengths)


# ---- normaliser ---------------------------------------------------------------------------------------------------


def fitted(pos: np.ndarray, actions: np.ndarray, unit_actions: bool = False, **more: np.ndarray) -> Normalizer:
    observations = {"pos": pos, **more}
    box = spaces.Box(-1, 1, actions.shape[1:], np.float32) if unit_actions else spaces.Box(-9, 9, actions.shape[1:])
    parts = {
        key: spaces.Box(0, 255, x.shape[1:], np.uint8)
        if x.dtype == np.uint8
        else spaces.Box(-np.inf, np.inf, x.shape[1:])
        for key, x in observations.items()
    }
    normalizer = Normalizer.for_spaces(spaces.Dict(parts), box)
    normalizer.fit(Episodes(observations, actions, np.array([len(pos)])))
    return normalizer


numbers = st.floats(-1000, 1000, width=32)


@given(rows=st.lists(st.tuples(numbers, numbers), min_size=2, max_size=8))
def test_limits_map_to_one_and_back(rows):
    data = np.array(rows, np.float32)
    normalizer = fitted(data, data)
    moved = np.ptp(data.astype(np.float64), axis=0) >= 1e-4
    for key in ("pos", "action"):
        y = normalizer.normalize(key, torch.from_numpy(data))
        size = np.abs(data).max(axis=0) / np.maximum(np.ptp(data, axis=0), 1e-4)  # float32 loses this much
        tolerance = 1e-5 + 1e-6 * size
        assert np.all(np.abs(y.amax(0).numpy() - 1)[moved] <= tolerance[moved])
        assert np.all(np.abs(y.amin(0).numpy() + 1)[moved] <= tolerance[moved])
        assert np.all(np.abs(y.numpy()[:, ~moved]) <= 1e-3)
        np.testing.assert_allclose(normalizer.unnormalize(key, y), data, rtol=1e-5, atol=2e-4)


def test_constant_dimension_maps_to_zero_and_back():
    data = np.array([[3, 1], [3, 2]], np.float32)
    normalizer = fitted(data, data)
    y = normalizer.normalize("pos", torch.from_numpy(data))
    assert y.tolist() == [[0, -1], [0, 1]]
    elsewhere = normalizer.normalize("pos", torch.tensor([[5.0, 1.5]]))
    assert torch.isfinite(elsewhere).all()
    assert normalizer.unnormalize("action", torch.zeros(1, 2)).tolist() == [[3, 1.5]]


def test_quaternions_and_unit_actions_stay():
    data = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    normalizer = fitted(data, np.clip(data, -1, 1), unit_actions=True, robot0_eef_quat=data)
    x = torch.from_numpy(data)
    assert normalizer.normalize("robot0_eef_quat", x) is x
    assert normalizer.unnormalize("action", x) is x
    assert (normalizer.normalize("pos", x) != x).any()


def test_images_map_to_one_and_back():
    image = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    normalizer = fitted(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32), image=image)
    y = normalizer.normalize("image", torch.from_numpy(image))
    np.testing.assert_allclose(y.flatten(), np.linspace(-1, 1, 256), atol=1e-6)
    np.testing.assert_allclose(normalizer.unnormalize("image", y), image, atol=1e-4)


def test_select_keeps_what_is_asked_for(make_episodes):
    demos = make_episodes(images=True)
    chosen = demos.select(["pos"])
    assert list(chosen.observations) == ["pos"]
    assert chosen.actions is demos.actions
    with pytest.raises(DatasetError, match=r"no observation key \['depth'\], found \['image', 'pos'\]"):
        demos.select(["pos", "depth"])
