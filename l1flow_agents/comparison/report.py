"""What a comparison comes to: a Markdown table, a picture, and one HTML file that needs no other."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l1flow_agents.comparison.paired import PAIRED_HEAD, PAIRED_NOTE, paired
from l1flow_agents.comparison.plots import draw
from l1flow_agents.evaluation import wilson_interval
from l1flow_agents.files import write_atomically

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
        weak = self.teacher_score is not None and self.teacher_score < GOOD_TEACHER
        teacher = f" (teacher only {self.teacher_score:.2f})" if weak else ""
        after = [self.seconds_to(score) for score in GIVEN_SCORES]
        return [
            self.name,
            str(len(self.seeds)),
            f"{self.mean:.3f} ± {self.error:.3f}{teacher}",
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


def write_report(record: dict[str, Any], folder: Path) -> None:
    """``compare.md``, ``compare.png`` and ``compare.html`` in ``folder``."""
    rows = rows_of(record)
    budget = ", ".join(f"{amount:g} {unit}" for unit, amount in record["budget"].items())
    title = f"{record['env']}: {budget} of training each, {record['n_episodes']} test episodes a seed"
    tables = [(HEAD, [row.cells() for row in rows], NOTE)]
    if pairs := paired(record["results"]):
        tables.append((PAIRED_HEAD, [one.cells() for one in pairs], PAIRED_NOTE))
    parts = [title, *(f"{markdown_table(head, cells)}\n\n{note}" for head, cells, note in tables)]
    write_atomically(folder / "compare.md", "\n\n".join([*parts, f"    {record['command']}\n"]))
    picture = draw(rows, title)
    write_atomically(folder / "compare.png", picture)
    tables[0] = ([*HEAD, "parameters"], [[*row.cells(), f"{row.parameters:,}"] for row in rows], NOTE)
    write_atomically(folder / "compare.html", page(title, tables, picture, record["command"]))


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


Table = tuple[list[str], list[list[str]], str]
"""Head, rows, and the note below."""


def page(title: str, tables: Iterable[Table], picture: bytes, command: str) -> str:
    """HTML with the picture inside, no wider than a window."""
    image = base64.b64encode(picture).decode()
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>
<style>
body {{ font: 14px/1.5 system-ui, sans-serif; max-width: 1160px; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }}
th, td {{ padding: .3rem .5rem; border-bottom: 1px solid #ddd; text-align: right }}
th:first-child, td:first-child {{ text-align: left }}
img {{ max-width: 100% }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere }}
</style>
<h1>{html.escape(title)}</h1>
<img alt="scores, score over training, score against latency" src="data:image/png;base64,{image}">
{"".join(map(html_table, tables))}<pre>{html.escape(command)}</pre>
</html>
"""


def html_table(table: Table) -> str:
    head, rows, note = table
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table>\n<p>{html.escape(note)}</p>\n"
