"""Every figure of README and docs, out of benchmarks/results/*.json.

    python benchmarks/pages.py           # writes them into the pages
    python benchmarks/pages.py --check   # exit code 1 where a page says something else

A page marks a table, which is written whole, and a single figure:

    <!-- table NAME -->
    ...
    <!-- end -->
    ... in <!-- figure NAME -->0.97<!-- end --> of the episodes ...

The names are those of `tables.TABLES` and `tables.figure`.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from tables import RESULTS, TABLES, figure

from l1flow_agents.files import write_atomically

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), RESULTS / "README.md"]
MARKED = re.compile(r"(<!-- (table|figure) ([^>]+?) -->\n?)(.*?)(<!-- end -->)", re.DOTALL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; say which pages differ")
    check = parser.parse_args().check
    differing = []
    for page in PAGES:
        text = page.read_text()
        if (filled := fill(text, page.name)) != text:
            differing.append(page)
            if not check:
                write_atomically(page, filled)
    for page in differing:
        print(f"{page.relative_to(ROOT)}: {'differs from' if check else 'brought up to'} benchmarks/results")
    return int(check and bool(differing))


def fill(text: str, page: str) -> str:
    """``text`` with what stands between its marks made anew."""

    def made(found: re.Match[str]) -> str:
        begin, kind, name, _, end = found.groups()
        try:
            return begin + (TABLES[name]() + "\n" if kind == "table" else figure(name)) + end
        except (KeyError, OSError) as error:
            raise SystemExit(f"{page}: no {kind} {name!r} in benchmarks/results ({error!r})") from None

    return MARKED.sub(made, text)


if __name__ == "__main__":
    sys.exit(main())
