"""``fast`` pictures beside those with every triangle and beside ``dataset``, for every task and camera, at 84 x 84.

    python benchmarks/pictures.py [--envs Square-v0 ...] [--json FILE] [--sheet FILE]

An expert acts for the states. ``psnr`` compares ``fast`` with the same pictures of all triangles, that is ``dataset``
without reflections and shadows; the least and the mean of the states. A ratio is the median of turns, in seconds of
CPU, in the state of the least. That state is on the sheet: every triangle, ``fast``, ``dataset``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from PIL import Image, ImageDraw
from speed import compare

from l1flow_agents.envs import ENVS
from l1flow_agents.envs.experts import make_expert
from l1flow_agents.envs.level_of_detail import reduced
from l1flow_agents.envs.rendering import COLLISION_GEOMS, Renderer, gl_context_class
from l1flow_agents.files import write_atomically

RESULTS = Path(__file__).parent / "results"
IDS = [env_id for env_id in ENVS if env_id != "PushT-v0"]
SIZE, LABEL, COLUMNS = 84, 13, 4  # pixels, pixels, strips a row of the sheet


class EveryTriangle(Renderer):
    """``dataset`` without reflections and shadows."""

    def _prepare(self, model: Any, size: int) -> None:
        super()._prepare(model, size)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", default=IDS, choices=IDS, metavar="ID", help="default: all")
    parser.add_argument("--steps", type=int, default=60, help="of the expert")
    parser.add_argument("--states", type=int, default=5, help="among them")
    parser.add_argument("--rounds", type=int, default=5, help="of taking turns")
    parser.add_argument("--json", type=Path, default=RESULTS / "pictures.json")
    parser.add_argument("--sheet", type=Path, default=RESULTS / "pictures.png")
    args = parser.parse_args()

    rows, strips = [], []
    for env_id in args.envs:
        for row, strip in compared(env_id, args.steps, args.states, args.rounds):
            print(json.dumps(row), flush=True)
            rows.append(row)
            strips.append((f"{env_id} {row['camera']} {row['psnr_least']}", strip))
    record = {
        "command": " ".join(sys.argv),
        "machine": platform.machine(),
        "n_cores": os.cpu_count(),
        "opengl": gl_context_class().__module__.removeprefix("mujoco."),
        "versions": {name: version(name) for name in ("mujoco", "robosuite", "fast-simplification")},
        "psnr_least": min(row["psnr_least"] for row in rows),
        "ratio_most": max(row["fast / dataset"] for row in rows),
        "rows": rows,
    }
    write_atomically(args.json, json.dumps(record, indent=1) + "\n")
    sheet(strips).quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(args.sheet, optimize=True)


def compared(env_id: str, steps: int, n_states: int, rounds: int) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """For every camera a row of figures, and pictures (SIZE, 3 * SIZE, 3) of the state where they differ most."""
    env: Any = gym.make(env_id, obs_type="state").unwrapped
    states = list(visited(env, steps, n_states))
    model, data = env.simulator.sim.model._model, env.simulator.sim.data._data
    groups = mujoco.MjvOption().geomgroup
    groups[COLLISION_GEOMS] = 0
    before, after = (triangles(one, groups) for one in (model, reduced(model, groups)))
    every, fast, dataset = EveryTriangle(), Renderer("fast"), Renderer("dataset")
    for camera in env.task.cameras:

        def draw(renderer: Renderer, camera: str = camera) -> np.ndarray:
            return renderer.render(model, data, camera, SIZE)

        def ratio(one: Renderer, camera: str = camera) -> tuple[float, float, float]:
            return compare(lambda: draw(one, camera), lambda: draw(dataset, camera), rounds, time.process_time)

        psnr = []
        for state in states:
            env.set_state(state)
            psnr.append(decibels(draw(fast), draw(every)))
        env.set_state(states[int(np.argmin(psnr))])
        of_dataset, seconds, dataset_seconds = ratio(fast)
        row = {
            "env": env_id,
            "camera": camera,
            "psnr_least": round(min(psnr), 1),
            "psnr_mean": round(float(np.mean(psnr)), 1),
            "fast / dataset": round(of_dataset, 3),
            "every triangle / dataset": round(ratio(every)[0], 3),
            "fast_ms": round(seconds * 1e3, 2),
            "dataset_ms": round(dataset_seconds * 1e3, 2),
            "triangles": before,
            "triangles_fast": after,
        }
        yield row, np.concatenate([draw(every), draw(fast), draw(dataset)], axis=1)
    for renderer in (every, fast, dataset):
        renderer.close()
    env.close()


def visited(env: Any, steps: int, n_states: int) -> Iterator[dict[str, Any]]:
    """The episode's first state and others, equally far apart."""
    expert = make_expert(env.spec.id, np.random.default_rng(0))
    observation, _ = env.reset(seed=0)
    for step in range(steps):
        if step % -(-steps // n_states) == 0:
            yield env.get_state()
        observation = env.step(expert.act(observation))[0]


def triangles(model: Any, groups: np.ndarray) -> int:
    """Triangles of meshes in a picture."""
    drawn = (model.geom_type == mujoco.mjtGeom.mjGEOM_MESH) & (groups[model.geom_group] != 0)
    return int(model.mesh_facenum[model.geom_dataid[drawn]].sum())


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio; of equal pictures 99."""
    error = np.mean((one.astype(float) - other) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else 99.0


def sheet(strips: list[tuple[str, np.ndarray]]) -> Image.Image:
    width, height = 3 * SIZE + 4, SIZE + LABEL
    picture = Image.new("RGB", (COLUMNS * width, -(-len(strips) // COLUMNS) * height), "white")
    draw = ImageDraw.Draw(picture)
    for index, (label, strip) in enumerate(strips):
        x, y = index % COLUMNS * width, index // COLUMNS * height
        picture.paste(Image.fromarray(strip), (x, y + LABEL))
        draw.text((x + 2, y), label, fill="black")
    return picture


if __name__ == "__main__":
    main()
