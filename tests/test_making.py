"""Promise: every task has an agent by name, or the one command that a message names makes its data and trains it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest

from l1flow_agents import L1FlowAgent, zoo
from l1flow_agents.cli import main, read
from l1flow_agents.data.download import PUBLISHED
from l1flow_agents.data.robomimic_hdf5 import demo_names, read_robomimic_hdf5
from l1flow_agents.demonstrations.collection import collect
from l1flow_agents.demonstrations.generation.task import read_task_spec, task_names
from l1flow_agents.envs import ENVS
from l1flow_agents.errors import CheckpointError, ConfigError, DatasetError
from l1flow_agents.evaluation import default_agent
from l1flow_agents.experiments import config_names, read_experiment
from l1flow_agents.experiments.making import all_steps, dataset_of, missing_steps

TASKS = (
    *("Lift", "Can", "Square", "Transport", "ToolHang", "PushT", "Stack_D1", "StackThree_D1", "Square_D2"),
    *("Threading_D2", "Coffee_D2", "ThreePieceAssembly_D2", "HammerCleanup_D1", "MugCleanup_D1", "NutAssembly_D0"),
)
TINY = ["training.total_steps=4", "training.batch_size=8", "training.val_fraction=0.5"]
TINY += ["agent.network_kwargs={width: 16, depth: 1}"]


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def unpublished(monkeypatch) -> str:
    """Name of an agent that only a configuration makes."""
    name, table = "threading_d2-state", zoo.table()
    monkeypatch.setattr(zoo, "table", lambda: {other: entry for other, entry in table.items() if other != name})
    return name


@pytest.fixture
def one_core(monkeypatch) -> None:
    """Everything in this process: workers take seconds to begin."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)


# ---- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_a_task_has_an_agent_or_a_command(task):
    name = default_agent(f"{task}-v0")
    assert name == f"{task.lower()}-state"
    if name in zoo.names():
        assert (zoo.find(name) / "config.yaml").is_file()
        return
    with pytest.raises(CheckpointError, match=f"^agent '{name}' is not published; ") as caught:
        L1FlowAgent.load(name)
    words = shlex.split(re.search("`(.*?)`", str(caught.value))[1])
    experiment = read_experiment(read(words[1:]).config)
    assert experiment.env == f"{task}-v0" and missing_steps(experiment, experiment.data)


def test_every_other_environment_is_one_line():
    for env_id in ENVS.keys() - {f"{task}-v0" for task in TASKS}:
        with pytest.raises(ConfigError, match=f"^no agent is published for {env_id}, and no configuration"):
            default_agent(env_id)


def test_the_commands_say_so(capsys, unpublished):
    for argv in (["eval", unpublished], ["rollout", "--env", "Threading_D2-v0"]):
        assert main(argv) == 2
        assert f"`l1flow train {unpublished}` makes its demonstrations" in capsys.readouterr().err
    assert main(["eval", "threding_d2-state"]) == 2
    assert f"did you mean {unpublished!r}?" in capsys.readouterr().err


def test_a_trained_agent_goes_by_its_name(make_agent, empty, unpublished):
    make_agent().save(empty / "runs" / unpublished / "agent")
    assert zoo.find(unpublished) == Path("runs") / unpublished / "agent"
    make_agent().save(empty / "runs" / "pusht-state" / "agent")
    assert zoo.find("pusht-state").is_relative_to(zoo.BUNDLED), "published ones stay what they are"


@pytest.mark.parametrize("name", config_names())
def test_every_configuration_says_where_its_data_come_from(name):
    experiment = read_experiment(name)
    if experiment.dataset in PUBLISHED:
        assert experiment.data is None
        return
    steps = all_steps(experiment, experiment.data, False)
    assert steps[-1].output == Path(experiment.dataset)
    assert len({step.output for step in steps}) == len(steps)
    assert all(gym.spec(env_id) for env_id in (experiment.env, experiment.data.source) if env_id)


@pytest.mark.parametrize("name", task_names())
def test_a_task_file_goes_by_its_name(name):
    assert len(read_task_spec(name).subtasks) > 1
    with pytest.raises(ConfigError, match=r"^nowhere: expected a task file in YAML .*'coffee'"):
        read_task_spec("nowhere")


# ---- making -------------------------------------------------------------------------------------------------------


GENERATED = "data={episodes: 2, n_sources: 1, source: Threading_D2-v0, task: threading}"


def test_the_named_command_runs_from_an_empty_folder_to_an_agent(one_core, empty, unpublished, capsys):
    pytest.importorskip("robosuite", reason="the simulator of this task is not installed")
    assert main(["train", unpublished, GENERATED, *TINY]) == 0
    said = capsys.readouterr().err
    for words in (
        "threading_d2.hdf5 is not there and is made; after an interruption the same command continues",
        "threading_d2_source.hdf5: 1 demonstrations of the expert in Threading_D2-v0",
        "threading_d2.hdf5: 2 demonstrations generated from them in Threading_D2-v0",
        "roughly a minute on 1 cores; then 4 training steps",
    ):
        assert words in said
    assert {path.name for path in empty.iterdir()} == {"threading_d2_source.hdf5", "threading_d2.hdf5", "runs"}
    agent = L1FlowAgent.load(default_agent("Threading_D2-v0"))
    assert agent.env_id == "Threading_D2-v0" and agent.provenance.training["dataset"]["episodes"] == 2
    assert read_experiment("runs/threading_d2-state/experiment.yaml").data.n_sources == 1


