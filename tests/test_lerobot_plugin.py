"""Promise: LeRobot finds, loads and runs an agent of ours through the plug-in in examples/lerobot_policy_l1flow.

Here is what needs no LeRobot: features, files, what acting imports. LeRobot's own factory and commands run in
test_benchmarks.py, where they are installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

from l1flow_agents import L1FlowAgent
from l1flow_agents.errors import CheckpointError, ObservationError

PLUGIN = Path(__file__).parents[1] / "examples" / "lerobot_policy_l1flow"
sys.path.insert(0, str(PLUGIN / "src"))

from lerobot_policy_l1flow.continuing import continued  # noqa: E402
from lerobot_policy_l1flow.features import described, keys_of_features, observations_in  # noqa: E402
from lerobot_policy_l1flow.folder import main  # noqa: E402

FILES = {"config.json", "policy_preprocessor.json", "policy_postprocessor.json"}
CAMERA = spaces.Box(0, 255, (48, 64, 3), np.uint8)


def box(*shape: int) -> spaces.Box:
    return spaces.Box(-1, 1, shape)


# ---- features -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "boxes, features",
    [
        ({"agent_pos": box(2), "image": CAMERA}, {"observation.state": (2,), "observation.image": (3, 48, 64)}),
        ({"state": box(6), "top": CAMERA}, {"observation.state": (6,), "observation.images.top": (3, 48, 64)}),
        ({"eef": box(3), "object": box(2, 5)}, {"observation.state": (13,)}),
        ({"observation": box(4)}, {"observation.state": (4,)}),
        (
            {"environment_state": box(16), "state": box(2)},
            {"observation.environment_state": (16,), "observation.state": (2,)},
        ),
    ],
)
def test_names_and_shapes(boxes, features):
    assert {name: tuple(one["shape"]) for name, one in described(boxes).items()} == features
    kinds = {"observation.state": "STATE", "observation.environment_state": "ENV"}
    assert all(one["type"] == kinds.get(name, "VISUAL") for name, one in described(boxes).items())


def test_names_are_those_of_our_data_sets(tmp_path):
    """What was trained from a LeRobotDataset is shown the features that it was trained from."""
    pytest.importorskip("pyarrow", reason="needs the extra lerobot")
    from l1flow_agents.data import Episodes, open_dataset
    from l1flow_agents.data.lerobot_writer import write_lerobot

    recorded = {"eef": np.zeros((4, 3)), "object": np.zeros((4, 2)), "top": np.zeros((4, 48, 64, 3), np.uint8)}
    write_lerobot(Episodes(recorded, np.zeros((4, 2)), ends=[4]), tmp_path / "data", fps=10, task="go")
    in_file = json.loads((tmp_path / "data" / "meta" / "info.json").read_text())["features"]
    opened = open_dataset(tmp_path / "data")
    boxes = {key: CAMERA if one.ndim == 4 else box(*one.shape[1:]) for key, one in opened.observations.items()}
    assert keys_of_features(boxes) == {"observation.state": ["eef", "object"], "observation.images.top": ["top"]}
    assert set(keys_of_features(boxes)) == {name for name in in_file if name.startswith("observation.")}


def test_observations_come_back():
    rng = np.random.default_rng(0)
    boxes = {"eef": box(3), "object": box(2, 5), "top": CAMERA}
    ours = {key: rng.uniform(-1, 1, (4, *boxes[key].shape)).astype(np.float32) for key in ("eef", "object")}
    ours["top"] = np.resize(np.arange(256, dtype=np.uint8), (4, 48, 64, 3))
    state = np.concatenate([ours["eef"], ours["object"].reshape(4, 10)], axis=1)
    picture = torch.from_numpy(ours["top"]).permute(0, 3, 1, 2)
    for shown in (picture, picture.float() / 255, (picture.float() / 255).double()):
        batch = {"observation.state": torch.from_numpy(state), "observation.images.top": shown, "task": ["go"] * 4}
        back = observations_in(batch, boxes)
        assert list(back) == list(ours) and all(np.array_equal(back[key], ours[key]) for key in ours)


@pytest.mark.parametrize(
    "batch, reason",
    [
        ({"observation.effort": torch.zeros(1, 3)}, r"'observation.state' is missing, got \['observation.effort'\]"),
        ({"observation.state": torch.zeros(1, 4)}, r"'observation.state': expected \(n, 3\), got \(1, 4\)"),
        ({"observation.state": torch.zeros(3)}, r"expected \(n, 3\), got \(3,\)"),
        ({"observation.state": torch.zeros(1, 3)}, r"'observation.images.top' is missing"),
        (
            {"observation.state": torch.zeros(1, 3), "observation.images.top": torch.full((1, 3, 48, 64), -2.0)},
            r"'observation.images.top': expected pixels from 0 to 1, got -2 to -2",
        ),
        (
            {"observation.state": torch.zeros(1, 3), "observation.images.top": torch.zeros(3, 48, 64)},
            r"'observation.images.top': expected pictures \(n, 3, height, width\), got \(3, 48, 64\)",
        ),
    ],
)
def test_what_does_not_fit(batch, reason):
    with pytest.raises(ObservationError, match=reason):
        observations_in(batch, {"eef": box(3), "top": CAMERA})


# ---- real-time chunking ---------------------------------------------------------------------------------------------


def test_plans_go_on():
    """The rows that are executed meanwhile are kept, LeRobot's zeros at the end are none of them."""
    agent = L1FlowAgent.load("pusht-state", device="cpu")
    seen = {"state": np.array([[256.0, 400, 200, 300, 1.0]], np.float32)}
    torch.manual_seed(0)
    fresh = agent.predict_chunk(seen)
    left_over = fresh[0, :8] + np.float32([60, -60])
    plans = {}
    for name, rows in {"as it is": left_over, "padded": np.pad(left_over, ((0, 4), (0, 0)))}.items():
        torch.manual_seed(0)
        plans[name] = continued(agent, seen, rows, delay=3)
    assert plans["padded"].shape == fresh.shape and np.array_equal(*plans.values())
    apart = np.abs(plans["padded"][0, :8] - left_over).max(axis=1)
    assert (apart[:3] < 1).all() and (apart[:3] < apart[-1]).all()
    torch.manual_seed(0)
    assert np.array_equal(continued(agent, seen, np.zeros((4, 2), np.float32), delay=3), fresh)


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def agent():
    return L1FlowAgent("mlp", (spaces.Dict({"state": box(3)}), box(2)), network_kwargs={"width": 32}, n_action_steps=5)


