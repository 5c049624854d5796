"""An analytic task with known modes: a road that forks. What a method makes of it can be counted."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from gymnasium import spaces

from l1flow_agents.data import Episodes

HORIZON = 16  # waypoints of a plan
STRAIGHT = 4  # of which the first lie on the common road
STRIDE = 0.05  # from one waypoint to the next
TURN = np.pi / 2  # from one way to the next
NOISE = 0.02  # the expert's standard deviation, on every coordinate of every waypoint
NEAR = 3.0  # of those standard deviations, root mean square over a plan: what counts as following a way


@dataclass(frozen=True)
class Fork:
    """The road leaves the origin under some angle, told as (cos, sin), and forks into ``n_ways``, all taken alike.

    A plan is (16, 2) waypoints, in [-1, 1].
    """

    n_ways: int = 2

    def spaces(self) -> tuple[spaces.Box, spaces.Box]:
        box = spaces.Box(-1, 1, (2,), np.float32)
        return box, box

    def ways(self, angle: float) -> np.ndarray:
        """(n_ways, 16, 2): the expert's plans without their noise."""
        turns = TURN * (np.arange(self.n_ways) - (self.n_ways - 1) / 2)
        headings = angle + turns[:, None] * (np.arange(HORIZON) >= STRAIGHT)
        steps = STRIDE * np.stack([np.cos(headings), np.sin(headings)], axis=-1)
        return np.cumsum(steps, axis=1)

    def demonstrations(self, n: int, seed: int = 0) -> Episodes:
        """``n`` plans under random angles, each an episode of 16 steps, of which only the first window is whole."""
        rng = np.random.default_rng(seed)
        angles = rng.uniform(-np.pi, np.pi, n)
        taken = rng.integers(self.n_ways, size=n)
        plans = np.stack([self.ways(angle)[way] for angle, way in zip(angles, taken, strict=True)])
        plans += NOISE * rng.normal(size=plans.shape)
        told = np.repeat(np.stack([np.cos(angles), np.sin(angles)], axis=-1), HORIZON, axis=0)
        return Episodes(
            {"observation": told.astype(np.float32)},
            plans.reshape(-1, 2).astype(np.float32),
            HORIZON * np.arange(1, n + 1),
            source=f"fork of {self.n_ways} ways",
        )

    def judge(self, plans: np.ndarray, angle: float) -> Modes:
        """How the plans (n, 16, 2) for one angle lie to the ways."""
        ways = self.ways(angle)
        distances = np.stack([_apart(plans, way) for way in ways], axis=-1)
        nearest, followed = distances.argmin(axis=-1), distances.min(axis=-1) < NEAR
        shares = np.array([(followed & (nearest == way)).mean() for way in range(self.n_ways)])
        return Modes(
            near=float(followed.mean()),
            covered=float((shares > 0.5 / self.n_ways).mean()),
            distance=float(np.median(distances.min(axis=-1))),
            at_mean=float((_apart(plans, ways.mean(axis=0)) < NEAR).mean()),
        )


@dataclass(frozen=True)
class Modes:
    """``near``: share of plans within 3 expert standard deviations of a way; ``covered``: share of the ways that at
    least half as many plans follow as of the expert's; ``distance``: median to the nearest way, in those deviations;
    ``at_mean``: share of plans as near to the mean of all ways, where no expert is.
    """

    near: float
    covered: float
    distance: float
    at_mean: float

    @classmethod
    def mean(cls, judged: list[Modes]) -> Modes:
        return cls(**{name: float(np.mean([asdict(one)[name] for one in judged])) for name in asdict(judged[0])})


def _apart(plans: np.ndarray, way: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(np.square(plans - way).mean(axis=(-2, -1))) / NOISE)
