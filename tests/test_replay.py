"""Promise: what was recorded happens again, and states alone give back what was seen."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import h5py
import numpy as np
import pytest
import yaml

from l1flow_agents.cli import main
from l1flow_agents.data import open_dataset
from l1flow_agents.data.robomimic_hdf5 import demo_names, read_env_args, read_filter_keys
from l1flow_agents.errors import ConfigError, DatasetError
from l1flow_agents.wrappers import Rotation6dAction

pytest.importorskip("robosuite", reason="the simulator of these tasks is not installed")

from l1flow_agents.demonstrations.collection import collect
from l1flow_agents.demonstrations.observing import add_observations
from l1flow_agents.demonstrations.playback import replay
from l1flow_agents.envs.rendering import gl_context_class


@pytest.fixture(scope="session")
def lift(tmp_path_factory) -> Path:
    """Three demonstrations, each with a cube of its own size."""
    path = tmp_path_factory.mktemp("demos") / "lift.hdf5"
    collect("Lift-v0", 3, path)
    with h5py.File(path, "r+") as file:
        file["mask/valid"] = np.array([b"demo_1"])
    return path


@pytest.fixture(scope="session")
def can(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("demos") / "can.hdf5"
    collect("Can-v0", 1, path)
    return path


@pytest.fixture
def copy(lift, tmp_path) -> Path:
    """A file to spoil."""
    return Path(shutil.copy(lift, tmp_path / "copy.hdf5"))


def contents(path: Path) -> dict:
    """Everything in an HDF5 file: attributes and arrays by path."""
    found: dict = {}

    def visit(name, item):
        found[name] = dict(item.attrs), item[()].tobytes() if isinstance(item, h5py.Dataset) else None

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def run(capsys, *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


# ---- replay ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["lift", "can"])
def test_a_collected_file_replays_to_the_last_bit(task, request):
    for one in replay(request.getfixturevalue(task)):
        assert one.agrees and one.success and (one.metres, one.radians) == (0, 0)


def test_the_command_reports_and_agrees(lift, capsys):
    code, out, _ = run(capsys, "replay", str(lift), "--workers", "2", "--demos", "2")
    lines = out.splitlines()
    assert code == 0 and [line.split(":")[0] for line in lines[:2]] == ["demo_0", "demo_1"]
    assert lines[-1] == "2 of 2 episodes end as the file says; largest difference 0 m, 0 rad"
    code, out, _ = run(capsys, "replay", str(lift), "--workers", "1", "--filter-key", "valid")
    assert code == 0 and out.startswith("demo_1:") and "1 of 1" in out


def test_altered_actions_are_reported(copy, capsys):
    with h5py.File(copy, "r+") as file:
        file["data/demo_1/actions"][:, 2] = 1  # upwards, away from the cube
    code, out, _ = run(capsys, "replay", str(copy), "--workers", "1")
    assert code == 1 and "2 of 3 episodes end as the file says" in out
    assert "demo_1" in out and "ends in failure, but NOT in the file" in out
    _, spoilt, _ = replay(copy)
    assert not spoilt.agrees and spoilt.metres > 0.01 and spoilt.radians > 0.05


def test_a_difference_is_in_metres_and_radians(copy):
    with h5py.File(copy, "r+") as file:
        row = file["data/demo_0/states"]
        row[5, 1 + 0] += 0.25  # a joint of the arm
        row[6, 1 + 9] += 0.125  # the cube's x
    one = next(replay(copy, 1))
    assert (one.metres, one.radians) == (pytest.approx(0.125), pytest.approx(0.25))


def test_a_raw_file_from_another_machine(copy):
    """It says by its last state and action how it ends, and robosuite's meshes lay elsewhere."""
    with h5py.File(copy, "r+") as file:
        for demo in file["data"].values():
            for key in ("obs", "next_obs", "rewards", "dones"):
                del demo[key]
            xml = demo.attrs["model_file"].replace("/robosuite/models/assets", "/nowhere/robosuite/models/assets")
            assert "/nowhere/" in xml
            demo.attrs["model_file"] = xml
    assert all(one.agrees and one.expected_success and one.metres == 0 for one in replay(copy))


# ---- observations ---------------------------------------------------------------------------------------------------


