"""Promise: every script in benchmarks/ runs to its end, here in its smallest form, and writes what it says.

`pages.py` and `tables.py` have tests of their own, in test_figures.py.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import gymnasium as gym
import pytest
from PIL import Image

from l1flow_agents import L1FlowAgent, open_dataset

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = {"network_kwargs": {"width": 16, "depth": 1, "time_dim": 8}}
Run = Callable[..., None]


@pytest.fixture
def load(monkeypatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(BENCHMARKS)  # they import one another, and their workers import them
    return importlib.import_module


@pytest.fixture
def run(load, monkeypatch) -> Run:
    """``python benchmarks/NAME.py *argv``, without a process of its own."""

    def run_main(name: str, *argv: object) -> None:
        monkeypatch.setattr(sys, "argv", [f"benchmarks/{name}.py", *map(str, argv)])
        load(name).main()

    return run_main


def trained(env_id: str, dataset: Path, run_dir: Path) -> None:
    """An agent that learned for four steps, as `l1flow train` leaves it."""
    agent = L1FlowAgent("mlp", gym.make(env_id, obs_type="state"), **SMALL)
    demos = open_dataset(dataset, agent.observation_space)
    agent.learn(demos, 4, batch_size=16, val_fraction=0.5, validate_every=2, log_every=2, run_dir=run_dir)
    agent.save(run_dir / "agent")


def test_speed(run, tmp_path):
    run("speed", "--networks", "mlp", "--rounds", 1, "--json", tmp_path / "out.json")
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [row["what"].split()[0] for row in rows] == ["replan", "training", "sampling", "env.step"]
    assert all(row["ratio"] > 0 for row in rows)


def test_methods(run, tmp_path):
    run("methods", "--networks", "mlp", "--rounds", 1, "--json", tmp_path / "out.json")
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert {row["method"] for row in rows} >= {"ddpm, 100 steps", "flow_matching, 10 steps", "l1_regression"}
    assert rows[0]["ratio"] > 5  # 100 evaluations against 2


def test_gpu(run, human_demos, tmp_path):
    run("gpu", "--dataset", human_demos, "--device", "cpu", "--smoke", "--json", tmp_path / "out.json")
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["continued_exactly"] is True
    [row] = record["networks"]
    assert row["learn_ms"] > 0 and row["eager_ms"] > 0 and row["tflop_per_s"] > 0 and row["graph_ms"] is None
    assert row["times_faster"]["ddpm"] > 2
    methods = {row["method"]: row for row in record["five_at_once"]}
    assert methods.keys() == {"l1flow", "edm"}
    assert all(row["step_ms"] > 0 and 0 <= row["mean_score"] <= 1 for row in methods.values())


def test_export(run, load, monkeypatch, tmp_path):
    monkeypatch.delitem(load("export").LOADERS, ".onnx")  # of which test_exporting.py makes one, and it takes seconds
    L1FlowAgent("mlp", gym.make("PushT-v0", obs_type="state"), **SMALL).save(tmp_path / "agent")
    run("export", "--agents", tmp_path / "agent", "--rounds", 1, "--json", tmp_path / "out.json")
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [row["file"] for row in rows] == [".pt2"]
    assert all(row["ratio"] > 0 and row["apart"] <= 1e-5 for row in rows)


def test_precision(run, tmp_path):
    run("precision", "--networks", "mlp (square-state)", "--rounds", 1, "--json", tmp_path / "out.json")
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["rows"][0]["ratio"] > 0 and {"avx2", "avx512_bf16", "amx_bf16"} == record["has"].keys()


def test_evaluation(run, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # each of the floor imports torch
    run("evaluation", "--agent", "pusht-state", "--episodes", 2, "--rounds", 1, "--json", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["floor_s_per_step"] > 0


def test_simulation(run, load, monkeypatch, tmp_path):
    monkeypatch.setattr(load("simulation"), "fresh", lambda function, *args: function(*args))  # a process takes seconds
    monkeypatch.setattr(load("simulation"), "WARM_UP", 1)
    small = ["--env", "Square-v0", "--rounds", 1, "--resets", 1, "--starts", 1]
    run("simulation", *small, "--json", tmp_path / "out.json")
    record = json.loads((tmp_path / "out.json").read_text())
    assert [row["what"].split()[0] for row in record["rows"]] == ["step", "reset", "84"]
    assert record["processes"]["Square-v0"]["live_simulations"] >= 1
    shares = record["shares_of_a_step"]["Square-v0"]
    assert all(shares[part] > 0 for part in ("physics", "torques", "goals", "observation", "success check"))


def test_bits(run, tmp_path):
    run("bits", "--env", "Lift-v0", "Stack_D1-v0", "-n", 1, "--absolute", 1, "--json", tmp_path / "out.json")
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [(row["env"], row["control"]) for row in rows] == [
        *(("Lift-v0", "delta"), ("Lift-v0", "absolute")),
        *(("Stack_D1-v0", "delta"), ("Stack_D1-v0", "absolute")),
    ]
    for row in rows:  # whole episodes, with grasps
        assert row["same_steps"] == row["steps"] > 30 and row["largest_difference"] == 0
        assert row["same_successes"] == row["successes"] == 1


def test_contact_sheet(run, tmp_path):
    run("contact_sheet", tmp_path / "sheet.png", "--envs", "Stack_D0-v0")
    assert Image.open(tmp_path / "sheet.png").size == (7 * 176, 176 + 14)


def test_pictures(run, tmp_path):
    small = ["--envs", "Stack_D0-v0", "--steps", 2, "--states", 2, "--rounds", 1]
    run("pictures", *small, "--json", tmp_path / "out.json", "--sheet", tmp_path / "sheet.png")
    record = json.loads((tmp_path / "out.json").read_text())
    assert [row["camera"] for row in record["rows"]] == ["agentview", "robot0_eye_in_hand"]
    assert record["psnr_least"] > 30 and record["ratio_most"] > 0
    assert Image.open(tmp_path / "sheet.png").size == (4 * (3 * 84 + 4), 84 + 13)


def test_modes_of_the_fork(run, load, monkeypatch, tmp_path):
    small = {"NETWORK": {"width": 16, "depth": 1}, "N_DEMOS": 32, "BATCH": 16, "N_PLANS": 4, "RESULTS": tmp_path}
    for name, value in {**small, "ANGLES": [0.1], "JSON": tmp_path / "out.json"}.items():
        monkeypatch.setattr(load("modes"), name, value)
    run("modes", "fork", "--steps", 1)
    rows = json.loads((tmp_path / "out.json").read_text())["fork"]["rows"]
    assert {row["ways"] for row in rows} == {2, 3, 4} and {"l1flow", "ddpm", "onedp"} <= {row["method"] for row in rows}
    assert (tmp_path / "fork.png").stat().st_size > 1_000


def test_modes_on_pusht(run, load, monkeypatch, tmp_path):
    for name, value in {"N_PLANS": 4, "RESULTS": tmp_path, "JSON": tmp_path / "out.json"}.items():
        monkeypatch.setattr(load("modes"), name, value)
    job = tmp_path / "runs" / "l1flow-seed0"  # as `l1flow compare` leaves it
    L1FlowAgent("mlp", gym.make("PushT-v0", obs_type="state"), **SMALL).save(job / "agent")
    row = {"method_kwargs": {}, "network_evaluations": 2}
    (job / "result.json").write_text(json.dumps({"system": "l1flow", "rows": {"l1flow": row}}))
    run("modes", "pusht", tmp_path)
    assert json.loads((tmp_path / "out.json").read_text())["pusht"]["rows"][0]["method"] == "l1flow"
    assert (tmp_path / "pusht_modes.png").stat().st_size > 1_000


def test_mimicgen(run, load, monkeypatch, tmp_path):
    for name, n in {"N_SOURCES": 1, "N_GENERATED": 2, "N_EPISODES": 1}.items():  # one to validate on
        monkeypatch.setattr(load("mimicgen"), name, n)
    monkeypatch.setattr(load("mimicgen"), "RESULTS", tmp_path / "out.json")
    run("mimicgen", "generation", tmp_path, "Stack_D0-v0", "--workers", 1)
    made = tmp_path / "stack_d0-generated.hdf5"
    trained("Stack_D0-v0", made, tmp_path / "run")
    monkeypatch.setattr(gym.spec("Stack_D0-v0"), "max_episode_steps", 20)
    run("mimicgen", "agent", tmp_path / "run", made)
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["generation"]["Stack_D0-v0"]["successes"] == 2
    assert record["agents"]["Stack_D0-v0"]["n_episodes"] == 1


def test_realtime_agents_and_realtime(run, tmp_path):
    small = ["training.total_steps=4", "training.batch_size=16", "agent.network_kwargs={width: 16, depth: 1}"]
    line = ["--env", "Lift-v0", "--runs", tmp_path]
    run("realtime_agents", *line, "--methods", "l1flow", "-n", 2, *small)
    recorded = open_dataset(tmp_path / "Lift-v0.hdf5")
    assert len(recorded) == 2 and (recorded.lengths < 20 * 20).all()  # within 20 s at 20 Hz
    out = ["--json", tmp_path / "out.json"]
    run("realtime", "success", "--smoke", *line, *out)
    run("realtime", "deadlines", "--env", "Lift-v0", "--agent", "lift-state", "--minutes", 0.02, *out)
    record = json.loads((tmp_path / "out.json").read_text())
    rows = record["success"]["Lift-v0"]["rows"]
    assert [row["way"] for row in rows] == ["asynchronous", "sequential"] and all(row["planning_s"] > 0 for row in rows)
    assert 0 < record["deadlines"]["ticks"] <= 60 and record["deadlines"]["stopped"] is None  # late ones are skipped
    assert (tmp_path / "out.png").stat().st_size > 1_000


def test_bundle(run, load, human_demos, monkeypatch, tmp_path):
    (tmp_path / "agents").mkdir()
    (tmp_path / "results").mkdir()
    places = {"BUNDLED": "agents", "AGENTS": "agents", "TABLE": "published.yaml", "RESULTS": "results"}
    for name, place in places.items():
        monkeypatch.setattr(load("bundle"), name, tmp_path / place, raising=False)
    trained("PushT-v0", human_demos, tmp_path / "run")
    run("bundle", "toy", "--run", tmp_path / "run", "--episodes", 1, "--stateless-episodes", 1)
    assert L1FlowAgent.load(tmp_path / "agents" / "toy").provenance.score["n_episodes"] == 1
    assert "| without `state` |" in (tmp_path / "agents" / "toy" / "README.md").read_text()
    made = {path.name for path in (tmp_path / "results").iterdir()}
    assert made == {"toy.json", "toy-stateless.json", "toy-curve.csv"}


def test_every_script_is_run_here():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")} | {"pages", "tables"}
    for path in BENCHMARKS.glob("*.py"):
        assert any(name.startswith(path.stem) for name in tested), f"{path.name}: no smoke run in {Path(__file__).name}"


def repeated_with_lerobot(script: str, folder: Path, needs: str) -> dict:
    """What the script found with the interpreter that has LeRobot; skips the test where there is none."""
    python, output = os.environ.get("L1FLOW_LEROBOT_PYTHON"), folder / "out.json"
    if not python:
        pytest.skip(f"needs {needs}: L1FLOW_LEROBOT_PYTHON=/its/python")
    command = [sys.executable, BENCHMARKS / script, "--python", python, "--json", output]
    subprocess.run(command, check=True, capture_output=True)
    return json.loads(output.read_text())


def test_loaders(tmp_path):
    """The record is benchmarks/results/loaders.json; this repeats it where LeRobot and Minari are at hand."""
    found = repeated_with_lerobot("loaders.py", tmp_path, "lerobot 0.6 and minari, in an environment of their own")
    assert all(one["equal"] for one in found["data_sets"].values())


@pytest.mark.timeout(900)  # LeRobot is imported, two episodes are drawn, and an arm moves by the clock
def test_plugin_inside_lerobot(tmp_path):
    """The record is benchmarks/results/plugin.json; this repeats it where LeRobot is at hand."""
    found = repeated_with_lerobot("plugin.py", tmp_path, "lerobot 0.6, in an environment of its own")
    assert all(one["equal"] for part in ("agents", "commands") for one in found[part].values())
    assert "l1flow train" in found["refused"]["new policy"] and "--policy.path" in found["refused"]["new policy"]
