"""Promise: imports go one way. Whoever reads a module needs to know those below it and no other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "l1flow_agents"
LAYERS = (  # from the bottom; parts of one layer do not know each other
    {"errors", "html_page", "lazy", "limits", "noise", "rotations", "seeds", "versions"},
    {"kinds", "registry"},
    {"building", "demonstration", "device", "gpu_sharing", "layouts", "names", "spawning"},
    {"checks", "env_maker", "files", "frozen", "parallel"},
    {"safe_yaml", "video"},
    {"weights"},
    {"data", "envs", "wrappers"},
    {"demonstrations", "env_description", "methods", "networks", "hub", "settings", "spaces", "zoo"},
    {"policy", "provenance", "recovering", "state"},
    {"replaying"},
    {"acting", "checkpoint"},
    {"card", "exporting", "training"},
    {"agent"},
    {"evaluation", "realtime", "viewing"},
    {"experiments"},
    {"comparison"},
    {"cli"},
)


def modules() -> dict[str, Path]:
    """Name -> file, ``envs`` and ``wrappers`` through their links."""
    folders = [PACKAGE, *(path.resolve() for path in PACKAGE.iterdir() if path.is_symlink())]
    found = {}
    for folder in folders:
        for file in folder.rglob("*.py"):
            parts = (PACKAGE.name, *([] if folder == PACKAGE else [folder.name]), *file.relative_to(folder).parts)
            found[".".join(parts).removesuffix(".py").removesuffix(".__init__")] = file
    return found


def imports(file: Path, known: dict[str, Path]) -> Iterator[str]:
    """The package's modules that ``file`` names in an import anywhere: also in functions and for type checkers."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: an import is relative"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield from [whole if whole in known else str(node.module)]
        elif isinstance(node, ast.Import):
            yield from [alias.name for alias in node.names if alias.name != PACKAGE.name]  # registers environments


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """Module -> modules that it imports. The package itself is a shop window and stands outside."""
    known = modules()
    arrows = {name: {other for other in imports(file, known) if other in known} for name, file in known.items()}
    del arrows[PACKAGE.name]
    return arrows


def test_the_graph_is_seen(graph):
    assert {"l1flow_agents.checkpoint", "l1flow_agents.training"} <= graph["l1flow_agents.agent"]
    assert "l1flow_agents.policy" in graph["l1flow_agents.checkpoint"], "imports for type checkers count"
    assert "l1flow_agents.envs.robosuite_env" in graph, "links are followed"
    assert len(graph) > 80


def test_no_module_imports_itself_by_a_detour(graph):
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def test_no_arrow_goes_up(graph):
    height = {part: level for level, parts in enumerate(LAYERS) for part in parts}
    upward = []
    for name, others in graph.items():
        part = name.split(".")[1]
        assert part in height, f"{name}: give {part!r} its place in LAYERS"
        for other in others:
            assert other != PACKAGE.name, f"{name} imports from the package itself, which imports everything"
            target = other.split(".")[1]
            if target != part and height[target] >= height[part]:
                upward.append(f"{name} -> {other}")
    assert not upward, upward
