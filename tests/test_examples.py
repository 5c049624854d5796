"""Promise: every example runs as its docstring says, in a short form."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *argv: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *argv], cwd=cwd, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rollout(tmp_path):
    out = run("rollout.py", "--env", "PushT-v0", "--episodes", "2", "--seed", "5", cwd=tmp_path)
    assert "95 % interval" in out and "rollouts/results.json" in out
    result = json.loads((tmp_path / "rollouts" / "results.json").read_text())
    assert [e["seed"] for e in result["episodes"]] == [5, 6]
    assert (tmp_path / "rollouts" / "episodes.mp4").stat().st_size > 10_000


def test_train_pusht(replay, tmp_path):
    argv = ["--dataset", str(replay), "--steps", "6", "--eval-every", "4", "--eval-episodes", "1", "--run-dir", "run"]
    assert "run/agent" in run("train_pusht.py", *argv, cwd=tmp_path)
    made = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"agent", "best_model", "checkpoints", "progress.csv", "snapshots"} <= made


def test_evaluate_with_sb3(tmp_path):
    out = run("evaluate_with_sb3.py", "--episodes", "2", cwd=tmp_path)
    assert "evaluate_policy: return" in out and "plain loop: success" in out


def test_multimodality(tmp_path):
    out = run("multimodality.py", "--plans", "8", "--output", "modes.png", cwd=tmp_path)
    assert "8 plans" in out and (tmp_path / "modes.png").stat().st_size > 5_000


def test_from_data_to_arm(tmp_path, monkeypatch):
    """The notebook, cell by cell, with small numbers."""
    monkeypatch.chdir(tmp_path)
    few = {"N_DEMOS": 2, "N_STEPS": 20, "N_EPISODES": 1, "N_FILMS": 0, "N_RUNS": 1, "SECONDS": 1.0}
    names: dict = {"__name__": "__main__"}
    for cell in json.loads((EXAMPLES / "from_data_to_arm.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "is committed as it is before it runs"
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert few.keys() <= names.keys()
            names |= few
    names["env"].close()
    assert names["told"].plans and names["told"].stopped is None
    pages = {"look.html", "plans.html", "rollouts.html", "arm.html"}
    assert pages <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_every_example_explains_itself(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert f"examples/{name}" in capsys.readouterr().out