def test_mistakes_of_a_first_agent_are_corrected(one_core, empty, capsys):
    """The expert's demonstrations, an agent that learns them, and what the expert does where it takes over."""
    pytest.importorskip("robosuite", reason="the simulator of this task is not installed")
    argv = ["train", "lift-state", "data.episodes=3", "data.corrections=1", *TINY]
    assert main(argv) == 0
    said = capsys.readouterr().err
    assert "lift_first.hdf5: 2 demonstrations of the expert" in said
    assert "lift.hdf5: with 1 in which the expert takes over from it" in said
    assert {path.name for path in empty.iterdir()} == {"lift_first.hdf5", "lift_first_agent", "lift.hdf5", "runs"}
    assert L1FlowAgent.load(empty / "lift_first_agent" / "agent").provenance.training["dataset"]["episodes"] == 2
    assert L1FlowAgent.load("runs/lift-state/agent").provenance.training["dataset"]["episodes"] == 3
    Path("lift.hdf5").unlink()
    assert main([*argv, "data.corrections=3"]) == 2
    assert "expected fewer than data.episodes" in capsys.readouterr().err


def test_killed_and_run_again_it_continues(one_core, empty):
    pytest.importorskip("robosuite", reason="the simulator of this task is not installed")
    from test_replay import contents, left_behind, wait_for

    argv = ["train", "lift-state", "data.episodes=2", *TINY]
    process = subprocess.Popen(
        [sys.executable, "-m", "l1flow_agents.cli", *argv], stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_for(lambda: list(empty.glob("lift.part.hdf5.parts/demo_0.hdf5")), process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    wait_for(lambda: not left_behind(process.pid), seconds=20)
    assert not Path("lift.hdf5").exists(), "what is not whole has another name"
    assert main(argv) == 0
    collect("Lift-v0", 2, "at_once.hdf5")
    assert contents(Path("lift.hdf5")) == contents(Path("at_once.hdf5"))
    assert not list(empty.glob("*.part*"))

    # pictures of the same demonstrations, which are not made again
    settings = ["data.episodes=2", "env_kwargs={obs_type: image, render_quality: fast, image_size: 16}"]
    experiment = read_experiment("lift-image", settings)
    assert [step.output.name for step in missing_steps(experiment, experiment.data)] == ["lift_image.hdf5"]
    episodes = read_robomimic_hdf5(dataset_of(experiment))
    assert episodes.observations["agentview_image"].shape[1:] == (16, 16, 3) and len(episodes.ends) == 2


def test_what_is_there_is_taken_as_it_is(one_core, caplog, empty):
    pytest.importorskip("robosuite", reason="the simulator of this task is not installed")
    collect("Lift-v0", 1, "lift.hdf5")
    before = Path("lift.hdf5").read_bytes()
    with caplog.at_level("INFO"):
        assert dataset_of(read_experiment("lift-state")) == Path("lift.hdf5")
    assert "lift.hdf5 has 1 demonstrations, not data.episodes=" in caplog.text
    assert Path("lift.hdf5").read_bytes() == before and os.listdir(empty) == ["lift.hdf5"]
    Path("broken.hdf5").write_text("somebody's")
    with pytest.raises(DatasetError, match=r"broken\.hdf5"):
        dataset_of(read_experiment("lift-state", ["dataset=broken.hdf5"]))
    assert demo_names("lift.hdf5") and Path("broken.hdf5").read_text() == "somebody's"


def test_a_file_of_ones_own_is_not_made(capsys, empty):
    assert main(["train", "lift-state", "--dataset", "mine.hdf5"]) == 2
    assert "no data set at 'mine.hdf5'" in capsys.readouterr().err
    assert not list(empty.glob("*"))


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("data.task=square", "a task file is for generation, which needs data.source"),
        ("data={episodes: 1, source: Stack_D0-v0, task: nowhere}", "nowhere: expected a task file"),
        ("data={episodes: 1, source: Stac_D0-v0}", "Stack"),
        ("data.episodes=0", "data.episodes must be at least 1, got 0"),
        ("data.n=3", "data has no setting 'n'"),
        ("dataset=lift.zarr", "expected a dataset in .hdf5"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_before_anything_is_made(capsys, empty, override, reason):
    assert main(["train", "lift-state", override]) == 2
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1 and not list(empty.glob("*"))


def test_pictures_need_a_file_of_their_own():
    with pytest.raises(ConfigError, match=r"pictures in another than lift\.hdf5; got 'lift\.hdf5'"):
        dataset_of(read_experiment("lift-image", ["dataset=lift.hdf5"]))
