"""The picture of a comparison: scores, score over training, score against latency."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from l1flow_agents.comparison.rows import Row

LINE = 1.4  # heights of a label from one to the next


def draw(rows: Sequence[Row], title: str) -> bytes:
    """PNG."""
    file = io.BytesIO()
    figure_of(rows, title).savefig(file, format="png", dpi=110)
    return file.getvalue()


def figure_of(rows: Sequence[Row], title: str) -> Figure:
    from matplotlib import colormaps  # late: slow to import
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(15, max(4.6, 0.33 * len(rows))), layout="constrained")
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
        if row.curves and all(row.curves):
            steps = [point["step"] for point in row.curves[0]]
            means = np.array([[point["mean_score"] for point in curve] for curve in row.curves])
            lines.plot(steps, means.mean(axis=0), marker="o", ms=3, color=colour)  # the bars name the colours
            if len(means) > 1:
                lines.fill_between(steps, means.min(axis=0), means.max(axis=0), color=colour, alpha=0.15)
    lines.set(xlabel="gradient steps", ylabel="mean score on validation seeds", ylim=(0, 1.02))
    dots.set(xscale="log", xlabel="ms a plan (batch 1)", ylabel="mean score on the test seeds", ylim=(0, 1.02))
    dots.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    dots.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    dots.xaxis.set_minor_formatter(NullFormatter())
    heights = apart([row.mean for row in rows], 1.02 * LINE * 8 / 72 / (0.75 * figure.get_figheight()))
    for row, colour, height in zip(rows, colours, heights, strict=True):  # beside the axes, where none hides another
        dots.annotate(
            row.name,
            xy=(1e3 * row.latency["1"], row.mean),
            xytext=(1.04, height),
            textcoords=dots.get_yaxis_transform(),
            size=8,
            va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5},
        )
    return figure


def apart(places: Sequence[float], distance: float) -> list[float]:
    """Places near the given ones, in their order, at least so far from each other, and none above 1."""
    order = np.argsort(places, kind="stable")
    moved = np.maximum.accumulate(np.asarray(places)[order] - distance * np.arange(len(places)))  # pushed up
    moved = moved + distance * np.arange(len(places))
    moved -= max(0.0, moved[-1] - 1.0) if len(moved) else 0.0
    result = np.empty(len(places))
    result[order] = moved
    return [float(place) for place in result]
