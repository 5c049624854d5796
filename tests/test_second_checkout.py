"""Promise: whoever works in a second checkout runs its own code, all of it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

# Prints every file that the library is made of or reads: modules, a bundled agent, a configuration.
WHERE = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import l1flow_agents, l1flow_agents.agent, l1flow_agents.envs.pusht, l1flow_agents.wrappers
from l1flow_agents import cli
l1flow_agents.L1FlowAgent.load("pusht-state")
cli.main(["train", "pusht-state", "--dataset", "nowhere"])
read = [path for path in opened if path.endswith("pusht-state.yaml") or "bundled" in path]
modules = [module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "l1flow_agents"]
print("files:", *modules, *read, sep="\\n")
"""


def run(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | variables
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True)


def assert_all_from(checkout: Path, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    paths = done.stdout.partition("files:\n")[2].splitlines()
    for part in ("agent.py", "envs/pusht.py", "wrappers/__init__.py", "pusht-state.yaml", "pusht-state/config.yaml"):
        assert any(path.endswith(part) for path in paths), part
    for path in paths:
        assert Path(path).is_relative_to(checkout / "l1flow_agents"), path  # through the links


def test_from_its_folder(checkout):
    assert_all_from(checkout, run(sys.executable, "-c", WHERE, cwd=checkout))


def test_from_elsewhere(checkout, tmp_path):
    assert_all_from(checkout, run(sys.executable, "-c", WHERE, cwd=tmp_path, PYTHONPATH=str(checkout)))


def test_installed_as_editable(checkout, tmp_path):
    """In an environment of its own; what the library depends on is lent from here, without this checkout's install."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    site = next((tmp_path / "venv" / "lib").glob("python*")) / "site-packages"
    (site / "lent.pth").write_text(sysconfig.get_paths()["purelib"])
    build = f"import setuptools.build_meta as backend; backend.build_editable({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=checkout, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run(pip, check=True)
    assert_all_from(checkout, run(tmp_path / "venv" / "bin" / "python", "-c", WHERE, cwd=tmp_path))


def test_without_links_one_line_says_what_to_do(checkout, tmp_path):
    """As git lays them on Windows: a text file that holds the link's target."""
    (tmp_path / "l1flow_agents").mkdir()
    for file in (checkout / "l1flow_agents").glob("*.py"):
        (tmp_path / "l1flow_agents" / file.name).write_text(file.read_text())
    for name in ("envs", "wrappers"):
        (tmp_path / "l1flow_agents" / name).write_text(f"../{name}")
    done = run(sys.executable, "-S", "-c", "import l1flow_agents", cwd=tmp_path)  # -S: nor another checkout's install
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: l1flow_agents/envs and l1flow_agents/wrappers must be")
