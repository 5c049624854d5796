"""LeRobot's and Minari's own loaders on what we write, and ours on what they write, number for number.

    python benchmarks/loaders.py --python /path/to/bin/python [--json benchmarks/results/loaders.json]

``--python`` is that of an environment with lerobot 0.6 and minari 0.5, which need Python 3.12, NumPy 2 and other
versions than this library: it runs this file with ``--inside``, which imports nothing of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

ROOT = Path(__file__).parents[1]
OURS, THEIRS = ("pusht-png", "pusht-video", "robomimic-png"), ("theirs-av1", "theirs-png")
MINARI_OURS, MINARI_THEIRS = ("pusht-v0", "pendulum-v0"), "theirs-v0"
PACKAGES = ("lerobot", "minari", "torch", "datasets", "pyarrow", "av", "numpy", "gymnasium")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="of an environment with lerobot")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        inside(arguments.inside)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = outside(Path(folder), shlex.split(arguments.python))
    print(json.dumps(found, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    if not all(one["equal"] for one in found["data_sets"].values()):
        sys.exit("not all numbers are equal")


# ---- here -----------------------------------------------------------------------------------------------------------


def outside(folder: Path, python: list[str]) -> dict[str, Any]:
    """Write, let LeRobot read and write, read, compare."""
    from l1flow_agents import Episodes, open_dataset
    from l1flow_agents.data.convert import convert
    from l1flow_agents.data.minari_writer import write_minari
    from l1flow_agents.recovering import recover_environment
    from l1flow_agents.versions import versions

    pusht = ROOT / "tests" / "data" / "pusht_sample.zarr"
    for name in OURS[:2]:
        convert(pusht, folder / name, fps=10, task="push the T", video=name.endswith("video"))
    convert(robomimic_file(folder / "robomimic.hdf5"), folder / OURS[2])
    convert(pusht, folder / MINARI_OURS[0], "minari")
    rng = np.random.default_rng(0)
    swings = Episodes({"observation": rng.normal(size=(30, 3))}, rng.normal(size=(30, 1)), ends=np.array([10, 30]))
    write_minari(swings, folder / MINARI_OURS[1], gym.spec("Pendulum-v1"))
    subprocess.run([*python, __file__, "--inside", str(folder)], check=True, cwd=folder, stdout=subprocess.DEVNULL)
    names = (*OURS, *THEIRS, *MINARI_OURS, MINARI_THEIRS)
    told = {name: compared(open_dataset(folder / name), np.load(folder / f"{name}.npz")) for name in names}
    recovered = recover_environment(folder / MINARI_THEIRS)
    told[MINARI_THEIRS]["equal"] &= recovered.spec is not None and recovered.spec.id == "Pendulum-v1"
    own = {name: version(name) for name in ("pyarrow", "av", "numpy")}
    theirs = json.loads((folder / "versions.json").read_text())
    return {"lerobot_side": theirs, "our_side": {**versions(), **own}, "data_sets": told}


def robomimic_file(path: Path) -> Path:
    """Three demonstrations with two cameras, of random numbers."""
    from l1flow_agents.data.robomimic_writer import RobomimicWriter
    from l1flow_agents.demonstration import Demonstration

    rng = np.random.default_rng(0)
    env_args = {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}}
    with RobomimicWriter(path, env_args) as writer:
        for n in (7, 30, 11):
            pictures = {f"{camera}_image": rng.integers(256, size=(n, 84, 84, 3), dtype=np.uint8) for camera in "ab"}
            state = {"object": rng.normal(size=(n, 10)), "robot0_eef_pos": rng.normal(size=(n, 3))}
            last = np.arange(n) == n - 1
            actions, states = rng.uniform(-1, 1, (n, 7)), rng.normal(size=(n, 4))
            writer.append(Demonstration({**state, **pictures}, actions, states, last, last))
    return path


def compared(ours: Any, theirs: Any) -> dict[str, Any]:
    """Counts of what is equal between `Episodes` and the arrays of another loader."""
    state = [array for array in ours.observations.values() if array.ndim == 2]
    pairs = {"action": ours.actions, "observation.state": np.concatenate(state, axis=1)}
    if ours.rewards is not None:
        pairs["next.reward"] = ours.rewards
    numbers = [np.float32(theirs[name]).reshape(array.shape) == array for name, array in pairs.items()]
    pictures = []
    for key, array in ours.observations.items():
        if array.ndim == 4:
            pixels = np.moveaxis(theirs[f"observation.images.{key}"], 1, -1)
            scale = 1 if pixels.dtype == np.uint8 else 255  # of PNG its loader makes floats
            pictures.append(np.rint(pixels * scale) == np.asarray(array))
    ends = np.flatnonzero(np.diff(theirs["episode_index"], append=-1)) + 1
    whole = [*numbers, *pictures, ends == ours.ends]
    return {
        "episodes": len(ours),
        "steps": ours.n_steps,
        "numbers": int(sum(one.size for one in numbers)),
        "pixels": int(sum(one.size for one in pictures)),
        "equal": all(bool(one.all()) for one in whole),
    }


# ---- with lerobot and minari ----------------------------------------------------------------------------------------


def inside(folder: Path) -> None:
    """Write data sets with LeRobot's and Minari's recorders, and load all of them with their loaders."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    for name in THEIRS:
        record(LeRobotDataset, folder / name, video=name.endswith("av1"))
    for name in (*OURS, *THEIRS):
        dataset = LeRobotDataset(f"local/{name}", root=folder / name, video_backend="pyav", return_uint8=True)
        rows = [dataset[index] for index in range(len(dataset))]
        np.savez(
            folder / f"{name}.npz", **{key: np.stack([row[key].numpy() for row in rows]) for key in dataset.features}
        )
    inside_minari(folder)
    (folder / "versions.json").write_text(json.dumps({name: version(name) for name in PACKAGES}))


