"""What the page's script plays: some episodes with films, curves and plans, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from l1flow_agents.data.episodes import Episodes
from l1flow_agents.envs.pusht import WINDOW
from l1flow_agents.viewing.films import Films
from l1flow_agents.viewing.plans import Sampled
from l1flow_agents.viewing.statistics import ACTION, Dimension, is_picture

MOST_CURVES = 24  # of a key
MOST_NUMBERS = 500_000  # in all curves, of more only every second step, or third; and in all plans, of more only some
LEVELS = 9999  # that a curve is rounded to, from its strip's bottom to its top
UNTOLD_FPS = 20.0


def chosen(episodes: Episodes, n: int, found: Sequence[Dimension]) -> list[int]:
    """``n`` episodes in order: the shortest, the longest, some with odd values, and others evenly from the rest."""
    if len(episodes) <= n:
        return list(range(len(episodes)))
    odd = [int(np.searchsorted(episodes.ends, one.odd_row, side="right")) for one in found if one.odd_row is not None]
    wanted = [int(np.argmin(episodes.lengths)), int(np.argmax(episodes.lengths)), *odd[:3]]
    evenly = np.linspace(0, len(episodes) - 1, n).astype(int).tolist()
    return sorted(list(dict.fromkeys([*wanted[: max(n - 1, 0)], *evenly]))[:n])


def playable(
    episodes: Episodes,
    numbers: Mapping[str, np.ndarray],
    found: Sequence[Dimension],
    picked: Sequence[int],
    plans: Mapping[int, Sequence[Sampled]],
    notes: Mapping[int, str],
    films: Films,
) -> dict[str, Any]:
    """The record that ``viewer.js`` reads.

    Args:
        numbers, found: of `statistics.numbers_of` and `dimensions`.
        plans, notes: by episode.
    """
    ranges = _ranges(found, plans)
    keys = {key: min(array.shape[1], MOST_CURVES) for key, array in numbers.items()}
    total = sum(int(episodes.lengths[one]) for one in picked) * sum(keys.values())
    stride = max(1, -(-total // MOST_NUMBERS))
    fps = episodes.fps or UNTOLD_FPS
    pictures = {key: array for key, array in episodes.observations.items() if is_picture(array)}
    n_plans = _n_plans(plans)
    told = []
    for one in picked:
        begin, end = int(episodes.ends[one] - episodes.lengths[one]), int(episodes.ends[one])
        curves = [
            [_levels(array[begin:end:stride, k], *ranges[key, k]) for k in range(keys[key])]
            for key, array in numbers.items()
        ]
        filmed = [{"name": key, "src": films.of(array, begin, end, fps)} for key, array in pictures.items()]
        told.append(
            {
                **{"name": episodes.name(one), "length": end - begin, "note": notes.get(one, "")},
                **{"films": [film for film in filmed if film["src"]], "curves": curves},
                "plans": [_plan(sample, ranges, n_plans) for sample in plans.get(one, ())],
            }
        )
    shown = [{"name": key, "ranges": [ranges[key, k] for k in range(n)]} for key, n in keys.items()]
    plane, on_film = _plane(episodes, ranges)
    return {
        **{"fps": fps, "stride": stride, "levels": LEVELS, "keys": shown, "episodes": told},
        **{"plane": plane, "planeOnFilm": on_film},
    }


def _ranges(found: Sequence[Dimension], plans: Mapping[int, Sequence[Sampled]]) -> dict[tuple[str, int], list[float]]:
    """Bottom and top of each strip: what the data set spans, and the plans."""
    ranges = {(one.key, one.index): [one.low, one.high] for one in found}
    for sample in (sample for several in plans.values() for sample in several):
        for k in range(sample.plans.shape[2]):
            if (ACTION, k) in ranges:
                low, high = ranges[ACTION, k]
                column = sample.plans[..., k]
                ranges[ACTION, k] = [min(low, float(column.min())), max(high, float(column.max()))]
    return ranges


def _levels(values: np.ndarray, low: float, high: float) -> list[int]:
    if low == high:
        return [LEVELS // 2] * len(values)
    scaled: list[int] = np.rint(LEVELS * (values.astype(np.float64) - low) / (high - low)).astype(int).tolist()
    return scaled


def _n_plans(plans: Mapping[int, Sequence[Sampled]]) -> int:
    """How many plans of each step there is room for."""
    shapes = [sample.plans.shape for several in plans.values() for sample in several]
    return MOST_NUMBERS // max(sum(n_rows * min(n_dims, MOST_CURVES) for _, n_rows, n_dims in shapes), 1)


def _plan(sample: Sampled, ranges: Mapping[tuple[str, int], list[float]], n_plans: int) -> dict[str, Any]:
    n_modes, sizes = int(sample.modes.max()) + 1, np.bincount(sample.modes)
    what = "one mode" if n_modes == 1 else f"{n_modes} modes of {', '.join(map(str, sizes))} plans"
    dimensions = range(min(sample.plans.shape[2], MOST_CURVES))
    return {
        "step": sample.step,
        "modes": sample.modes[:n_plans].tolist(),
        "note": f"{what}; {sample.error:.2f} standard deviations from the demonstration",
        "plans": [[_levels(plan[:, k], *ranges[ACTION, k]) for k in dimensions] for plan in sample.plans[:n_plans]],
    }


def _plane(episodes: Episodes, ranges: Mapping[tuple[str, int], list[float]]) -> tuple[list[float] | None, bool]:
    """Lowest and highest number of the square that actions of two dimensions lie in, and whether films show it."""
    if episodes.actions.shape[1] != 2:
        return None, False
    low, high = (limit(ranges[ACTION, k][side] for k in range(2)) for side, limit in enumerate((min, max)))
    if low >= 0 and high <= WINDOW and high > 2 and {"agent_pos", "state"} & set(episodes.observations):  # PushT
        return [0.0, float(WINDOW)], True
    return ([low, high], False) if high > low else (None, False)
