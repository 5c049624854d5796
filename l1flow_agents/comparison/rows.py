"""The rows of a comparison's table: a system, or a variant of its sampler, over all seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l1flow_agents.evaluation import wilson_interval

GIVEN_SCORES = 0.5, 0.7, 0.8, 0.9  # mean scores on validation seeds, of which a training's time is told
GOOD_TEACHER = 0.8  # mean score below which a student says little of its method
HEAD = ["system", "seeds", "mean score", "success (95 %)", "evaluations", "ms a plan", "ms for 16", "training", "after"]
NOTE = (
    "Mean score: highest reward of an episode, averaged over episodes and seeds, with its 95 % half width. "
    "Evaluations: calls of the network for one plan. Training: median seconds on one core; after +: of its teacher. "
    "After: median seconds of training until the mean score on validation seeds was "
    f"{' / '.join(map(str, GIVEN_SCORES))}. A student whose teacher scores less than {GOOD_TEACHER} is marked: it says "
    "little of its method."
)


@dataclass(frozen=True)
class Row:
    """One line of the table, over all seeds."""

    name: str
    scores: np.ndarray  # of episodes
    successes: np.ndarray
    seeds: list[int]
    evaluations: int
    parameters: int
    seconds: list[float]
    teacher_seconds: list[float]
    teacher_score: float | None  # on the same test seeds
    latency: dict[str, float]
    curves: list[list[dict[str, float]]]

    @property
    def mean(self) -> float:
        return float(self.scores.mean())

    @property
    def error(self) -> float:
        return float(1.96 * self.scores.std(ddof=1) / math.sqrt(len(self.scores))) if len(self.scores) > 1 else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        return wilson_interval(int(self.successes.sum()), len(self.successes))

    @property
    def weak_teacher(self) -> str:
        """What must be said of a student whose teacher scores too little; otherwise empty."""
        weak = self.teacher_score is not None and self.teacher_score < GOOD_TEACHER
        return f" (teacher only {self.teacher_score:.2f})" if weak else ""

    def seconds_to(self, score: float) -> float | None:
        """Median over the seeds; None where one never got there."""
        reached = [next((at["seconds"] for at in curve if at["mean_score"] >= score), None) for curve in self.curves]
        known = [seconds for seconds in reached if seconds is not None]
        return float(np.median(known)) if known and len(known) == len(reached) else None

    def cells(self) -> list[str]:
        low, high = self.interval
        training = f"{np.median(self.seconds):.0f} s"
        if self.teacher_seconds:
            training += f" + {np.median(self.teacher_seconds):.0f} s"
        after = [self.seconds_to(score) for score in GIVEN_SCORES]
        return [
            self.name,
            str(len(self.seeds)),
            f"{self.mean:.3f} ± {self.error:.3f}{self.weak_teacher}",
            f"{self.successes.mean():.2f} ({low:.2f}..{high:.2f})",
            str(self.evaluations),
            f"{1e3 * self.latency['1']:.2f}",
            f"{1e3 * self.latency['16']:.2f}",
            training,
            " / ".join("-" if seconds is None else f"{seconds:.0f}" for seconds in after),
        ]


def rows_of(record: dict[str, Any]) -> list[Row]:
    """The rows in the order of the results."""
    results = record["results"]
    trained = {(one["system"], one["seed"]): one for one in results}
    rows = []
    for name in dict.fromkeys(name for one in results for name in one["rows"]):
        ones = [one for one in results if name in one["rows"]]
        asked = [
            (Path(one["experiment"].get("teacher", "")).parent.name.rpartition("-seed")[0], one["seed"]) for one in ones
        ]
        teachers = [trained[one] for one in asked if one in trained]
        rows.append(
            Row(
                name=name,
                scores=np.concatenate([one["rows"][name]["scores"] for one in ones]),
                successes=np.concatenate([one["rows"][name]["successes"] for one in ones]),
                seeds=[one["seed"] for one in ones],
                evaluations=ones[0]["rows"][name]["network_evaluations"],
                parameters=ones[0]["parameters"],
                seconds=[one["training_seconds"] for one in ones],
                teacher_seconds=[one["training_seconds"] for one in teachers],
                teacher_score=best_score(teachers) if teachers else None,
                latency=record["latency_seconds"][name],
                curves=[one["curve"] for one in ones] if name == ones[0]["system"] else [],
            )
        )
    return rows


def best_score(ones: list[dict[str, Any]]) -> float:
    """Of a system's rows the highest mean score: that of the sampler that suits it."""
    return max(float(np.mean([one["rows"][name]["scores"] for one in ones])) for name in ones[0]["rows"])
