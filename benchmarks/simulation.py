"""robosuite's tasks: our step, reset, pictures and memory, as ratios to robosuite's own.

    python benchmarks/simulation.py [--env Square-v0 ...] [--json benchmarks/results/simulation.json]

As in speed.py, both sides of a ratio take turns and a ratio is the median of the rounds' ratios. What a process does
only once (the first reset) and what depends on its history (memory) is measured in fresh processes, in seconds of CPU,
which other work on the machine disturbs little. ``--resets 20 --rounds 5`` is a quick look.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from unittest import mock

import gymnasium as gym
import numpy as np

import l1flow_agents  # noqa: F401  registers the environments

if TYPE_CHECKING:  # importing it is part of what is measured
    from l1flow_agents.envs.robosuite_env import RobosuiteEnv

IDS = ("Lift-v0", "Can-v0", "Square-v0", "Transport-v0", "ToolHang-v0")
WARM_UP = 20  # resets before memory counts
STEPS = 20  # steps a round
STEP_TARGETS = dict(zip(IDS, (0.45, 0.45, 0.45, 0.6, 0.6), strict=True))
PARTS = ("physics", "torques", "goals", "forward after the last substep", "observation", "success check")  # of a step
T = TypeVar("T")
Row = tuple[str, str, float | None, float, float, float]  # what, of, target, ratio, seconds of ours and of the floor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", nargs="+", default=IDS, choices=IDS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--resets", type=int, default=200)
    parser.add_argument("--starts", type=int, default=5, help="fresh processes for the first reset")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    rows: list[Row] = []
    processes: dict[str, dict[str, float]] = {}
    shares: dict[str, dict[str, float]] = {}
    for env_id in args.env:
        processes[env_id] = fresh(resets_of_a_process, env_id, args.resets)
        first = [fresh(first_reset, env_id) for _ in range(args.starts)]
        processes[env_id]["first_reset_cpu_s"] = round(float(np.median(first)), 2)
        rows += fresh(steps_resets_pictures, env_id, args.rounds)
        shares[env_id] = fresh(shares_of_a_step, env_id, args.rounds)
        show([row for row in rows if row[1] == env_id], processes[env_id], shares[env_id])
        if args.json:
            save(args.json, rows, processes, shares)


def show(rows: list[Row], process: dict, shares: dict) -> None:
    for what, of, target, ratio, ours, floor in rows:
        wanted = f"{target:.2f}" if target else "-"
        print(f"{what:36} {of:13} {ratio:7.3f} {wanted:>5}   {ours * 1e3:9.3f} ms {floor * 1e3:9.3f} ms")
    print(f"{'a process':36} {rows[0][1]:13} {json.dumps(process)}")
    print(f"{'where a step goes':36} {rows[0][1]:13} {json.dumps(shares)}", flush=True)


def save(path: Path, rows: list[Row], processes: dict, shares: dict) -> None:
    keys = ("what", "of", "target", "ratio", "ours_s", "floor_s")
    record = {
        "command": " ".join(sys.argv),
        "machine": platform.machine(),
        "n_cores": os.cpu_count(),
        "load": os.getloadavg()[1],
        "versions": {name: version(name) for name in ("mujoco", "robosuite", "numpy")},
        "rows": [dict(zip(keys, row, strict=True)) for row in rows],
        "processes": processes,
        "shares_of_a_step": shares,
    }
    path.write_text(json.dumps(record, indent=1) + "\n")


def fresh(function: Callable[..., T], *args: Any) -> T:
    """The function's value in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def made(env_id: str, **kwargs: Any) -> RobosuiteEnv:
    """The environment itself, from state, without Gymnasium's wrappers."""
    env = gym.make(env_id, obs_type="state", **kwargs).unwrapped
    from l1flow_agents.envs.robosuite_env import RobosuiteEnv

    assert isinstance(env, RobosuiteEnv)
    return env


# ---- once a process -------------------------------------------------------------------------------------------------


def first_reset(env_id: str) -> float:
    """CPU seconds of import, make and reset."""
    begin = time.process_time()
    made(env_id).reset(seed=0)
    return time.process_time() - begin