def test_observations_are_those_of_the_collection(lift, tmp_path):
    assert add_observations(lift, tmp_path / "out.hdf5") == 3
    before, after = contents(lift), contents(tmp_path / "out.hdf5")
    assert before.keys() == after.keys()
    for name, (attributes, array) in before.items():
        made_with = after[name][0].pop("add_observations", None)
        assert (made_with is None) == (name.count("/") != 1 or name.startswith("mask"))
        assert after[name][0] == attributes, name
        if "/next_obs/" not in name:
            assert after[name][1] == array, name
    with h5py.File(lift) as left, h5py.File(tmp_path / "out.hdf5") as right:
        for name in (name for name in before if "/next_obs/" in name):
            np.testing.assert_array_equal(left[name][:-1], right[name][:-1])
            # after a step whose solver had another first guess
            np.testing.assert_allclose(left[name][-1], right[name][-1], atol=1e-5)


def test_a_raw_file_gets_rewards_and_dones_and_gaps_close(copy, lift, tmp_path):
    with h5py.File(copy, "r+") as file:
        del file["data/demo_0"]
        for demo in file["data"].values():
            for key in ("obs", "next_obs", "rewards", "dones"):
                del demo[key]
    add_observations(copy, tmp_path / "out.hdf5")
    assert demo_names(tmp_path / "out.hdf5") == ["demo_0", "demo_1"]
    assert read_filter_keys(tmp_path / "out.hdf5") == {"valid": ["demo_0"]}
    with h5py.File(lift) as left, h5py.File(tmp_path / "out.hdf5") as right:
        for old, new in [("demo_1", "demo_0"), ("demo_2", "demo_1")]:
            for key in ("rewards", "dones", "actions", "obs/object"):
                np.testing.assert_array_equal(left[f"data/{old}/{key}"], right[f"data/{new}/{key}"])
            assert left[f"data/{old}"].attrs["seed"] == right[f"data/{new}"].attrs["seed"]


def test_killed_and_run_again_it_gives_the_same_file(lift, tmp_path):
    add_observations(lift, tmp_path / "whole.hdf5")
    output = tmp_path / "killed.hdf5"
    argv = ["add-observations", str(lift), "-o", str(output), "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "l1flow_agents.cli", *argv], stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_for(lambda: list(tmp_path.glob("killed.hdf5.parts/demo_0.hdf5")), process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    wait_for(lambda: not left_behind(process.pid))
    assert not output.exists()
    assert main(argv) == 0
    assert contents(output) == contents(tmp_path / "whole.hdf5")
    assert sorted(os.listdir(tmp_path)) == ["killed.hdf5", "whole.hdf5"]


def wait_for(condition, process=None, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.02)


def left_behind(session: int) -> list[int]:
    """Living processes of a session."""
    alive = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its_session) == session and state != "Z":
            alive.append(int(stat.parent.name))
    return alive


def test_continuing_with_something_else_is_refused(copy, tmp_path):
    add_observations(copy, tmp_path / "out.hdf5")
    with pytest.raises(DatasetError, match=r"out.hdf5: demo_0: expected to continue with .*fast.*, found .*dataset"):
        add_observations(copy, tmp_path / "out.hdf5", render_quality="fast")
    with h5py.File(copy, "r+") as file:
        file["data/demo_0/states"][0, 0] += 1
    with pytest.raises(DatasetError, match=r"out.hdf5: demo_0: expected the states of .*copy.hdf5: demo_0"):
        add_observations(copy, tmp_path / "out.hdf5")
    for settings in [{"output": copy}, {"actions": "relative"}, {"image_size": 84}, {"obs_type": "pictures"}]:
        with pytest.raises((ConfigError, DatasetError), match=r"expected an output other|must be one of|are for"):
            add_observations(**{"path": copy, "output": tmp_path / "new.hdf5", **settings})
    assert not (tmp_path / "new.hdf5").exists()


def test_images_are_upright_and_those_of_the_environment(can, tmp_path):
    try:
        gl_context_class()
    except ConfigError as error:
        pytest.skip(str(error))
    with h5py.File(can, "r") as whole, h5py.File(tmp_path / "short.hdf5", "w") as short:
        data = short.create_group("data")
        data.attrs.update(whole["data"].attrs)
        demo = data.create_group("demo_0")
        demo.attrs["model_file"] = whole["data/demo_0"].attrs["model_file"]
        for key in ("states", "actions"):
            demo[key] = whole[f"data/demo_0/{key}"][:2]
    output = tmp_path / "out.hdf5"
    add_observations(tmp_path / "short.hdf5", output, "image_state", ["agentview"], 32, "fast")
    env = gym.make("Can-v0", obs_type="image_state", cameras=["agentview"], image_size=32, render_quality="fast")
    observation, _ = env.reset(seed=10_000)
    with h5py.File(output) as file:
        images = file["data/demo_0/obs/agentview_image"]
        assert images.shape == (2, 32, 32, 3) and images.dtype == np.uint8
        np.testing.assert_array_equal(images[0], observation["agentview_image"])
        assert set(file["data/demo_0/next_obs"]) == set(env.observation_space)
    kwargs = read_env_args(output)["env_kwargs"]
    assert kwargs["use_camera_obs"] and kwargs["camera_names"] == ["agentview"] and kwargs["camera_heights"] == [32]
    env.close()


