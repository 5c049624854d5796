"""What a comparison comes to: a Markdown table, a picture, and one HTML file that needs no other."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l1flow_agents.evaluation import wilson_interval
from l1flow_agents.files import write_atomically

GIVEN_SCORES = 0.5, 0.7, 0.8, 0.9  # mean scores on validation seeds, of which a training's time is told
HEAD = ["system", "seeds", "mean score", "success (95 %)", "evaluations", "ms a plan", "ms for 16", "training", "after"]
NOTE = (
    "Mean score: highest reward of an episode, averaged over episodes and seeds, with its 95 % half width. "
    "Evaluations: calls of the network for one plan. Training: median seconds on one core; after +: of its teacher. "
    "After: median seconds of training until the mean score on validation seeds was "
    f"{' / '.join(map(str, GIVEN_SCORES))}."
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
        after = [self.seconds_to(score) for score in GIVEN_SCORES]
        return [
            self.name,
            str(len(self.seeds)),
            f"{self.mean:.3f} ± {self.error:.3f}",
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
    seconds = {(one["system"], one["seed"]): one["training_seconds"] for one in results}
    rows = []
    for name in dict.fromkeys(name for one in results for name in one["rows"]):
        ones = [one for one in results if name in one["rows"]]
        teachers = [(Path(one["experiment"].get("teacher", "")).parent.name, one["seed"]) for one in ones]
        rows.append(
            Row(
                name=name,
                scores=np.concatenate([one["rows"][name]["scores"] for one in ones]),
                successes=np.concatenate([one["rows"][name]["successes"] for one in ones]),
                seeds=[one["seed"] for one in ones],
                evaluations=ones[0]["rows"][name]["network_evaluations"],
                parameters=ones[0]["parameters"],
                seconds=[one["training_seconds"] for one in ones],
                teacher_seconds=[
                    seconds[system.rpartition("-seed")[0], seed]
                    for system, seed in teachers
                    if (system.rpartition("-seed")[0], seed) in seconds
                ],
                latency=record["latency_seconds"][name],
                curves=[one["curve"] for one in ones] if name == ones[0]["system"] else [],
            )
        )
    return rows


def write_report(record: dict[str, Any], folder: Path) -> None:
    """``compare.md``, ``compare.png`` and ``compare.html`` in ``folder``."""
    rows = rows_of(record)
    budget = ", ".join(f"{amount:g} {unit}" for unit, amount in record["budget"].items())
    title = f"{record['env']}: {budget} of training each, {record['n_episodes']} test episodes a seed"
    table = markdown_table(HEAD, [row.cells() for row in rows])
    write_atomically(folder / "compare.md", f"{title}\n\n{table}\n\n{NOTE}\n\n    {record['command']}\n")
    picture = draw(rows, title)
    write_atomically(folder / "compare.png", picture)
    write_atomically(folder / "compare.html", page(title, rows, picture, record["command"]))


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def draw(rows: list[Row], title: str) -> bytes:
    """PNG: scores with intervals, score over training, score against latency."""
    from matplotlib import colormaps  # late: slow to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.6), layout="constrained")
    figure.suptitle(title)
    bars, lines, dots = figure.subplots(1, 3)
    palette = colormaps["tab20"].colors  # type: ignore[attr-defined]  # strong and light in turn
    colours = [palette[(2 * k + k // 10) % 20] for k in range(len(rows))]
    names = [row.name for row in rows]
    bars.barh(names, [row.mean for row in rows], xerr=[row.error for row in rows], color=colours, capsize=3)
    bars.invert_yaxis()
    bars.set(xlabel="mean score on the test seeds", xlim=(0, 1.02))
    for row, colour in zip(rows, colours, strict=True):
        dots.errorbar(1e3 * row.latency["1"], row.mean, row.error, fmt="o", color=colour, capsize=3)
        dots.annotate(row.name, (1e3 * row.latency["1"], row.mean), xytext=(5, 4), textcoords="offset points", size=8)
        if row.curves and all(row.curves):
            steps = [point["step"] for point in row.curves[0]]
            means = np.array([[point["mean_score"] for point in curve] for curve in row.curves])
            lines.plot(steps, means.mean(axis=0), marker="o", ms=3, color=colour, label=row.name)
            if len(means) > 1:
                lines.fill_between(steps, means.min(axis=0), means.max(axis=0), color=colour, alpha=0.15)
    lines.set(xlabel="gradient steps", ylabel="mean score on validation seeds", ylim=(0, 1.02))
    if lines.lines:
        lines.legend(fontsize=8)
    dots.set(xscale="log", xlabel="ms a plan (batch 1)", ylabel="mean score on the test seeds")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


def page(title: str, rows: list[Row], picture: bytes, command: str) -> str:
    """HTML with the picture inside."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in [*HEAD, "parameters"])
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in [*row.cells(), f"{row.parameters:,}"]) + "</tr>"
        for row in rows
    )
    image = base64.b64encode(picture).decode()
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }}
th, td {{ padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: right }}
th:first-child, td:first-child {{ text-align: left }} img {{ max-width: 100% }}
</style>
<h1>{html.escape(title)}</h1>
<img alt="scores, score over training, score against latency" src="data:image/png;base64,{image}">
<table><thead><tr>{head}</tr></thead><tbody>
{body}
</tbody></table>
<p>{html.escape(NOTE)}</p>
<pre>{html.escape(command)}</pre>
</html>
"""
