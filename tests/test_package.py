"""Promise: the wheel holds everything, puts nothing generic into site-packages, and works on its own."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

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
    for part in ("envs/pusht.py", "wrappers/__init__.py", "configs/pusht-state.yaml", "methods/l1flow.py", "py.typed"):
        assert f"l1flow_agents/{part}" in names
    for agent in ("pusht-state", "pusht-image"):
        assert f"l1flow_agents/bundled/{agent}/config.yaml" in names
        assert zipfile.ZipFile(wheel).getinfo(f"l1flow_agents/bundled/{agent}/model.safetensors").file_size < 12e6


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
