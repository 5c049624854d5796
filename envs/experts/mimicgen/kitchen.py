"""Kitchen: stove on, pot onto it, bread into the pot, pot to the serving region, stove off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.waypoints import (
    CLOSED,
    UP,
    Arm,
    Plan,
    Pose,
    WaypointExpert,
    body_of,
    downward,
    turns,
    yaw_of,
)
from l1flow_agents.layouts import LAYOUTS

BUTTON = np.array([-0.14, 0.10, 0.895])  # where it stands in D0, which does not show it
PRESS = 0.07  # over its origin: the fingers beside its pad, the palm above it
BESIDE = 0.046  # from the middle of the pad to a hand whose closed fingers touch it
SWING = 0.015  # of the pad to either side
HANDLE = np.array([-0.018, 0.06, 0.062])  # in the pot: its left handle and the wall below it; nearer to the robot
ON_STOVE = np.array([0.0, 0.0, 0.025])  # the pot over the origin of the stove
SERVED = np.array([-0.04, 0.02, 0.0245])  # over that of the serving region: its middle is all the arm can reach
OVER_POT = 0.105  # fingers that spread here clear its handles


class KitchenExpert(WaypointExpert):
    """Always the same: closed fingers push the button, the pot is held by its left handle, the bread falls into it."""

    layout = LAYOUTS["Kitchen_D0-v0"]
    speeds, noise = (0.6, 0.9), 0.05
    button = BUTTON

    def see(self, objects: dict[str, np.ndarray]) -> None:
        self.stove, self.region = objects["Stove1_pos"], objects["ServingRegionRed_pos"]
        self.bread, self.bread_rotation = body_of(objects, "cube_bread")
        self.pot, self.pot_rotation = body_of(objects, "PotObject")

    def draw(self) -> None:
        self.lit = False

    def plan(self, arm: Arm) -> Plan:
        """The first thing that is still to do."""
        if not self.lit:
            yield from self.push(arm, 1)
            self.lit = True
            return True
        if not near(self.bread - self.pot, (0.05, 0.06, 0.06)):
            if near(self.pot - self.stove, (0.06, 0.06, 0.035)):
                return (yield from self.put_bread(arm))
            return (yield from self.put_pot(arm, lambda: self.stove + ON_STOVE))
        if not near(self.pot - self.region, (0.05, 0.10, 0.04)):
            return (yield from self.put_pot(arm, lambda: self.region + SERVED))
        return (yield from self.push(arm, -1))

    def push(self, arm: Arm, way: int) -> Plan:
        """Push the button's pad towards +y or, with ``way`` -1, towards -y.

        And up, with the edge of the tilting pad: against it friction would hold the pad.
        """
        start = self.button - [0, way * (BESIDE + SWING + 0.03), -PRESS]
        end = self.button - [0, way * (BESIDE - SWING - 0.012), -PRESS]
        level = downward(0.0)

        def along() -> Pose:
            pushed = np.clip(way * (arm.position[1] - self.button[1]) + BESIDE + SWING, 0, 2 * SWING)
            return end + (pushed + 0.005) * UP, level

        yield from arm.move(lambda: (start + 0.05 * UP, level), CLOSED, tolerance=0.03)
        yield from arm.move(lambda: (start, level), CLOSED, tolerance=0.015)
        yield from arm.move(along, CLOSED, tolerance=0.02)
        return (yield from arm.move(lambda: (end - [0, 0.03 * way, -0.08], level), CLOSED, tolerance=0.02))

    def put_pot(self, arm: Arm, place: Callable[[], np.ndarray]) -> Plan:
        yaw = nearest(yaw_of(self.pot_rotation))

        def handle() -> np.ndarray:
            return np.asarray(self.pot + self.pot_rotation.apply(HANDLE))

        if not (yield from arm.pick(lambda: (handle(), downward(yaw)), slope=1.5, hover=0.12)):
            return False
        return (yield from self.put(arm, handle, lambda: place() + handle() - self.pot, downward(yaw), 0.08))

    def put_bread(self, arm: Arm) -> Plan:
        yaw = nearest(yaw_of(self.bread_rotation) + np.pi / 2)  # the fingers close across its shorter side

        def grip() -> np.ndarray:
            return np.asarray(self.bread + 0.008 * UP)

        if not (yield from arm.pick(lambda: (grip(), downward(yaw)), slope=1.5, hover=0.12)):
            return False
        spread = downward(nearest(yaw_of(self.pot_rotation)))
        return (yield from self.put(arm, grip, lambda: self.pot + OVER_POT * UP, spread, 0.03))

    def put(
        self, arm: Arm, held: Callable[[], np.ndarray], place: Callable[[], np.ndarray], turn: Rotation, carry: float
    ) -> Plan:
        """Carry the grip ``held`` to ``place``, ``carry`` above it on the way, and let go."""
        start = held().copy()

        def at(height: float, across: float) -> Pose:
            """``across``: the part of the way to there."""
            way = start + (place() + height * UP - start) * [across, across, 1] - held()
            return arm.position + way, turn

        def high() -> Pose:
            """Sideways only as far as it has been lifted."""
            return at(carry, np.clip((held()[2] - start[2] - 0.02) / 0.05, 0, 1))

        def lost() -> bool:
            return bool(np.linalg.norm(arm.position - held()) > 0.04)

        how: Any = {"aim": (0.015, 0.2), "drop": 0.01, "steps": 40}
        return (yield from arm.place(high, lambda: at(0.0, 1.0), bend=0, lost=lost, **how))


class MovedKitchenExpert(KitchenExpert):
    layout = LAYOUTS["Kitchen_D1-v0"]

    def see(self, objects: dict[str, np.ndarray]) -> None:
        super().see(objects)
        self.button = objects["Button1_pos"]


def nearest(yaw: float) -> float:
    """The same angle for a hand, which either way round will do."""
    return float(turns(yaw, np.pi, -np.pi / 2, np.pi / 2)[0])


def near(way: np.ndarray, reach: tuple[float, float, float]) -> bool:
    return bool(np.all(np.abs(way) < reach))
