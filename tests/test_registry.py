"""Promise: a table takes what other packages add, lazily; what is broken or taken costs one line and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from l1flow_agents.errors import ConfigError
from l1flow_agents.registry import Registry

TABLE: list[Registry] = []


class Shape:
    """What a table of these tests holds."""


def install(folder: Path, group: str, entries: dict[str, str], modules: dict[str, str]) -> None:
    """A third-party package, as pip leaves it on ``sys.path``."""
    info = folder / f"{folder.name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {folder.name}\nVersion: 1.0\n")
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    for name, code in modules.items():
        (folder / f"{name}.py").write_text(code)


@pytest.fixture
def shapes() -> Registry[type[Shape]]:
    own = {"round": type("Round", (Shape,), {}), "later": "test_registry:Shape"}
    return Registry("shape", "l1flow_tests.shapes", own, Shape)


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """Two packages: one that works and also wants a name of ours, and one that does not work."""
    good, bad = tmp_path / "good_shapes", tmp_path / "bad_shapes"
    code = f"from {__name__} import Shape\nclass Star(Shape): ...\nnothing = 1\n"
    named = {"star": "stars:Star", "round": "stars:Star", "number": "stars:nothing"}
    install(good, "l1flow_tests.shapes", named, {"stars": code})
    install(bad, "l1flow_tests.shapes", {"broken": "broken:Shape"}, {"broken": "raise OSError('two\\nlines')"})
    for folder in (good, bad):
        monkeypatch.syspath_prepend(str(folder))
    yield
    for name in ("stars", "broken"):
        sys.modules.pop(name, None)


def test_a_class_registers_itself(shapes):
    @shapes.register("square")
    class Square(Shape):
        pass

    assert shapes["square"] is Square and "square" in shapes and sorted(shapes) == ["later", "round", "square"]


def test_what_is_a_string_is_imported_when_asked_for(shapes):
    assert shapes["later"].__name__ == "Shape"


@pytest.mark.parametrize("name", ["round", "later"])
def test_a_taken_name_is_refused_in_one_line(shapes, name):
    with pytest.raises(ConfigError, match=f"^shape '{name}' exists already; choose another name$"):
        shapes.register(name)(type("Other", (Shape,), {}))


def test_a_notebook_may_run_its_cell_again(shapes):
    for _ in range(2):

        @shapes.register("square")
        class Square(Shape):
            pass

    assert shapes["square"] is Square


def test_an_instance_keeps_its_name():
    units = Registry("unit", "l1flow_tests.units", {})
    units.register("metre")(1.0)
    with pytest.raises(ConfigError, match="unit 'metre' exists already"):
        units.register("metre")(2.0)


def test_a_forgotten_name_is_refused(shapes):
    with pytest.raises(ConfigError, match=r"^expected a name, as in @register\('name'\), got <class"):

        @shapes.register
        class Square(Shape):
            pass


def test_a_module_may_register_what_its_entry_point_names(tmp_path, monkeypatch, shapes):
    code = f"from {__name__} import Shape, TABLE\n@TABLE[0].register('hexagon')\nclass Hexagon(Shape): ...\n"
    install(tmp_path / "six", "l1flow_tests.shapes", {"hexagon": "six_shapes:Hexagon"}, {"six_shapes": code})
    monkeypatch.syspath_prepend(str(tmp_path / "six"))
    monkeypatch.setattr(sys.modules[__name__], "TABLE", [shapes])
    assert shapes["hexagon"].__name__ == "Hexagon" and list(shapes).count("hexagon") == 1
    sys.modules.pop("six_shapes")


def test_what_is_no_such_thing_is_refused(shapes):
    with pytest.raises(ConfigError, match=r"^shape 'square': expected a test_registry\.Shape, got 'text'$"):
        shapes.register("square")("text")


@pytest.mark.parametrize("name", ["nothing", "os:system", "", None, 3, ["round"], {}])
def test_only_names_are_looked_up(shapes, name):
    assert name not in shapes
    with pytest.raises(KeyError):
        shapes[name]


def test_packages_add_by_entry_points(plugins, shapes):
    assert sorted(shapes) == ["broken", "later", "number", "round", "star"]
    assert "stars" not in sys.modules  # listing imports nothing
    assert shapes["star"].__name__ == "Star" and shapes["round"].__name__ == "Round"


def test_a_broken_package_is_one_line_and_the_rest_works(plugins, shapes, caplog):
    assert [one.__name__ for one in shapes.usable()] == ["Star", "Shape", "Round"]  # newest first
    taken, *unusable = (record.getMessage() for record in caplog.records)
    assert taken == "left out: shape 'round' of package good_shapes 1.0, the name is taken"
    assert unusable == [
        "left out: shape 'number': expected a test_registry.Shape, got 1",
        "left out: shape 'broken' of package bad_shapes 1.0 cannot be imported (OSError: two lines)",
    ]
    with pytest.raises(ConfigError, match=r"^shape 'broken' of package bad_shapes 1\.0 cannot be imported"):
        shapes["broken"]


def test_a_package_that_exits_ends_nothing_but_ctrl_c_does(tmp_path, monkeypatch, shapes):
    modules = {"exits": "import sys\nsys.exit(3)", "interrupted": "raise KeyboardInterrupt"}
    install(tmp_path / "ends", "l1flow_tests.shapes", {name: f"{name}:Shape" for name in modules}, modules)
    monkeypatch.syspath_prepend(str(tmp_path / "ends"))
    with pytest.raises(ConfigError, match=r"^shape 'exits' of package ends 1\.0 cannot be imported \(SystemExit: 3\)$"):
        shapes["exits"]
    with pytest.raises(KeyboardInterrupt):
        shapes["interrupted"]


def test_an_entry_point_keeps_its_name_from_register(plugins, shapes):
    with pytest.raises(ConfigError, match="shape 'star' exists already"):
        shapes.register("star")(type("Other", (Shape,), {}))


def test_nothing_is_read_before_it_is_wanted():
    """Names of this library are found without a look at the installed packages, which takes time."""
    code = (
        "import importlib.metadata as m\n"
        "def refuse(**given): raise SystemExit('read')\n"
        "m.entry_points = refuse\n"
        "import l1flow_agents\n"
        "from l1flow_agents.registry import Registry\n"
        "print(Registry('shape', 'group', {'round': 'math:tau'})['round'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "6.283185307179586", done.stderr
