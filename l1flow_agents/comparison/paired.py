"""L1 Flow against each other system on the same starts: what the one does better there."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

REFERENCE = "l1flow"
RESAMPLES = 10_000
PAIRED_HEAD = ["l1flow minus", "seeds", "mean score", "success", "solved by one alone", "p (McNemar)"]
PAIRED_NOTE = (
    "Differences on the same starts, trainings of one seed paired, with 95 % intervals from a bootstrap that draws "
    "training seeds and starts anew; with one seed it knows nothing of what another training would give. Solved by one "
    "alone: starts that only L1 Flow / only the other solves. McNemar's exact test takes them for independent, so it "
    "is told for one seed only."
)

Difference = tuple[float, float, float]
"""Mean, and the ends of its interval."""


@dataclass(frozen=True)
class Paired:
    """The reference less another row, on the training seeds that both have."""

    name: str
    seeds: list[int]
    score: Difference
    success: Difference
    alone: tuple[int, int]
    """Starts that only the reference, and only the other, solved."""
    p_value: float | None
    """McNemar's; None with several seeds, whose starts are the same."""

    def cells(self) -> list[str]:
        differences = [f"{mean:+.3f} ({low:+.3f}..{high:+.3f})" for mean, low, high in (self.score, self.success)]
        p = "-" if self.p_value is None else f"{self.p_value:.3f}" if self.p_value >= 0.001 else "< 0.001"
        return [self.name, str(len(self.seeds)), *differences, f"{self.alone[0]} / {self.alone[1]}", p]

    def to_dict(self) -> dict[str, Any]:
        return {"reference": REFERENCE, **asdict(self)}


def paired(results: Iterable[dict[str, Any]]) -> list[Paired]:
    """The reference against every other row; nothing where it is not among them."""
    rows: dict[str, dict[int, dict[str, Any]]] = {}
    for one in results:
        for name, row in one["rows"].items():
            rows.setdefault(name, {})[one["seed"]] = row
    ours = rows.pop(REFERENCE, {})
    found = []
    for name, theirs in rows.items():
        if seeds := sorted(ours.keys() & theirs.keys()):
            score, success = (
                np.array([np.subtract(ours[seed][what], theirs[seed][what], dtype=float) for seed in seeds])
                for what in ("scores", "successes")
            )
            alone = int((success > 0).sum()), int((success < 0).sum())
            p_value = mcnemar(*alone) if len(seeds) == 1 else None
            found.append(Paired(name, seeds, interval(score), interval(success), alone, p_value))
    return found


def interval(differences: np.ndarray) -> Difference:
    """Mean of differences (seeds, starts), and its 95 % interval from a bootstrap over both."""
    n_seeds, n_starts = differences.shape
    rng = np.random.default_rng(0)
    seeds, starts = (rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) for n in (n_seeds, n_starts))
    means = ((seeds @ differences) * starts).sum(axis=1) / differences.size
    low, high = np.quantile(means, (0.025, 0.975))
    return float(differences.mean()), float(low), float(high)


def mcnemar(first: int, second: int) -> float:
    """Exact two-sided p value of so many starts that only the one and only the other solved."""
    n = first + second
    tail: float = sum(math.comb(n, k) for k in range(min(first, second) + 1)) / 2**n
    return min(1.0, 2 * tail)
