"""Promise: one command trains and scores methods alike, survives a kill, and reports what it measured."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from l1flow_agents import L1FlowAgent
from l1flow_agents.cli import main
from l1flow_agents.comparison import compare, jobs, read_systems, run
from l1flow_agents.comparison.paired import interval, mcnemar, paired
from l1flow_agents.comparison.plots import figure_of
from l1flow_agents.comparison.report import page
from l1flow_agents.comparison.rows import rows_of
from l1flow_agents.comparison.systems import chosen
from l1flow_agents.errors import ConfigError
from l1flow_agents.evaluation import wilson_interval

TINY = """
env: PushT-v0
env_kwargs: {obs_type: state, max_episode_steps: 10}
dataset: toy.zarr
agent: {network: mlp, network_kwargs: {width: 16, depth: 1}}
training: {total_steps: 6, batch_size: 8, log_every: 2, checkpoint_every: 2, warmup_steps: 2}
"""
SMALL = ["--config", "tiny.yaml", "-n", "2", "--output", "out", "--workers", "1"]


@pytest.fixture
def experiment(replay, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY)
    return tmp_path


def test_a_comparison_with_a_teacher_and_a_variant(experiment, capsys):
    argv = ["compare", "--env", "PushT-v0", *SMALL, "--methods", "l1_regression", "consistency"]
    assert main([*argv, "--steps", "20", "--curve", "1"]) == 0
    printed = capsys.readouterr().out
    record = json.loads(Path("out/compare.json").read_text())
    rows = {row.name: row for row in rows_of(record)}
    evaluations = {name: row.evaluations for name, row in rows.items()}
    assert evaluations == {"l1_regression": 1, "edm": 35, "edm:std-1": 35, "consistency": 1, "consistency:3-steps": 3}
    for row in rows.values():
        assert row.seeds == [0] and len(row.scores) == 2
        assert f"| {row.name} | 1 |" in printed
        assert row.latency["1"] > 0 and row.latency["16"] > 0
    assert [one["total_steps"] for one in record["results"]] == [20, 20, 20]
    assert [point["step"] for point in record["results"][0]["curve"]] == [20]
    assert rows["consistency"].teacher_seconds and not rows["l1_regression"].teacher_seconds
    low, high = wilson_interval(int(rows["edm"].successes.sum()), 2)
    assert f"({low:.2f}..{high:.2f})" in Path("out/compare.md").read_text()
    assert f"± {rows['consistency'].error:.3f} (teacher only {rows['edm'].mean:.2f}) |" in printed
    page = Path("out/compare.html").read_text()
    assert "data:image/png;base64," in page and 'src="http' not in page
    assert Path("out/compare.png").read_bytes().startswith(b"\x89PNG")


def test_a_share_of_the_budget(experiment):
    record = compare("PushT-v0", ["onedp"], [3], "out", config="tiny.yaml", steps=20, n_episodes=1, n_curve=0)
    assert {(one["system"], one["seed"]): one["total_steps"] for one in record["results"]} == {
        ("ddpm", 3): 20,
        ("onedp", 3): 6,
    }
    student = L1FlowAgent.load("out/runs/onedp-seed3/agent")
    assert student.provenance.teacher["method"] == "ddpm" and student.provenance.teacher["steps_done"] == 20
    assert not any("helper" in name for name in student.policy.state_dict())


def test_a_job_trains_and_scores_where_it_is_told(experiment, monkeypatch):
    """With a second device that every machine has."""
    places = []
    monkeypatch.setattr(jobs, "run_experiment", lambda experiment, run_dir, device, **_: places.append(device) or 1 / 0)
    monkeypatch.setattr(run, "pick_device", lambda device: {"cuda": "cuda:0", "auto": "cpu"}[device])
    shared = []
    monkeypatch.setattr(run, "shared_gpu", lambda n: shared.append(n) or nullcontext())
    monkeypatch.setattr(run, "in_order", lambda function, wave, *_: map(function, wave))
    for device in ("cuda", "auto"):
        with pytest.raises(ZeroDivisionError):
            compare("PushT-v0", ["l1flow"], range(9), "out", config="tiny.yaml", steps=4, device=device)
    assert places == ["cuda:0", "cpu"] and shared == [min(os.cpu_count() or 1, run.ON_A_GPU), 1]


def test_a_cluster_trains_on_its_cores(experiment):
    with pytest.raises(ConfigError, match="a cluster trains on its machines' cores: expected device cpu, got 'cuda'"):
        compare("PushT-v0", ["l1flow"], [0], "out", config="tiny.yaml", steps=4, cluster="auto", device="cuda")


def test_what_is_done_is_not_done_again(experiment, capsys):
    assert main(["compare", "--env", "PushT-v0", *SMALL, "--methods", "l1flow", "--steps", "4", "--curve", "0"]) == 0
    made = Path("out/runs/l1flow-seed0/result.json").stat().st_mtime_ns
    assert (
        main(["compare", "--env", "PushT-v0", *SMALL, "--methods", "l1_regression", "--steps", "4", "--curve", "0"])
        == 0
    )
    assert Path("out/runs/l1flow-seed0/result.json").stat().st_mtime_ns == made
    assert {row.name for row in rows_of(json.loads(Path("out/compare.json").read_text()))} == {
        "l1flow",
        "l1_regression",
    }, "a later method is added"
    capsys.readouterr()
    assert main(["compare", "--env", "PushT-v0", *SMALL, "--methods", "l1flow", "--steps", "5"]) == 2
    assert "choose another output folder" in capsys.readouterr().err


def test_a_killed_comparison_goes_on(experiment):
    command = [sys.executable, "-m", "l1flow_agents.cli", "compare", "--env", "PushT-v0", *SMALL]
    command += ["--methods", "l1flow", "--steps", "400", "--curve", "2", "training.checkpoint_every=20"]
    process = subprocess.Popen(command)
    checkpoints = Path("out/runs/l1flow-seed0/checkpoints")
    deadline = time.monotonic() + 100
    while not (checkpoints.exists() and list(checkpoints.glob("0*"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path("out/compare.json").exists()
    subprocess.run(command, check=True)
    [result] = json.loads(Path("out/compare.json").read_text())["results"]
    assert result["total_steps"] == 400
    assert list(Path("out/runs/l1flow-seed0").glob("progress_*.csv")), "it began after the last checkpoint"
    assert [point["step"] for point in result["curve"]] == [200, 400]
    spent = [point["seconds"] for point in result["curve"]]
    assert spent == sorted(spent) and result["training_seconds"] >= spent[-1] - 0.1


def test_a_budget_in_seconds(experiment):
    record = compare(
        "PushT-v0", ["l1_regression"], [0], "out", config="tiny.yaml", seconds=1.0, n_episodes=1, n_curve=0
    )
    for one in record["results"]:
        assert one["total_steps"] > 10 and one["training_seconds"] < 5


def test_distil_then_evaluate(experiment, capsys):
    assert main(["train", "tiny.yaml", "agent.method=ddpm"]) == 0
    assert main(["distill", "runs/tiny/agent", "--method", "onedp", "--config", "tiny.yaml"]) == 0
    assert "6 steps beside the 6 of its teacher" in capsys.readouterr().out
    assert main(["eval", "runs/onedp/agent", "-n", "1"]) == 0
    capsys.readouterr()
    assert main(["distill", "runs/tiny/agent", "--method", "consistency", "--config", "tiny.yaml"]) == 2
    assert "expected a teacher of method edm, got one of method ddpm" in capsys.readouterr().err
    assert main(["distill", "runs/tiny/agent", "--method", "l1flow", "--config", "tiny.yaml"]) == 2
    assert "expected no teacher" in capsys.readouterr().err


# ---- the report -----------------------------------------------------------------------------------------------------


def result(system: str, seed: int, scores, solved) -> dict:
    row = {"scores": scores, "successes": solved, "network_evaluations": 1}
    return {"system": system, "seed": seed, "rows": {system: row}, "experiment": {}, "training_seconds": 1.0} | {
        "parameters": 10,
        "curve": [],
    }


def test_systems_are_compared_on_the_same_starts():
    scores = {"l1flow": [0.9, 0.8, 0.7, 1.0], "mip": [0.5, 0.8, 0.6, 0.9]}
    solved = {"l1flow": [1, 1, 0, 1], "mip": [0, 1, 0, 0]}
    results = [result(name, seed, scores[name], solved[name]) for name in scores for seed in (0, 1)]
    results.append(result("ddpm", 1, scores["mip"], solved["mip"]))
    mip, ddpm = paired(results)
    assert (mip.name, mip.seeds, ddpm.name, ddpm.seeds) == ("mip", [0, 1], "ddpm", [1])
    assert mip.score[0] == ddpm.score[0] == pytest.approx(0.15) and mip.success[0] == pytest.approx(0.5)
    assert mip.score == pytest.approx(ddpm.score, abs=0.01), "equal seeds are no more starts"
    assert mip.alone == (4, 0) and ddpm.alone == (2, 0)
    assert mip.p_value is None and ddpm.p_value == pytest.approx(0.5)  # two heads of two
    assert paired(results[2:]) == [], "nothing to compare with"


def test_mcnemar_by_hand():
    assert mcnemar(0, 0) == mcnemar(3, 3) == 1
    assert mcnemar(1, 9) == mcnemar(9, 1) == pytest.approx(2 * (1 + 10) / 2**10)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Seeds differ by 0.1, starts by 0.2, and each pair by 0.2: a mean that pools them would be too sure of itself."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(40):
        seeds, starts = 0.1 * rng.normal(size=(10, 1)), 0.2 * rng.normal(size=(1, 50))
        _, low, high = interval(seeds + starts + 0.2 * rng.normal(size=(10, 50)))
        held += low < 0 < high
    assert 33 <= held <= 40


def test_names_in_the_picture_do_not_hide_each_other():
    results = [result(f"system-{k}", 0, [0.5 + k / 1000] * 4, [0, 1, 1, 0]) for k in range(14)]
    record = {"results": results, "latency_seconds": {one["system"]: {"1": 0.003, "16": 0.01} for one in results}}
    figure = figure_of(rows_of(record), "fourteen alike")
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in figure.axes[2].texts]  # without its line
    assert len(boxes) == 14
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)


def test_a_long_command_wraps_in_the_page():
    page_ = page("title", [(["a"], [["b"]], "note")], b"", "l1flow compare " + "x" * 5000)
    assert "pre { white-space: pre-wrap; overflow-wrap: anywhere }" in page_


# ---- wrong use ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv, reason",
    [
        (["--methods", "l1flw"], "unknown method to compare 'l1flw'.*did you mean 'l1flow'"),
        (["--env", "PushT-v1"], "PushT"),
        (["--config", "square-state"], "expected a configuration for PushT-v0, got one for Square-v0"),
        (["--systems", "nowhere.yaml"], "nowhere.yaml: expected a YAML file"),
    ],
)
def test_wrong_arguments_are_one_line(experiment, capsys, argv, reason):
    given = ["compare", "--env", "PushT-v0", *SMALL, *argv]
    assert main(given) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(reason, error), error


@pytest.mark.parametrize(
    "text, reason",
    [
        ("[1]", "expected a mapping of systems, found list"),
        ("a: {}", "a: expected a mapping with at least 'method'"),
        ("a: {method: l1flow, metod_kwargs: {}}", "no setting 'metod_kwargs'.*did you mean 'method_kwargs'"),
        ("a: {method: l1flow, method_kwargs: {tmid: 0.3}}", "no setting 'tmid'"),
        ("a: {method: l1flow, variants: {b: {tmid: 0.3}}}", "a:b has no setting 'tmid'"),
        ("a: {method: l1flow, variants: {b: {loss: mse}}}", "a:b: loss is 'l1' in the training"),
        ("a: {method: onedp}", "expected a teacher for onedp"),
        ("a: {method: l1flow, teacher: b}", "expected no teacher for l1flow"),
        ("{a: {method: onedp, teacher: b}, b: {method: l1flow}}", "expected a teacher of method .*ddpm.*got 'l1flow'"),
        ("a: {method: onedp, teacher: c}", "unknown teacher of .* 'c'"),
        ("a: {method: l1flow, budget: 2}", "budget must be at most 1, got 2"),
        ("a: {method: l1flow, training: {learning_rat: 1}}", "did you mean 'learning_rate'"),
    ],
)
def test_bad_systems(tmp_path, text, reason):
    path = tmp_path / "systems.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        read_systems(path)


def test_teachers_come_first_and_once():
    names = [system.name for system in chosen(read_systems(), ["consistency", "onedp", "ddpm", "onedp-deterministic"])]
    assert names.index("edm") < names.index("consistency") and names.index("ddpm") < names.index("onedp")
    assert len(names) == len(set(names)) == 5
