"""Promise: a method, a network, a task, a format and a wrapper are added from outside, by what CONTRIBUTING.md shows.

The package of CONTRIBUTING.md is written to a folder as pip would leave it, and used by the command line alone.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from conftest import ACTION, STATE
from gymnasium.envs.registration import WrapperSpec
from torch import nn

from l1flow_agents import L1FlowAgent
from l1flow_agents.env_description import EnvDescription
from l1flow_agents.errors import CheckpointError, ConfigError
from l1flow_agents.methods import METHODS, L1Flow
from l1flow_agents.networks import NETWORKS
from l1flow_agents.wrappers import WRAPPERS

PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
EXPERIMENT = """
env: my_robots.tasks:Reach-v0
dataset: reach.hdf5
agent: {network: linear, method: huber, horizon: 4, n_obs_steps: 1, n_action_steps: 2, method_kwargs: {delta: 0.2}}
training: {total_steps: 300, batch_size: 32, learning_rate: 1.0e-2, warmup_steps: 10}
"""
BROKEN = (
    "left out: data format 'broken' of package broken_robots 1.0 cannot be imported "
    "(ModuleNotFoundError: No module named 'no_such_module')"
)
COMMANDS = """
collect --env my_robots.tasks:Reach-v0 -n 5 -o reach.hdf5 --workers 2
train reach.yaml --run-dir run
train reach.yaml --run-dir packed --dataset demos.npz
info demos.npz
eval run/agent --env my_robots.tasks:Reach-v0 -n 2 --n-envs 1 --output scored
eval run/agent --env my_robots.wrappers:ReachSmooth-v0 -n 2 --n-envs 1 --output smooth
info
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder for ``sys.path`` with the package of CONTRIBUTING.md and one that does not work."""
    site = tmp_path_factory.mktemp("site")
    blocks = re.findall(r"```python\n# (my_robots/\w+\.py)\n(.*?)```", PAGE, flags=re.DOTALL)
    for name, code in blocks:
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text(code)
    (site / "my_robots" / "__init__.py").touch()
    (toml,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    groups = tomllib.loads(toml)["project"]["entry-points"]
    install(site, "my_robots", groups)
    install(site, "broken_robots", {group: {"broken": "no_such_module:Thing"} for group in groups})
    return site


def install(site: Path, name: str, groups: dict[str, dict[str, str]]) -> None:
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [line for group, entries in groups.items() for line in (f"[{group}]", *map(" = ".join, entries.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def done(site, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The commands, run one after the other in a process that sees the packages, and the folder they ran in."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "reach.yaml").write_text(EXPERIMENT)
    rng = np.random.default_rng(0)
    arrays = {key: rng.uniform(-1, 1, (40, 2)).astype(np.float32) for key in ("goal", "position", "action")}
    np.savez(folder / "demos.npz", **arrays, ends=np.array([15, 40]))
    code = (
        "from l1flow_agents.cli import main\n"
        "if __name__ == '__main__':\n"
        f"    for line in {COMMANDS.strip().splitlines()!r}:\n"
        "        assert main(line.split()) == 0, line\n"
        "    import gymnasium as gym\n"
        "    env = gym.make('my_robots.wrappers:ReachSmooth-v0')\n"
        "    places = [env.reset(seed=0)[0], *(env.step([x, 0])[0] for x in (1, -1))]\n"
        "    x = [place['position'][0] for place in places]\n"
        "    print(f'steps {x[1] - x[0]:.2f} {x[2] - x[1]:.2f}')\n"
    )
    (folder / "script.py").write_text(code)
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "script.py"]
    environment = {**os.environ, "PYTHONPATH": path}
    return folder, subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


def test_a_task_and_its_expert_a_method_and_a_network(done):
    folder, process = done
    assert process.returncode == 0, process.stderr
    assert "reach.hdf5: 5 demonstrations; the expert's success rate 1.00" in process.stdout
    assert (folder / "scored" / "results.json").is_file()
    for name in ("huber", "linear", "broken"):
        assert f"- {name}\n" in process.stdout


def test_a_format(done):
    folder, process = done
    assert process.returncode == 0, process.stderr
    assert (folder / "packed" / "agent").is_dir() and "format: NumPy archive" in process.stdout
    assert [line for line in process.stderr.splitlines() if "broken" in line] == [BROKEN]  # once, of two data sets


def test_a_wrapper(done):
    folder, process = done
    assert process.returncode == 0, process.stderr
    assert (folder / "smooth" / "results.json").is_file()
    assert process.stdout.splitlines()[-1] == "steps 0.10 -0.04"  # 0.7 of -1 and 0.3 of 1, each 0.1


def test_a_checkpoint_may_ask_for_a_wrapper_that_is_announced(tmp_path, monkeypatch):
    code = "import gymnasium\nclass Silent(gymnasium.Wrapper): ...\n"
    (tmp_path / "announced_wrappers.py").write_text(code)
    (tmp_path / "unknown_wrappers.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("Silent", "announced_wrappers:Silent", WRAPPERS.group)
    monkeypatch.setattr(WRAPPERS, "_things", {"Silent": entry})
    asked = {
        module: WrapperSpec("Silent", f"{module}:Silent", {}) for module in ("announced_wrappers", "unknown_wrappers")
    }
    with pytest.raises(ConfigError, match="unknown_wrappers:Silent is of a module that is not imported"):
        EnvDescription("CartPole-v1", wrappers=(asked["unknown_wrappers"],)).maker()
    env = EnvDescription("CartPole-v1", wrappers=(asked["announced_wrappers"],)).maker()()
    assert type(env).__name__ == "Silent" and "unknown_wrappers" not in sys.modules
    sys.modules.pop("announced_wrappers")


def test_a_checkpoint_of_a_package_that_is_not_installed(done):
    with pytest.raises(CheckpointError) as caught:
        L1FlowAgent.load(done[0] / "run" / "agent")
    message = str(caught.value)
    assert "unknown network 'linear', expected one of ['mlp'," in message and "\n" not in message
    assert "or one that an installed or imported package adds" in message


def test_a_decorator_in_a_program(monkeypatch):
    for table in (METHODS, NETWORKS):
        monkeypatch.setattr(table, "_things", dict(table._things))

    @METHODS.register("eager")
    class Eager(L1Flow):
        """L1 Flow by another name."""

    @NETWORKS.register("identity")
    class Identity(nn.Module):
        """Not a good network."""

        def __init__(self, horizon, action_dim, cond_dim):
            super().__init__()

        def forward(self, x, t, cond):
            return x

    agent = L1FlowAgent("identity", (STATE, ACTION), method="eager")
    assert isinstance(agent.policy.method, Eager) and isinstance(agent.policy.network, Identity)
    assert agent.predict({"pos": np.zeros(3, np.float32)})[0].shape == (2,)