def inside_minari(folder: Path) -> None:
    import minari
    from gymnasium import spaces
    from minari.data_collector import EpisodeBuffer

    rng = np.random.default_rng(2)
    space = spaces.Dict({"camera": spaces.Box(0, 255, (48, 64, 3), np.uint8), "angle": spaces.Box(-1, 1, (3,))})
    episodes = []
    for n in (4, 9):
        angles = rng.uniform(-1, 1, (n + 1, 3)).astype(np.float32)
        pictures = np.broadcast_to(np.linspace(0, 200, 64, dtype=np.uint8)[:, None], (n + 1, 48, 64, 3))
        seen = {"camera": pictures + np.arange(n + 1, dtype=np.uint8)[:, None, None, None], "angle": angles}
        actions, last = rng.uniform(-1, 1, (n, 1)).astype(np.float32), [step == n - 1 for step in range(n)]
        rewards = list(rng.normal(size=n))
        episodes.append(EpisodeBuffer(None, None, None, seen, actions, rewards, last, [False] * n))
    os.environ["MINARI_DATASETS_PATH"] = str(folder / "minari")
    made = minari.create_dataset_from_buffers(
        MINARI_THEIRS, episodes, env="Pendulum-v1", observation_space=space, action_space=spaces.Box(-1, 1, (1,))
    )
    shutil.copytree(made.storage.data_path, folder / MINARI_THEIRS / "data")
    for name in (*MINARI_OURS, MINARI_THEIRS):
        dataset = minari.MinariDataset(folder / name / "data")
        if dataset.env_spec is not None:
            assert dataset.recover_environment().spec.id == "Pendulum-v1"
        columns: dict[str, list] = {}
        for episode in dataset:
            steps = len(episode.actions)
            seen = episode.observations if isinstance(episode.observations, dict) else {"state": episode.observations}
            told = {key: array[:steps] for key, array in seen.items()}
            state = [array for array in told.values() if array.ndim == 2]
            found = {"observation.state": np.concatenate(state, axis=1), "action": episode.actions}
            found |= {"next.reward": episode.rewards, "episode_index": np.full(steps, episode.id)}
            found |= {f"observation.images.{k}": np.moveaxis(v, -1, 1) for k, v in told.items() if v.ndim == 4}
            for key, array in found.items():
                columns.setdefault(key, []).append(array)
        np.savez(folder / f"{name}.npz", **{key: np.concatenate(parts) for key, parts in columns.items()})


def record(kind: Any, root: Path, video: bool) -> None:
    """Two short episodes of a moving square, as `lerobot-record` would write them."""
    features: dict[str, Any] = {
        "observation.state": {"dtype": "float32", "shape": (3,), "names": ["a.pos", "b.pos", "c.pos"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["a.pos", "b.pos"]},
        "observation.images.top": {
            "dtype": "video" if video else "image",
            "shape": (96, 128, 3),
            "names": ["height", "width", "channels"],
        },
    }
    dataset = kind.create(f"local/{root.name}", fps=30, features=features, root=root, use_videos=video)
    rng = np.random.default_rng(1)
    for length in (25, 40):
        for step in range(length):
            picture = np.full((96, 128, 3), (40, 90, 160), np.uint8)
            picture[30 : 50 + step % 9, step : step + 30] = (230, 60, step)
            numbers = {key: np.float32(rng.normal(size=features[key]["shape"])) for key in list(features)[:2]}
            dataset.add_frame({**numbers, "observation.images.top": picture, "task": f"move it {length} steps"})
        dataset.save_episode()
    dataset.finalize()


if __name__ == "__main__":
    main()
