"""HTML files that need no other file and no network, and fit a window of any width."""

from __future__ import annotations

import html
from collections.abc import Iterable

STYLE = """
:root { color-scheme: light }
* { box-sizing: border-box }
body { font: 14px/1.5 system-ui, sans-serif; max-width: 1160px; margin: 2rem auto; padding: 0 1rem; color: #1c2733 }
h1, h2, p, li, summary { overflow-wrap: anywhere }
h1 { font-size: 1.5rem; line-height: 1.25 }
h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse }
th, td { padding: .3rem .5rem; border-bottom: 1px solid #ddd; text-align: right }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere }
img, video { max-width: 100% }
pre { white-space: pre-wrap; overflow-wrap: anywhere }
@media (max-width: 700px) {
  body { margin-top: 1rem }
  table, tbody { display: block }
  thead { display: none }
  tr { display: flex; flex-wrap: wrap; gap: 0 1rem; padding: .4rem 0; border-bottom: 1px solid #ddd }
  td { border: 0; padding: 0; text-align: left }
  td:first-child { flex: 0 0 100%; font-weight: 600 }
  td:not(:first-child)::before { content: attr(data-name) " "; color: #687785 }
  td:empty { display: none }
}
"""

Table = tuple[list[str], list[list[str]], str]
"""Head, rows, and the note below."""


def html_page(title: str, body: str, style: str = "", end: str = "") -> str:
    """A page with the heading ``title``.

    Args:
        body, end: HTML; ``end`` is for scripts.
        style: CSS beyond `STYLE`.
    """
    heading = html.escape(title)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading}</title>
<style>{STYLE}{style}</style></head>
<body>
<h1>{heading}</h1>
{body}
{end}</body></html>
"""


def html_table(table: Table) -> str:
    """A table; in a narrow window each row is a paragraph that repeats the names of its columns."""
    head, rows, note = table
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "\n".join("<tr>" + "".join(map(_cell, head, row)) + "</tr>" for row in rows)
    below = f"<p>{html.escape(note)}</p>\n" if note else ""
    return f"<table><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table>\n{below}"


def html_list(lines: Iterable[str]) -> str:
    return "<ul>\n" + "\n".join(f"<li>{html.escape(line)}</li>" for line in lines) + "\n</ul>\n"


def _cell(name: str, text: str) -> str:
    return f'<td data-name="{html.escape(name)}">{html.escape(text)}</td>'
