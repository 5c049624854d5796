"""What the numbers of a data set are like: per key and dimension, per episode, and what stands out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from l1flow_agents.data.episodes import Episodes
from l1flow_agents.data.idle import moving_rows

MOST_DIMENSIONS = 64  # of a key
IDLE = 0.005  # share of a number's range, as docs/data.md advises for training.idle
MOST_ROWS = 200_000  # that are searched for idle ones, which takes memory
MOST_LINES = 20  # of odd values
SOME = 32  # pictures that are looked at
FAR = 5  # times the range of the middle 98 %, beyond it
ACTION = "action"


@dataclass(frozen=True)
class Dimension:
    """One number of a key over all steps; shares are of the steps."""

    key: str
    index: int
    low: float
    high: float
    mean: float
    std: float
    at_limits: float
    """Share at the space's bounds where those are known and finite, else at the lowest or highest value there is."""
    far: int
    """Values farther from the middle 98 % than `FAR` times their range."""
    outside: int
    """Values outside the space, where it is known."""
    odd_row: int | None
    """The first row that is far or outside."""

    @property
    def constant(self) -> bool:
        return self.low == self.high

    def cells(self) -> list[str]:
        numbers = [self.low, self.high, self.mean, self.std]
        odd = [f"{count:,}" if count else "" for count in (self.far, self.outside)]
        limits = "constant" if self.constant else f"{self.at_limits:.1%}"
        return [f"{self.key}[{self.index}]", *(f"{number:.4g}" for number in numbers), limits, *odd]


HEAD = ["", "min", "max", "mean", "std", "at its limits", "far off", "outside"]


def is_picture(array: np.ndarray) -> bool:
    return array.dtype == np.uint8 and array.ndim == 4 and array.shape[3] in (1, 3)


def numbers_of(episodes: Episodes) -> dict[str, np.ndarray]:
    """Action and observations but pictures, each (n_steps, n_dimensions); nothing is copied that need not be."""
    arrays = {ACTION: episodes.actions, **episodes.observations}
    return {
        key: np.asarray(array).reshape(episodes.n_steps, -1)
        for key, array in arrays.items()
        if not (array.dtype == np.uint8 and array.ndim == 4)
    }


def dimensions(numbers: Mapping[str, np.ndarray], boxes: Mapping[str, spaces.Box]) -> list[Dimension]:
    """Of every key at most `MOST_DIMENSIONS`; ``boxes`` are those spaces that are known."""
    found = []
    for key, array in numbers.items():
        box = boxes.get(key)
        bounds = None if box is None else (box.low.reshape(-1), box.high.reshape(-1))
        for index in range(min(array.shape[1], MOST_DIMENSIONS)):
            here = None if bounds is None else (float(bounds[0][index]), float(bounds[1][index]))
            found.append(_dimension(key, index, array[:, index].astype(np.float64), here))
    return found


def _dimension(key: str, index: int, column: np.ndarray, bounds: tuple[float, float] | None) -> Dimension:
    low, high = float(column.min()), float(column.max())
    known = bounds is not None and bool(np.isfinite(bounds).all())
    lowest, highest = bounds if bounds is not None and known else (low, high)
    slack = 1e-6 * (highest - lowest)
    at_limits = (column <= lowest + slack) | (column >= highest - slack)
    first, last = np.quantile(column, [0.01, 0.99])
    reach = FAR * (last - first)
    far = (column < first - reach) | (column > last + reach) if reach > 0 else np.zeros(len(column), bool)
    outside = (column < bounds[0] - 1e3 * slack) | (column > bounds[1] + 1e3 * slack) if bounds else far & False
    odd = np.flatnonzero(far | outside)
    return Dimension(
        *(key, index, low, high, float(column.mean()), float(column.std())),
        *(float(at_limits.mean()), int(far.sum()), int(outside.sum())),
        odd_row=int(odd[0]) if len(odd) else None,
    )


PICTURES_HEAD = ["", "size", "min", "max", "mean", "std"]


def pictures_rows(episodes: Episodes) -> list[list[str]]:
    """Cells of `PICTURES_HEAD` for each key of pictures, from `SOME` rows: all would take too long to decode."""
    rows = np.unique(np.linspace(0, episodes.n_steps - 1, SOME).astype(int))
    cells = []
    for key, array in episodes.observations.items():
        if array.dtype == np.uint8 and array.ndim == 4:
            some = np.stack([np.asarray(array[row]) for row in rows])
            numbers = [some.min(), some.max(), some.mean(), some.std()]
            cells.append([key, " x ".join(map(str, array.shape[1:])), *(f"{number:.4g}" for number in numbers)])
    return cells


def idle_share(episodes: Episodes) -> float | None:
    """Share of the first episodes' steps in which no observed number moves; None where there are pictures only."""
    numbers = {key: array for key, array in numbers_of(episodes).items() if key in episodes.observations}
    if not numbers:
        return None
    n = max(1, int(np.searchsorted(episodes.ends, MOST_ROWS, side="right")))
    rows = slice(int(episodes.ends[n - 1]))
    some = Episodes({key: array[rows] for key, array in numbers.items()}, episodes.actions[rows], episodes.ends[:n])
    return 1 - float(moving_rows(some, IDLE).mean())


def successes(episodes: Episodes) -> np.ndarray | None:
    """(n_episodes,) bool: whether the reward reached 1, where rewards are shares of it; None where nobody knows."""
    rewards = episodes.rewards
    if rewards is None or rewards.min() < 0 or rewards.max() > 1 + 1e-6:
        return None
    reached: np.ndarray = np.maximum.reduceat(np.asarray(rewards), episodes.starts) >= 1 - 1e-6
    return reached


def standing_out(episodes: Episodes, found: list[Dimension], idle: float | None) -> list[str]:
    """One line for each thing that one should know before training."""
    lines: list[str] = []

    def told(what: str, chosen: Callable[[Dimension], bool]) -> None:
        by_key = defaultdict(list)
        for one in found:
            if chosen(one):
                by_key[one.key].append(one.index)
        lines.extend(f"{key}{indices}: {what}" for key, indices in by_key.items())

    told("constant; it tells a network nothing", lambda one: one.constant)
    told("a fifth of the steps or more lie at its limits", lambda one: not one.constant and one.at_limits >= 0.2)
    odd = [one for one in found if one.odd_row is not None]
    for one in odd[:MOST_LINES]:
        counts = ((one.far, "far from all others"), (one.outside, "outside the space"))
        what = " and ".join(f"{n:,} {how}" for n, how in counts if n)
        lines.append(f"{one.key}[{one.index}]: {what}, first {episodes.place(one.odd_row or 0)}")
    if len(odd) > MOST_LINES:
        lines.append(f"{len(odd) - MOST_LINES} more dimensions have odd values")
    if idle is not None and idle >= 0.05:
        lines.append(f"{idle:.0%} of the steps are idle; training.idle={IDLE} leaves them out")
    shortest, median, longest = np.quantile(episodes.lengths, [0, 0.5, 1])
    if longest > 3 * median:
        lines.append(f"the longest episode has {longest:.0f} steps, {longest / median:.1f} times the median")
    if 3 * shortest < median:
        lines.append(f"the shortest episode has {shortest:.0f} steps, the median {median:.0f}")
    reached = successes(episodes)
    if reached is not None and not reached.all():
        lines.append(f"{(~reached).sum()} of {len(reached)} episodes never reach a reward of 1")
    return lines