def resets_of_a_process(env_id: str, resets: int) -> dict[str, float]:
    """Resident megabytes over resets, and a reset's CPU seconds.

    ``growth`` compares what is in use: both ends after malloc_trim, which returns what glibc keeps for later.
    ``raw_growth`` compares what the system shows, whose highest value is ``peak``.
    """
    env = made(env_id)
    figures = {"imported_mb": resident()}
    env.reset(seed=0)
    figures["first_reset_mb"] = resident()
    for k in range(1, WARM_UP):
        env.reset(seed=k)
    raw_warm = resident()
    trim()
    warm, peak, seconds = resident(), raw_warm, []
    for k in range(resets):
        begin = time.process_time()
        env.reset(seed=WARM_UP + k)
        seconds.append(time.process_time() - begin)
        peak = max(peak, resident())
    raw_end = resident()
    trim()
    figures |= {"warm_mb": warm, "growth_mb": resident() - warm, "raw_growth_mb": raw_end - raw_warm, "peak_mb": peak}
    figures = {key: round(value, 1) for key, value in figures.items()}
    simulations = sum(type(one).__name__ == "MjSim" for one in gc.get_objects())
    return {**figures, "live_simulations": simulations, "resets": resets, "reset_cpu_s": float(np.median(seconds))}


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def trim() -> None:
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


# ---- in turn, in one process ----------------------------------------------------------------------------------------


def robosuites_own(env: RobosuiteEnv) -> Any:
    """What our environment is built on, by itself; as fast as robosuite has it: no pictures, lite_physics."""
    import robosuite

    args = env.env_args()
    settings = {"use_camera_obs": False, "has_offscreen_renderer": False, "renderer": "mujoco", "lite_physics": True}
    return robosuite.make(args["env_name"], **{**args["env_kwargs"], **settings})


def steps_resets_pictures(env_id: str, rounds: int) -> list[Row]:
    from speed import compare

    from l1flow_agents.envs.rendering import gl_context_class

    ours = made(env_id)
    theirs = robosuites_own(ours)
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, *ours.action_space.shape))
    ours.reset(seed=0)
    theirs.reset()
    theirs.sim.set_state(ours.simulator.sim.get_state())
    theirs.sim.forward()

    def steps(env: Any) -> Callable[[], object]:
        return lambda: [env.step(action) for action in actions]

    step = scaled(compare(steps(ours), steps(theirs), rounds, time.process_time), STEPS)
    reset = compare(ours.reset, theirs.reset, max(min(5, rounds), rounds // 3))
    result: list[Row] = [
        ("step / robosuite's step", env_id, STEP_TARGETS[env_id], *step),
        ("reset / robosuite's reset", env_id, None, *reset),
    ]
    theirs.close()

    views = {}
    for quality in ("fast", "dataset"):
        views[quality] = made(env_id, render_mode="rgb_array", render_size=84, render_quality=quality)
        views[quality].reset(seed=0)
    backend = gl_context_class().__module__.removeprefix("mujoco.")
    what = f"84 x 84 view, fast / dataset ({backend})"
    result.append((what, env_id, None, *compare(views["fast"].render, views["dataset"].render, rounds)))
    for view in views.values():
        view.close()
    return result


def scaled(row: tuple[float, float, float], n: int) -> tuple[float, float, float]:
    ratio, ours, floor = row
    return ratio, ours / n, floor / n


def shares_of_a_step(env_id: str, rounds: int) -> dict[str, float]:
    """Share of each part in the time of a state step, and the milliseconds of the whole."""
    import mujoco

    from l1flow_agents.envs.robosuite_control import PoseControl

    env = made(env_id)
    env.reset(seed=0)
    control, seconds = env.control_loop.control, dict.fromkeys(PARTS, 0.0)
    assert isinstance(control, PoseControl)

    def timed(owner: Any, name: str, part: str) -> Any:
        original = getattr(owner, name)

        def call(*args: Any) -> Any:
            begin = time.perf_counter()
            result = original(*args)
            seconds[part] += time.perf_counter() - begin
            return result

        return mock.patch.object(owner, name, call)

    calls = [
        (mujoco, "mj_step1", "physics"),
        (mujoco, "mj_step2", "physics"),
        (mujoco, "mj_forward", "forward after the last substep"),
        (control, "go_on", "torques"),
        *((arm, "set_goal", "goals") for arm in control._arms),
        (env, "observe", "observation"),
        (env, "is_success", "success check"),
    ]
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS * rounds, *env.action_space.shape))
    with ExitStack() as stack:
        for owner, name, part in calls:
            stack.enter_context(timed(owner, name, part))
        begin = time.perf_counter()
        for action in actions:
            env.step(action)
        whole = time.perf_counter() - begin
    shares = {part: round(value / whole, 4) for part, value in seconds.items()}
    return {**shares, "rest": round(1 - sum(shares.values()), 4), "ms": round(whole / len(actions) * 1e3, 3)}


if __name__ == "__main__":
    main()
