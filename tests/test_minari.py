"""Minari: what is written is read back in equal numbers, its environment is made again, and nothing is executed."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import gymnasium as gym
import h5py
import numpy as np
import pytest
from PIL import Image

from l1flow_agents.cli import main
from l1flow_agents.data import Episodes, open_dataset
from l1flow_agents.data.convert import convert
from l1flow_agents.data.formats import describe_dataset
from l1flow_agents.data.minari_writer import write_minari
from l1flow_agents.errors import ConfigError, DatasetError
from l1flow_agents.recovering import recover_environment

FILE, METADATA = "data/main_data.hdf5", "data/metadata.json"


def moving(seed: int = 0) -> Episodes:
    rng = np.random.default_rng(seed)
    observations = {
        "arm/joints": rng.normal(size=(21, 6)).astype(np.float32),
        "object": rng.normal(size=(21, 3)).astype(np.float32),
        "top": rng.integers(256, size=(21, 40, 48, 3), dtype=np.uint8),
    }
    actions, rewards = rng.uniform(-1, 1, (21, 2)).astype(np.float32), rng.uniform(size=21).astype(np.float32)
    return Episodes(observations, actions, np.array([4, 21]), rewards=rewards, fps=20)


@pytest.fixture
def written(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("L1FLOW_CACHE", str(tmp_path / "cache"))
    write_minari(moving(), tmp_path / "moving-v0", gym.spec("PushT-v0"))
    return tmp_path / "moving-v0"


def assert_equal(one: Episodes, other: Episodes) -> None:
    assert list(one.ends) == list(other.ends) and set(one.observations) == set(other.observations)
    np.testing.assert_array_equal(one.actions, other.actions)
    np.testing.assert_array_equal(one.rewards, other.rewards)
    for key, array in one.observations.items():
        np.testing.assert_array_equal(np.asarray(array), np.asarray(other.observations[key]), err_msg=key)


def test_there_and_back(written, tmp_path):
    assert_equal(open_dataset(written), moving())
    assert_equal(open_dataset(written / "data"), moving())
    convert(written, tmp_path / "lerobot")
    convert(tmp_path / "lerobot", tmp_path / "again-v1", "minari")
    assert_equal(open_dataset(tmp_path / "again-v1"), moving())
    assert open_dataset(tmp_path / "again-v1").fps == 20


def test_a_bare_box(tmp_path):
    states = Episodes({"observation": np.ones((9, 3))}, np.ones((9, 1)), ends=[9])
    write_minari(states, tmp_path / "bare")
    assert json.loads((tmp_path / "bare" / METADATA).read_text())["dataset_id"] == "bare-v0"
    found = open_dataset(tmp_path / "bare")
    assert set(found.observations) == {"observation"} and not found.rewards.any()


def test_its_environment_is_made_again(written):
    env = recover_environment(written, render_mode="rgb_array")
    assert env.spec.id == "PushT-v0" and env.spec.max_episode_steps == 300 and env.render_mode == "rgb_array"
    assert describe_dataset(written)["environment"] == "PushT-v0"


def test_one_command(replay, tmp_path, capsys):
    command = ["convert", str(replay), str(tmp_path / "toy-v0"), "--to", "minari", "--keys", "state", "--env"]
    assert main([*command, "PushT-v0"]) == 0
    assert recover_environment(tmp_path / "toy-v0").spec.id == "PushT-v0"
    assert main([*command[:2], str(tmp_path / "toy-v1"), *command[3:], "Nowhere-v0"]) == 2
    assert "Nowhere" in capsys.readouterr().err


def as_jpeg(path: Path, uneven: bool = True, size=(40, 48)) -> None:
    """Pictures as Minari stores them by default."""
    with h5py.File(path / FILE, "a") as file:
        for episode in file.values():
            n = len(episode["observations/top"])
            del episode["observations/top"]
            packed = []
            for step in range(n):
                buffer = io.BytesIO()
                Image.new("RGB", size[::-1], (7, 80, 9 * step)).save(buffer, "JPEG")
                packed.append(np.frombuffer(buffer.getvalue(), np.uint8))
            if uneven:
                stored = episode.create_dataset("observations/top", n, h5py.vlen_dtype(np.uint8))
                for step, one in enumerate(packed):
                    stored[step] = one
            else:
                longest = max(map(len, packed))
                episode["observations/top"] = np.stack([np.pad(one, (0, longest - len(one))) for one in packed])


@pytest.mark.parametrize("uneven", [True, False])
def test_jpeg(written, uneven):
    as_jpeg(written, uneven)
    pictures = open_dataset(written).observations["top"]
    assert pictures.shape == (21, 40, 48, 3)
    assert np.abs(pictures[4 + 3, 0, 0].astype(int) - (7, 80, 27)).max() < 5


# ---- damaged and hostile --------------------------------------------------------------------------------------------


def told(**changes):
    def damage(path: Path) -> None:
        file = path / METADATA
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return damage


def stored(name: str, value):
    def damage(path: Path) -> None:
        with h5py.File(path / FILE, "a") as file:
            del file[name]
            if value is not None:
                file[name] = value

    return damage


def one_jpeg_only(path: Path) -> None:
    kept = np.zeros((18, 40, 48, 3), np.uint8)
    as_jpeg(path)
    stored("episode_1/observations/top", kept)(path)


DEEP = {"type": "Dict", "subspaces": {"a": {"type": "Dict", "subspaces": {}}}}
for _ in range(9):
    DEEP = {"type": "Dict", "subspaces": {"a": DEEP}}
HOSTILE = {
    "no metadata": (lambda path: (path / METADATA).write_text("{"), "not readable as JSON"),
    "long metadata": (lambda path: (path / METADATA).open("ab").truncate(1 << 30), "larger than"),
    "another storage": (told(data_format="arrow"), "expected data_format 'hdf5', found 'arrow'"),
    "no space": (told(observation_space=None), "not readable as JSON"),
    "text": (told(observation_space='{"type": "Text"}'), "a box or a dict of boxes, found Text"),
    "deep": (told(observation_space=json.dumps(DEEP)), "a box or a dict of boxes, found Dict"),
    "huge": (told(observation_space='{"type": "Box", "shape": [100000, 100000, 3]}'), "more than 10000000 numbers"),
    "no episodes": (lambda path: h5py.File(path / FILE, "w").close(), "expected episode_0 and so on"),
    "no file": (lambda path: (path / FILE).unlink(), "no such file"),
    "other key": (stored("episode_1/observations/object", None), "object.*missing"),
    "lengths": (stored("episode_0/observations/object", np.ones((4, 3))), r"expected float64 \(5, 3\)"),
    "numbers": (stored("episode_0/actions", np.arange(4)), r"expected \(n_steps, action_dim\)"),
    "a link": (stored("episode_0/actions", h5py.ExternalLink("/etc/passwd", "/")), "a link to somewhere else"),
    "NaN": (stored("episode_0/actions", np.full((4, 2), np.nan)), "NaN or infinity, first in episode_0, row 0"),
    "no JPEG": (stored("episode_0/observations/top", np.zeros((5, 90), np.uint8)), "a picture is damaged|in all"),
    "JPEG of another size": (lambda path: as_jpeg(path, size=(32, 32)), r"expected pictures \(40, 48, 3\)"),
    "some JPEG": (one_jpeg_only, "as JPEG in all episodes, or in none"),
}


@pytest.mark.parametrize("damage, reason", HOSTILE.values(), ids=HOSTILE)
def test_what_is_hostile_is_one_line(written, damage, reason):
    damage(written)
    with pytest.raises(DatasetError) as caught:
        open_dataset(written)
    assert re.search(reason, str(caught.value)) and "\n" not in str(caught.value)


def spec(**changes) -> str:
    return json.dumps({**json.loads(gym.spec("PushT-v0").to_json()), **changes})


WRAPPER = {"name": "Evil", "entry_point": "evil_module:Evil", "kwargs": {}}
SPECS = {
    "nothing": (None, "does not say in which environment"),
    "no JSON": ("{", "not readable as JSON"),
    "no id": ("{}", "env_spec cannot be read"),
    "unknown": (spec(id="Evil-v0", entry_point="evil_module:Evil"), "evil_module|doesn't exist|not registered"),
    "a module": (spec(id="evil_module:Evil-v0", entry_point="evil_module:Evil"), "expected the id of an environment"),
    "a wrapper": (spec(additional_wrappers=[WRAPPER]), "Evil"),
    "a limit": (spec(max_episode_steps="many"), "env_spec cannot be read"),
}


@pytest.mark.parametrize("text, reason", SPECS.values(), ids=SPECS)
def test_an_environment_is_never_imported(written, tmp_path, monkeypatch, text, reason):
    (tmp_path / "evil_module.py").write_text("raise SystemExit('executed')")
    monkeypatch.syspath_prepend(tmp_path)
    told(env_spec=text)(written)
    with pytest.raises((DatasetError, ConfigError, gym.error.Error), match=reason):
        recover_environment(written)
