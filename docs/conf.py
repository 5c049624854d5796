"""Sphinx: the site of ``make docs``. Its source is the repository, so a link between two files works on both.

The reference is taken from the docstrings. Nothing is asked of another server, neither here nor by the reader.
"""

import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

project = "L1 Flow agents"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]

root_doc = "README"
include_patterns = ["*.md", "docs/**.md", "benchmarks/results/*.md"]
exclude_patterns = [".*", "build", "dist", "runs"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = project
html_copy_source = False

default_role = "code"  # `name` in a docstring
autodoc_default_options = {"members": True}
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_use_rtype = False

NAVIGATION = """
```{toctree}
:hidden:
:caption: Guide

docs/agent
docs/envs
docs/mimicgen
docs/data
docs/viewing
docs/lerobot
docs/evaluation
docs/realtime
docs/comparison
docs/wrappers
```

```{toctree}
:hidden:
:caption: Reference

docs/api/agent
docs/api/training
docs/api/evaluation
docs/api/realtime
docs/api/methods
docs/api/networks
docs/api/data
docs/api/demonstrations
docs/api/envs
docs/api/wrappers
docs/api/registry
```

```{toctree}
:hidden:
:caption: Project

benchmarks/results/README
benchmarks/results/compare_pusht
benchmarks/results/compare_pusht_carry
benchmarks/results/compare_pusht_unet
benchmarks/results/compare_square
CONTRIBUTING
CHANGELOG
```
"""


def setup(app: Sphinx) -> None:
    """Say to Sphinx what happens when."""
    app.connect("source-read", complete)
    app.connect("autodoc-process-docstring", escape)
    app.connect("build-finished", copy_first_page)


def complete(app: Sphinx, name: str, source: list[str]) -> None:
    """README gets the site's navigation, and a page without a title its name."""
    if name == root_doc:
        source[0] += NAVIGATION
    elif not source[0].startswith("#"):
        source[0] = f"# {Path(name).name}\n\n{source[0]}"


def escape(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """The star of ``(n, *shape)`` begins no emphasis."""
    lines[:] = [re.sub(r"(?<=[ (])\*(?=\w+[,)])", r"\\*", line) for line in lines]


def copy_first_page(app: Sphinx, error: Exception | None) -> None:
    if error is None:
        shutil.copy(app.outdir / "README.html", app.outdir / "index.html")
