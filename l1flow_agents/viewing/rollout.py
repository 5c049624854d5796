"""A rollout folder, as ``l1flow eval --output``, ``l1flow rollout`` and `EvaluationResult.save` leave it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from l1flow_agents import limits
from l1flow_agents.errors import DatasetError
from l1flow_agents.files import read_bounded
from l1flow_agents.html_page import Table
from l1flow_agents.names import shown
from l1flow_agents.viewing.films import BUDGET, Films
from l1flow_agents.viewing.page import histogram, page

RESULTS = "results.json"
LARGEST_RESULTS = 1 << 26  # bytes; an episode takes 200
LONGEST = 10**9  # steps of an episode
MOST_ROWS = 200
HEAD = ["seed", "success", "score", "return", "steps", ""]


def is_rollout(path: Path) -> bool:
    return (path / RESULTS).is_file()


def rollout_page(folder: Path, n_episodes: int) -> str:
    """The page of a rollout folder, with at most ``n_episodes`` films."""
    results, films = read_results(folder), Films()
    record = playable(folder, results, n_episodes, films)
    told = facts(results)
    told.append(
        ("" if record["episodes"] else "no films: l1flow rollout makes them; ")
        + "actions and observations are not kept in such a folder; l1flow run -o FILE keeps them"
    )
    if films.left_out:
        told.append(f"{films.left_out} films are left out, for a page of 20 MB")
    finished = [one for one in results["episodes"] if outcome(one) != "lost"]
    won = np.array([outcome(one) == "success" for one in finished], bool)
    bars = []
    for caption, key in (("steps of an episode", "length"), ("score of an episode", "score")):
        values = np.array([one[key] for one in finished if is_number(one.get(key))])
        if len(values) == len(won) > 0:
            bars.append(histogram(caption, values, won if is_number(results.get("success_rate")) else None))
    title = f"{results.get('agent') or 'An agent'} in {results['env']}"
    return page(title, told, [], bars, record, [("All episodes", table(results))])


def read_results(folder: Path) -> dict[str, Any]:
    """What ``results.json`` says, with those episodes that have a seed and a length.

    Raises:
        DatasetError: it cannot be read, or is none of ours.
    """
    path = folder / RESULTS
    try:
        results = json.loads(read_bounded(path, LARGEST_RESULTS))
        episodes = [{**one, "seed": int(one["seed"]), "length": int(one["length"])} for one in results["episodes"]]
        if any(not 0 <= one["length"] < LONGEST for one in episodes):
            raise ValueError(f"an episode of less than 0 steps, or of {LONGEST}")
        env = str(results["env"]["id"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[: limits.MESSAGE]
        raise DatasetError(f"{path}: expected what l1flow eval --output writes ({reason})") from None
    return {**results, "episodes": episodes, "env": env}


def facts(results: dict[str, Any]) -> list[str]:
    """Lines on top of the page."""
    episodes = results["episodes"]
    lines = [f"{len(episodes):,} episodes of {results['env']}"]
    if is_number(results.get("success_rate")):
        bounds = results.get("success_interval_95")
        interval = f" (95 % interval {' .. '.join(map(_number, bounds))})" if isinstance(bounds, list) else ""
        lines.append(
            f"success {_number(results['success_rate'])}{interval}, score {_number(results.get('mean_score'))}"
        )
    else:
        lines.append(f"success was not told; score {_number(results.get('mean_score'))}")
    lost = [one for one in episodes if one.get("error")]
    return lines + [f"episode of seed {one['seed']} was lost: {shown(str(one['error']))}" for one in lost[:20]]


def table(results: dict[str, Any]) -> Table:
    episodes = sorted(results["episodes"], key=lambda one: (outcome(one) == "success", one["seed"]))
    rows = [
        [
            *(str(one["seed"]), outcome(one), _number(one.get("score")), _number(one.get("episode_return"))),
            *(str(one["length"]), str(one.get("error") or "")),
        ]
        for one in episodes[:MOST_ROWS]
    ]
    left = len(episodes) - MOST_ROWS
    more = f"Failures first; {left:,} more episodes are in {RESULTS}." if left > 0 else "Failures first."
    return HEAD, rows, more


def playable(folder: Path, results: dict[str, Any], n: int, films: Films) -> dict[str, Any]:
    """The record that ``viewer.js`` reads: at most ``n`` films of the folder, as they are."""
    by_name = {f"episode_{one['seed']}.mp4": one for one in results["episodes"]}
    grid = folder / "episodes.mp4"
    found = [grid] if grid.is_file() else []
    found += [folder / name for name in by_name if (folder / name).is_file()]
    films.left_out += max(len(found) - n, 0)
    told: list[dict[str, Any]] = []
    for path in found[:n]:
        try:
            src = films.embedded(read_bounded(path, BUDGET))
        except OSError:  # a film larger than all that may be in a page
            films.left_out += 1
            continue
        one = by_name.get(path.name)
        name, note = ("all filmed episodes", "") if one is None else (f"seed {one['seed']}", outcome(one))
        if src:
            told.append(
                {"name": name, "length": one["length"] if one else 0, "note": note, "curves": [], "plans": []}
                | {"films": [{"name": path.name, "src": src}]}
            )
    return {"fps": 0, "stride": 1, "levels": 1, "keys": [], "episodes": told, "plane": None, "planeOnFilm": False}


def outcome(episode: dict[str, Any]) -> str:
    if episode.get("error"):
        return "lost"
    success = episode.get("success")
    return "not told" if success is None else "success" if success else "failure"


def _number(value: Any) -> str:
    return f"{value:.3g}" if is_number(value) else "unknown"


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) < LONGEST
