"""Promise: a figure in README or docs is one of benchmarks/results, and says what is there now."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACED = re.compile(r"<!-- (table|figure).*?<!-- end -->", re.DOTALL)
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
MEASURED = re.compile(r"(?<![\w.])\d\.\d{2,3}(?![\w.]| ?(m|rad|s|GB|MB)\b)")  # no lengths, no versions
SETTINGS = {"0.05", "3.11", "3.12"}  # the generator's noise; Pythons


def check() -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "benchmarks" / "pages.py", "--check"]
    return subprocess.run(command, capture_output=True, text=True)


def test_pages_say_what_the_results_say():
    done = check()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_score_stands_outside_the_marks(page):
    text = CODE.sub("", PLACED.sub("", page.read_text()))
    found = [line for line in text.splitlines() for one in MEASURED.finditer(line) if one[0] not in SETTINGS]
    assert not found, "put them between marks, see benchmarks/pages.py"


def test_another_figure_is_found(tmp_path):
    """The check itself: a changed table and a mark without a figure are both refused."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import pages
    finally:
        sys.path.pop(0)
    right = pages.fill("<!-- table ablations -->\nold\n<!-- end -->", "page")
    assert "old" not in right and pages.fill(right, "page") == right
    with pytest.raises(SystemExit, match=r"page: no figure 'nobody rate'"):
        pages.fill("<!-- figure nobody rate -->0.5<!-- end -->", "page")