# ---- raw files of robosuite's own scripts ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def raw(tmp_path_factory) -> Path:
    """What robosuite's collect_human_demonstrations.py writes, of a short rollout with its default controller."""
    import robosuite
    from robosuite.controllers import load_composite_controller_config
    from robosuite.wrappers import DataCollectionWrapper

    folder = tmp_path_factory.mktemp("raw")
    info = {
        "env_name": "Lift",
        "robots": ["Panda"],
        "controller_configs": load_composite_controller_config(robot="Panda"),
    }
    screens = {"has_renderer": False, "has_offscreen_renderer": False, "use_camera_obs": False}
    made = robosuite.make(**info, **screens, ignore_done=True, control_freq=20)
    env, rng = DataCollectionWrapper(made, str(folder / "episodes")), np.random.default_rng(0)
    env.reset()
    for _ in range(6):
        env.step(rng.uniform(-1, 1, env.action_dim))
    env.close()
    (episode,) = (folder / "episodes").iterdir()
    (recorded,) = (np.load(one, allow_pickle=True) for one in episode.glob("state_*.npz"))
    with h5py.File(folder / "demo.hdf5", "w") as file:
        demo = file.create_group("data/demo_1")  # robosuite counts from 1
        demo.attrs["model_file"] = (episode / "model.xml").read_text()
        demo["states"] = recorded["states"][:-1]
        demo["actions"] = np.array([one["actions"] for one in recorded["action_infos"]])
        file["data"].attrs.update(
            {"date": "1-1-2026", "time": "1:1:1", "repository_version": robosuite.__version__}
            | {"env": str(recorded["env"]), "env_info": json.dumps(info)}
        )
    return folder / "demo.hdf5"


def test_a_raw_file_is_converted_by_the_command_that_its_refusal_names(raw, capsys):
    with pytest.raises(DatasetError, match=r"a raw file of states and actions; .* l1flow add-observations") as caught:
        open_dataset(raw)
    command = str(caught.value).partition("l1flow ")[2].split()
    assert run(capsys, *command, "--workers", "1")[0] == 0
    demos = open_dataset(command[-1])
    assert demos.n_steps == 6 and demos.names == ("demo_0",) and demos.env_args["env_name"] == "Lift"
    with h5py.File(raw) as file:
        np.testing.assert_array_equal(demos.actions, file["data/demo_1/actions"][()].astype(np.float32))
        # the cube, as the states have it: [time, qpos: arm 7, fingers 2, cube 7, ...]
        cube = file["data/demo_1/states"][:, 10:13]
    np.testing.assert_allclose(demos.observations["object"][:, :3], cube, atol=1e-6)
    code, out, _ = run(capsys, "replay", str(raw), "--workers", "1")
    assert code == 0 and "1 of 1" in out


def test_info_of_raw_and_of_observed(raw, lift, capsys):
    code, out, _ = run(capsys, "info", str(raw))
    described = yaml.safe_load(out)
    assert code == 0 and described["format"] == "raw robosuite HDF5" and described["env_args"]["env_name"] == "Lift"
    assert "l1flow add-observations" in described["to train from it"]
    described = yaml.safe_load(run(capsys, "info", str(lift))[1])
    assert described["episodes"] == 3 and described["filter_keys"] == {"valid": 1}
    assert described["observations"]["object"] == {"shape": [10], "dtype": "float32"}
    assert len(described["action"]["lowest"]) == 7 and min(described["action"]["lowest"]) >= -1


def test_a_raw_file_that_does_not_say_its_environment(raw, tmp_path, capsys):
    path = Path(shutil.copy(raw, tmp_path / "raw.hdf5"))
    with h5py.File(path, "r+") as file:
        del file["data"].attrs["env_info"]
    code, _, err = run(capsys, "add-observations", str(path), "-o", str(tmp_path / "out.hdf5"))
    assert code == 2 and "'env_info'" in err and err.count("\n") == 1


