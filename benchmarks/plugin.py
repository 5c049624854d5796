"""LeRobot's own factory, ``lerobot-eval`` and ``lerobot-rollout`` on agents of ours, action for action.

    python benchmarks/plugin.py --python /path/to/bin/python [--json benchmarks/results/plugin.json]

``--python`` is that of an environment with lerobot 0.6, gym-pusht and what examples/lerobot_policy_l1flow depends on;
it runs ``plugin_inside.py`` with the built plug-in and this checkout in its path.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from l1flow_agents import L1FlowAgent
from l1flow_agents.data.normalizer import is_image
from l1flow_agents.versions import versions

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "examples" / "lerobot_policy_l1flow"
NAMES, STEPS, ENVS = ("pusht-image", "pusht-state", "lift-state"), 24, 3
ARM = spaces.Dict({"state": spaces.Box(-100, 100, (2,)), "top": spaces.Box(0, 255, (48, 64, 3), np.uint8)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="of an environment with lerobot")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), shlex.split(arguments.python))
    print(json.dumps(found, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    if not all(one["equal"] for part in ("agents", "commands") for one in found[part].values()):
        sys.exit("not all actions are equal")


def measure(folder: Path, python: list[str]) -> dict[str, Any]:
    """Write agents and observations, let LeRobot act, compare."""
    install(folder / "site")
    for name in NAMES:
        write_agent(L1FlowAgent.load(name), folder / name)
    arm = L1FlowAgent("mlp", (ARM, spaces.Box(-100, 100, (2,))), n_obs_steps=2, n_action_steps=4)
    write_agent(arm, folder / "arm")
    ours = {name: acted(L1FlowAgent.load(folder / name), folder / f"{name}.npz") for name in NAMES}
    script = [*python, str(ROOT / "benchmarks" / "plugin_inside.py"), str(folder), str(ROOT)]
    subprocess.run(script, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    for name, here in ours.items():  # other versions of torch round otherwise
        there = np.load(folder / f"{name}-actions.npy")
        scale = float(np.ptp(here))
        found["agents"][name]["difference_between_environments"] = float(np.abs(there - here).max()) / scale
    return {"lerobot_side": found.pop("versions"), "our_side": versions(), **found}


def install(site: Path) -> None:
    """The plug-in as pip installs it: LeRobot finds it by its metadata."""
    with tempfile.TemporaryDirectory() as scratch:
        source = shutil.copytree(PLUGIN, Path(scratch, "source"))  # building leaves folders
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
        # the plug-in is for LeRobot's Python, which may be newer than the one that builds it
        subprocess.run([*pip, "--ignore-requires-python", "--wheel-dir", scratch, str(source)], check=True)
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
            wheel.extractall(site)


def write_agent(agent: L1FlowAgent, folder: Path) -> None:
    sys.path.insert(0, str(PLUGIN / "src"))
    from lerobot_policy_l1flow.folder import write_lerobot_files

    agent.save(folder)
    write_lerobot_files(agent, folder)


def acted(agent: L1FlowAgent, path: Path) -> np.ndarray:
    """Actions (STEPS, ENVS, action_dim) on random observations, which go to ``path``."""
    rng = np.random.default_rng(0)
    observations = {key: drawn(rng, box) for key, box in agent.spaces_by_key.items()}
    np.savez(path, **observations)
    torch.manual_seed(0)
    actions, state = [], None
    for step in range(STEPS):
        action, state = agent.predict({key: array[step] for key, array in observations.items()}, state)
        actions.append(action)
    return np.stack(actions)


def drawn(rng: np.random.Generator, box: spaces.Box) -> np.ndarray:
    shape = (STEPS, ENVS, *box.shape)
    if is_image(box):
        return rng.integers(256, size=shape, dtype=np.uint8)
    low, high = np.maximum(box.low, -1), np.minimum(box.high, 512)
    return rng.uniform(low, high, shape).astype(np.float32)


if __name__ == "__main__":
    main()
