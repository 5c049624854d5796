"""The page: what is known of the data, and a player of episodes."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from l1flow_agents.html_page import Table, html_list, html_page, html_table

BARS = 24


def page(
    title: str,
    facts: Sequence[str],
    remarks: Sequence[str],
    bars: Iterable[str],
    record: dict[str, Any],
    tables: Iterable[tuple[str, Table]],
) -> str:
    """One HTML file.

    Args:
        facts: lines on top.
        remarks: what stands out.
        bars: pictures of `histogram`.
        record: for ``viewer.js``.
        tables: each with its heading; all but the first of these are folded up.
    """
    parts = [html_list(facts)]
    if remarks:
        parts.append(f"<h2>What stands out</h2>\n{html_list(remarks)}")
    parts.append(f'<div class="bars">{"".join(bars)}</div>')
    if record["episodes"]:
        parts.append('<h2>Episodes</h2>\n<div id="viewer"></div>')
    parts.append("<h2>Statistics</h2>")
    for k, (heading, table) in enumerate(tables):
        opened = " open" if k == 0 else ""
        parts.append(f"<details{opened}><summary>{html.escape(heading)}</summary>{html_table(table)}</details>")
    # "</script>" in a text would end it, and nothing else could
    data = json.dumps(record, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    style, player = (files(__package__).joinpath(name).read_text() for name in ("viewer.css", "viewer.js"))
    scripts = f'<script type="application/json" id="record">{data}</script>\n<script>\n{player}</script>\n'
    return html_page(title, "\n".join(parts), style, scripts)


def histogram(caption: str, values: np.ndarray, good: np.ndarray | None = None) -> str:
    """Bars of how many ``values`` (n,) lie where, the successes, ``good`` (n,) bool, in green."""
    caption += "" if good is None else ", successes in green"
    whole = values.dtype.kind in "iu"
    bins = min(BARS, int(np.ptp(values)) + 1) if whole else BARS if np.ptp(values) > 0 else 1
    counts, edges = np.histogram(values, bins=bins)
    better = np.histogram(values[good], bins=edges)[0] if good is not None else counts * 0
    bars = "".join(
        f'<i style="height:{100 * n / counts.max():.1f}%" title="{edges[k]:.4g} to {edges[k + 1]:.4g}: {n}">'
        f'<b style="height:{100 * better[k] / max(n, 1):.0f}%"></b></i>'
        for k, n in enumerate(counts)
    )
    return (
        f"<figure><figcaption>{html.escape(caption)}</figcaption><div>{bars}</div>"
        f"<p><span>{values.min():.4g}</span><span>{values.max():.4g}</span></p></figure>"
    )
