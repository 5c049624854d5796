"""Promise: the wheel holds everything, puts nothing generic into site-packages, and works on its own."""

from __future__ import annotations

import email
import importlib.util
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import yaml

import l1flow_agents

ROOT = Path(__file__).parents[1]


def built(source: Path, folder: Path) -> Path:
    """The wheel of a checkout or of an sdist."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", folder, source]
    subprocess.run(command, check=True, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory) -> Path:
    return built(checkout, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_everything_under_one_name(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"l1flow_agents"}
    data = ("configs/pusht-state.yaml", "published.yaml", "bundled/pusht-state/README.md", "viewing/viewer.js")
    tasks = ("demonstrations/generation/tasks/square.yaml",)
    for part in ("envs/pusht.py", "wrappers/__init__.py", "py.typed", *data, *tasks):
        assert f"l1flow_agents/{part}" in names
    agents = {name.split("/")[2] for name in names if name.startswith("l1flow_agents/bundled/")}
    assert agents == {"pusht-state", "square-state"}  # the others are fetched
    assert wheel.stat().st_size < 15e6


def test_the_wheel_describes_itself(wheel):
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        about = email.message_from_bytes(opened.read(name))
    assert about["Summary"] and about["Keywords"] and about["License"] == "MIT"
    assert about["Description-Content-Type"] == "text/markdown" and "# L1 Flow agents" in about.get_payload()
    assert "Paper, https://arxiv.org/abs/2511.17898" in about.get_all("Project-URL")


def test_readme_on_a_package_index():
    """With an address for the repository, nothing in it is relative."""
    spec = importlib.util.spec_from_file_location("setup_of_l1flow", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.absolute((ROOT / "README.md").read_text(), "https://host/somebody/it", "v1.0")
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert all(target.startswith(("https://", "#")) for target in targets)
    assert "https://host/somebody/it/raw/v1.0/docs/square.png" in targets
    assert "https://host/somebody/it/blob/v1.0/docs/agent.md" in targets


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == l1flow_agents.__version__
    assert citation["references"][0]["url"] == "https://arxiv.org/abs/2511.17898"


def test_the_wheel_of_an_sdist_is_the_same(checkout, wheel, tmp_path):
    code = f"import setuptools.build_meta as backend; print(backend.build_sdist({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=checkout, check=True, capture_output=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    again, first = (zipfile.ZipFile(path) for path in (built(sdist, tmp_path), wheel))
    assert {one.filename: one.CRC for one in again.infolist() if one.filename.startswith("l1flow_agents/")} == {
        one.filename: one.CRC for one in first.infolist() if one.filename.startswith("l1flow_agents/")
    }


def test_the_wheel_works_in_a_clean_environment(wheel, tmp_path):
    """Only the wheel is installed; what it depends on is lent from here, without this checkout's editable install."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    site = next((tmp_path / "venv" / "lib").glob("python*")) / "site-packages"
    (site / "lent.pth").write_text(sysconfig.get_paths()["purelib"])
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run(pip, check=True)
    code = (
        "import gymnasium as gym, l1flow_agents\n"
        "agent = l1flow_agents.L1FlowAgent.load('pusht-state')\n"
        "env = gym.make('PushT-v0', **agent.env_kwargs)\n"
        "action, state = agent.predict(env.reset(seed=0)[0])\n"
        "print(l1flow_agents.__file__, env.action_space.contains(action))\n"
    )
    python = tmp_path / "venv" / "bin" / "python"
    done = subprocess.run([python, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    where, fits = done.stdout.split()
    assert Path(where).is_relative_to(site) and fits == "True"


def test_importing_is_cheap():
    """Registration must not import torch or a simulator; workers rely on it."""
    code = "import sys, l1flow_agents; print([m for m in ('torch', 'pymunk', 'pygame', 'cv2') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_writing_demonstrations_never_loads_torch():
    """200 MB less a worker."""
    code = (
        "import sys, l1flow_agents.demonstrations.collection; print([m for m in ('torch', 'zarr') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
