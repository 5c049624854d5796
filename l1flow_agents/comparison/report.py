"""What a comparison comes to: a Markdown table, a picture, and one HTML file that needs no other."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from l1flow_agents.comparison.paired import PAIRED_HEAD, PAIRED_NOTE, paired
from l1flow_agents.comparison.plots import draw
from l1flow_agents.comparison.rows import HEAD, NOTE, rows_of
from l1flow_agents.files import write_atomically
from l1flow_agents.html_page import Table, html_page, html_table


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


def page(title: str, tables: Iterable[Table], picture: bytes, command: str) -> str:
    """HTML with the picture inside, no wider than a window."""
    image = base64.b64encode(picture).decode()
    return html_page(
        title,
        f'<img alt="scores, score over training, score against latency" src="data:image/png;base64,{image}">\n'
        f"{''.join(map(html_table, tables))}<pre>{html.escape(command)}</pre>",
    )