def test_files_beside_an_agent(agent, tmp_path, capsys):
    agent.save(tmp_path / "mine")
    main([str(tmp_path / "mine"), str(tmp_path / "theirs")])
    assert f"--policy.path={tmp_path / 'theirs'}" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "theirs").iterdir()} == {"config.yaml", "model.safetensors", *FILES}
    assert json.loads((tmp_path / "theirs" / "config.json").read_text()) == {
        "type": "l1flow",
        "n_obs_steps": 2,
        "chunk_size": 15,
        "n_action_steps": 5,
        "input_features": {"observation.state": {"type": "STATE", "shape": [3]}},
        "output_features": {"action": {"type": "ACTION", "shape": [2]}},
    }
    ours, theirs = L1FlowAgent.load(tmp_path / "mine"), L1FlowAgent.load(tmp_path / "theirs")
    actions = [one.predict({"state": [0.1, 0.2, 0.3]}, deterministic=True)[0] for one in (ours, theirs)]
    assert np.array_equal(*actions)


def test_into_the_agents_own_folder(agent, tmp_path):
    agent.save(tmp_path / "mine")
    (tmp_path / "mine" / "README.md").write_text("a card")
    before = {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    main([str(tmp_path / "mine"), str(tmp_path / "mine")])
    after = {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    assert after.keys() == before.keys() | FILES and before.items() <= after.items()


def test_saving_takes_them_away(agent, tmp_path):
    """They would be those of another agent."""
    main(["pusht-state", str(tmp_path / "mine")])
    agent.save(tmp_path / "mine")
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"config.yaml", "model.safetensors"}


def test_a_policy_of_lerobots_own_is_not_replaced(agent, tmp_path):
    (tmp_path / "act").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "act" / name).write_text("theirs")
    with pytest.raises(CheckpointError, match="a checkpoint to replace, found a folder with"):
        agent.save(tmp_path / "act")
    with pytest.raises(SystemExit, match=r"l1flow-lerobot: .*a checkpoint to replace, found a folder with"):
        main(["pusht-state", str(tmp_path / "act")])
    assert {path.read_text() for path in (tmp_path / "act").iterdir()} == {"theirs"}


def test_no_such_agent(tmp_path):
    with pytest.raises(SystemExit, match=r"l1flow-lerobot: no checkpoint folder 'pusht-stat'.* did you mean"):
        main(["pusht-stat", str(tmp_path / "mine")])


# ---- beside LeRobot -------------------------------------------------------------------------------------------------


def test_lerobot_imports_it_by_its_name():
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    assert project["name"].startswith("lerobot_policy_") and (PLUGIN / "src" / project["name"] / "__init__.py").exists()


def test_acting_needs_no_more_than_the_plug_in_says(tmp_path):
    """l1flow-agents is installed there without what it depends on: its robosuite and LeRobot exclude each other."""
    left_out = ["robosuite", "mujoco", "numba", "fast_simplification", "scipy", "matplotlib", "moviepy", "zarr", "h5py"]
    left_out += ["tensorboard", "gym_pusht", "pymunk", "pyarrow", "av", "zmq", "ray", "huggingface_hub"]
    script = f"""
import sys
sys.modules.update(dict.fromkeys({left_out}))  # to import one is an ImportError
sys.path[:0] = [{str(PLUGIN / "src")!r}]
from lerobot_policy_l1flow.folder import main
from l1flow_agents import L1FlowAgent
main(["pusht-state", "here"])
L1FlowAgent.load("here").predict({{"state": [100.0, 100, 200, 200, 1]}})
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