# ---- absolute actions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["lift", "can"])
@pytest.mark.parametrize("form", ["absolute", "rotation-6d"])
def test_absolute_actions_do_the_same(task, form, request, tmp_path):
    path, output = request.getfixturevalue(task), tmp_path / "out.hdf5"
    add_observations(path, output, actions=form)
    env = gym.make(f"{task.title()}-v0", obs_type="state", control="absolute")
    env = Rotation6dAction(env) if form == "rotation-6d" else env
    assert read_env_args(output) == env.unwrapped.env_args()
    for one in replay(output):
        assert one.success and one.agrees and one.metres < 1e-5 and one.radians < 1e-4

    demos = open_dataset(output)  # float32, as an agent trains on them and acts
    assert demos.actions.shape[1:] == env.action_space.shape
    observation, info = env.reset(seed=10_000)
    np.testing.assert_array_equal(observation["object"], demos.observations["object"][0])
    for action in demos.actions[: demos.ends[0]]:
        *_, info = env.step(action)
    assert info["is_success"]


# ---- damage ---------------------------------------------------------------------------------------------------------


def edited(change) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file["data"])

    return damage


def cut(fraction: float) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, int(path.stat().st_size * fraction))


def replace(data, key: str, array) -> None:
    del data[key]
    data[key] = array


def set_env_args(data, **changes) -> None:
    data.attrs["env_args"] = json.dumps(json.loads(data.attrs["env_args"]) | changes)


DAMAGES = {
    "empty": (cut(0), "damaged"),
    "cut early": (cut(0.1), "damaged"),
    "cut in the middle": (cut(0.5), "damaged"),
    "cut late": (cut(0.99), "damaged"),
    "no states": (edited(lambda data: data.__delitem__("demo_0/states")), "'/data/demo_0/states' is missing"),
    "short states": (edited(lambda data: replace(data, "demo_0/states", np.zeros((3, 32)))), "/data/demo_0/states"),
    "narrow states": (
        edited(lambda data: replace(data, "demo_0/states", data["demo_0/states"][:, :-1])),
        r"demo_0: Lift: state['states'] must have shape (32,), got (31,)",
    ),
    "NaN states": (edited(lambda data: data["demo_0/states"].__setitem__((2, 3), np.nan)), "'states' holds a NaN"),
    "NaN actions": (edited(lambda data: data["demo_0/actions"].__setitem__((2, 3), np.nan)), "'actions' holds a NaN"),
    "wide actions": (
        edited(lambda data: replace(data, "demo_0/actions", np.zeros((len(data["demo_0/actions"]), 8)))),
        "expected actions of shape (n_steps, 7), found",
    ),
    "no XML": (
        edited(lambda data: data["demo_0"].attrs.__setitem__("model_file", "<mujoco")),
        "state['model'] must be",
    ),
    "unknown env": (edited(lambda data: set_env_args(data, env_name="Lifft")), "'Lifft'; nearest: 'Lift'"),
    "not robosuite": (edited(lambda data: set_env_args(data, env_name="PushT", type=2)), "env_args of PushT: type"),
    "strange kwargs": (edited(lambda data: set_env_args(data, env_kwargs="none")), "env_args"),
    "no env_args": (edited(lambda data: data.attrs.__delitem__("env_args")), "'env_args' of 'data' is missing"),
}


@pytest.mark.parametrize("command", ["replay", "add-observations"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_one_clear_line(copy, tmp_path, capfd, command, damage):
    spoil, reason = DAMAGES[damage]
    spoil(copy)
    output = ["-o", str(tmp_path / "out.hdf5")] if command == "add-observations" else []
    code = main([command, str(copy), "--workers", "1", *output])
    errors = [line for line in capfd.readouterr().err.split("\n") if line.startswith("l1flow")]  # no progress bar
    assert code == 2 and len(errors) == 1 and errors[0].startswith(f"l1flow: error: {copy}") and reason in errors[0]
    assert not (tmp_path / "out.hdf5").exists()


def test_a_worker_names_the_damage_too(copy, capsys):
    DAMAGES["NaN actions"][0](copy)
    code, _, err = run(capsys, "replay", str(copy), "--workers", "2")
    assert code == 2 and "'actions' holds a NaN" in err and err.count("\n") == 1


def test_a_missing_file(capsys):
    code, _, err = run(capsys, "replay", "nowhere.hdf5")
    assert code == 2 and err == "l1flow: error: nowhere.hdf5: no such file\n"
