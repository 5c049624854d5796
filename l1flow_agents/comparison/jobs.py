"""One job: train a system with one seed, then score it on the test seeds. Run again, it continues."""

from __future__ import annotations

import csv
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from l1flow_agents.agent import L1FlowAgent
from l1flow_agents.comparison.systems import System
from l1flow_agents.errors import ConfigError
from l1flow_agents.evaluation import Workers, evaluate
from l1flow_agents.experiments import Experiment, run_experiment
from l1flow_agents.files import write_atomically
from l1flow_agents.names import plain
from l1flow_agents.seeds import TEST_SEED

TRIAL_STEPS = {"cpu": 40, "cuda": 400}  # gradient steps from which a budget in seconds is turned into steps
RESULT, SCORES = "result.json", "scores"


@dataclass(frozen=True)
class Job:
    """A system, a seed, and what all jobs of a comparison share.

    Args:
        experiment: of a configuration; method, seed and budget are put in here.
        folder: of the comparison.
        steps, seconds: the budget, one of the two.
        n_curve, curve_episodes: evaluations on validation seeds while it trains.
        n_episodes: on the test seeds.
        device: where it trains and is scored.
    """

    system: System
    seed: int
    experiment: Experiment
    folder: Path
    steps: int | None
    seconds: float | None
    n_curve: int
    curve_episodes: int
    n_episodes: int
    device: str = "cpu"

    @property
    def name(self) -> str:
        return f"{self.system.name}-seed{self.seed}"

    @property
    def run_dir(self) -> Path:
        return self.folder / "runs" / self.name

    @property
    def budget(self) -> dict[str, float]:
        return {"steps": self.steps} if self.steps is not None else {"seconds": float(self.seconds or 0)}

    def described(self, total_steps: int) -> Experiment:
        """The experiment of this job."""
        system = self.system
        parts: dict[str, Any] = {
            "agent": {"method": system.method, "method_kwargs": system.method_kwargs},
            "training": {**system.training, "total_steps": total_steps, "seed": self.seed},
        }
        if system.teacher is not None:
            parts["teacher"] = str(self.folder / "runs" / f"{system.teacher}-seed{self.seed}" / "agent")
        if self.n_curve:
            every = max(total_steps // self.n_curve, 1)
            parts["evaluation"] = {"every": every, "n_episodes": self.curve_episodes, "n_envs": 1}
        return self.experiment.changed(**parts)


def run_job(job: Job) -> Path:
    """Train and score; returns the job's ``result.json``."""
    torch.set_num_threads(1)  # a job a core
    result = job.run_dir / RESULT
    experiment = job.described(steps_of(job))
    described = experiment.to_dict()
    if result.exists():
        found = json.loads(result.read_text())
        for part, wanted in described.items():
            if found["experiment"].get(part) != wanted:
                raise ConfigError(
                    f"{job.run_dir} holds a run with {part} = {found['experiment'].get(part)}, asked for "
                    f"{wanted}; choose another output folder"
                )
        if found["n_episodes"] == job.n_episodes and found["rows"].keys() == job.system.rows().keys():
            return result
    agent = run_experiment(experiment, job.run_dir, job.device, progress_bar=False)
    with Workers() as workers:
        rows = {
            row: score(job, row, agent.with_settings(method_kwargs=settings), workers)
            for row, settings in job.system.rows().items()
        }
    record = {
        "system": job.system.name,
        "seed": job.seed,
        "budget": job.budget,
        "n_episodes": job.n_episodes,
        "experiment": described,
        "parameters": sum(tensor.numel() for tensor in agent.policy.kept_state().values()),
        "total_steps": agent.num_timesteps,
        "training_seconds": training_seconds(job.run_dir)[-1][1],
        "teacher": plain(agent.provenance.teacher),
        "curve": curve(job.run_dir),
        "rows": rows,
    }
    write_atomically(result, json.dumps(record, indent=1) + "\n")
    return result


def score(job: Job, row: str, agent: L1FlowAgent, workers: Workers) -> dict[str, Any]:
    """What `evaluate` says of the row, kept in a file of its own so that an interruption loses one row at most."""
    path = job.run_dir / SCORES / f"{row.replace(':', '-')}.json"
    if not path.exists() or len(json.loads(path.read_text())["episodes"]) != job.n_episodes:
        evaluate(agent, n_episodes=job.n_episodes, seed=TEST_SEED, n_envs=1, workers=workers).save(path)
    found = json.loads(path.read_text())
    episodes = found["episodes"]
    if all(episode["success"] is None for episode in episodes):
        raise ConfigError(f"{found['env']['id']}: expected 'is_success' in info, to compare success rates; it had none")
    return {
        "method_kwargs": plain(agent.settings.method_kwargs),
        "network_evaluations": agent.policy.method.network_evaluations,
        "scores": [round(episode["score"], 4) for episode in episodes],
        "successes": [int(bool(episode["success"])) for episode in episodes],
    }


def steps_of(job: Job) -> int:
    """The job's gradient steps; a budget in seconds is divided by the time of a step, measured once."""
    if job.steps is not None:
        return max(round(job.steps * job.system.budget), 1)
    assert job.seconds is not None
    path = job.run_dir / "step_seconds.json"
    if not path.exists():
        with tempfile.TemporaryDirectory() as scratch:
            trial = job.described(TRIAL_STEPS.get(torch.device(job.device).type, 40)).changed(evaluation=None)
            run_experiment(trial, scratch, job.device, progress_bar=False)
            write_atomically(path, json.dumps(seconds_of_a_step(Path(scratch))))
    return max(int(job.seconds * job.system.budget / json.loads(path.read_text())), 1)


def seconds_of_a_step(run_dir: Path) -> float:
    """From the first row of the log to its last, so that what is done once does not count; of all, where it has one."""
    rows = training_seconds(run_dir)
    (first, begin), (last, end) = rows[0] if len(rows) > 1 else (0, 0.0), rows[-1]
    return (end - begin) / (last - first)


def training_seconds(run_dir: Path) -> list[tuple[int, float]]:
    """Step and seconds of training up to it, without evaluations, over all interruptions."""
    logged: list[tuple[int, float]] = []
    for path in sorted(run_dir.glob("progress*.csv"), key=lambda path: int(path.stem.partition("_")[2] or 0)):
        first = int(path.stem.partition("_")[2] or 0)
        earlier = [(step, seconds) for step, seconds in logged if step <= first]
        spent, logged = (earlier[-1][1] if earlier else 0.0), earlier
        for step, row in rows_of(path):
            if row.get("time/fps"):
                logged.append((step, spent + (step - first) / float(row["time/fps"])))
    return logged


def curve(run_dir: Path) -> list[dict[str, float]]:
    """Scores on the validation seeds over training."""
    seconds = training_seconds(run_dir)
    points: dict[int, dict[str, float]] = {}
    for path in run_dir.glob("progress*.csv"):
        for step, row in rows_of(path):
            if row.get("eval/mean_score"):
                spent = next((s for at, s in seconds if at >= step), seconds[-1][1])
                points[step] = {
                    "step": step,
                    "seconds": round(spent, 1),
                    "mean_score": float(row["eval/mean_score"]),
                    "success_rate": float(row["eval/success_rate"]),
                }
    return [points[step] for step in sorted(points)]


def rows_of(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a log with their steps."""
    with path.open() as file:
        return [(int(row["time/total_timesteps"]), row) for row in csv.DictReader(file)]
