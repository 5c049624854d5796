"""Coffee: put the pod into the machine's holder and shut the lid."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.square import WRIST
from l1flow_agents.envs.experts.waypoints import (
    CLOSED,
    OPEN,
    UP,
    Arm,
    Plan,
    Pose,
    WaypointExpert,
    body_of,
    downward,
    limit,
    turns,
)
from l1flow_agents.layouts import LAYOUTS

HOLDER = np.array([0.0, 0.1061, 0.0635])  # in the machine's frame, whose front is at +y
BEHIND_HIGH = np.array([0.0, -0.03, 0.235])  # where the hand, fingers shut, is past the open lid's edge
BEHIND = np.array([0.0, -0.03, 0.16])  # and where it stands behind the lid
BEFORE = np.array([0.0, 0.14, 0.165])  # on the way there the hand pushes the lid over
OVER = 0.075  # the pod's middle over the holder's on the way there
GRIP = 0.022  # the fingers hold the pod above its middle: the holder takes the rest
DROP = 0.016  # and when it is let go; the fingers are at the rim


class CoffeeExpert(WaypointExpert):
    """Pod straight down into the holder, then up, over the open lid, and forwards with shut fingers."""

    layout = LAYOUTS["Coffee_D0-v0"]
    speeds, noise = (0.6, 0.9), 0.05
    low = 0.83  # the pod's height from which on it may go sideways

    def see(self, objects: dict[str, np.ndarray]) -> None:
        machine = body_of(objects, "coffee_machine")
        self.pod, self.machine, self.machine_yaw = objects["coffee_pod_pos"], machine.position, machine.yaw

    def plan(self, arm: Arm) -> Plan:
        self.yaw = self.choose_yaw()
        if not self.pod_in():
            if not (yield from arm.pick(self.grasp, slope=1.5, hover=0.08)):
                return False
            if not (yield from self.insert(arm)):
                return False
        return (yield from self.shut(arm))

    def choose_yaw(self) -> float:
        """The palm is thin along its x axis, which looks at the lid."""
        return float(turns(self.machine_yaw + np.pi / 2, np.pi, *WRIST)[0])

    def insert(self, arm: Arm) -> Plan:
        if not (yield from arm.move(self.over, CLOSED, tolerance=0.02, turn_tolerance=0.2, lost=self.lost)):
            return False
        yield from arm.move(self.into, CLOSED, tolerance=0.0, lost=lambda: self.lost() or self.pod_in())
        held = arm.width
        yield from arm.grip(OPEN)
        yield from arm.wait(lambda: arm.width > held + 0.01, OPEN, steps=15)
        return (yield from arm.rise(0.1, OPEN)) and self.pod_in()

    def shut(self, arm: Arm) -> Plan:
        for place, tolerance in ((BEHIND_HIGH, 0.03), (BEHIND, 0.015), (BEFORE, 0.01)):
            goal = partial(self.hand_at, place, downward(self.yaw))
            if not (yield from arm.move(goal, CLOSED, tolerance=tolerance, steps=60)):
                return False
        return True

    def hand_at(self, place: np.ndarray, hand: Rotation) -> Pose:
        return self.at(place), hand

    def grasp(self) -> Pose:
        return self.pod + GRIP * UP, downward(0.0)

    def over(self) -> Pose:
        """The pod above the holder; sideways only as far as it has been lifted, and not near while it is low."""
        away = self.pod - self.holder()
        low = np.clip((OVER - away[2]) / 0.03, 0, 1)
        lifted = np.clip((self.pod[2] - self.low) / 0.03, 0, 1)
        error = np.append(limit(away[:2], 0.1) * low - away[:2], OVER - away[2])
        return self.arm.position + error * [lifted, lifted, 1], downward(self.yaw)

    def into(self) -> Pose:
        """Down through a funnel: no lower than the pod is over the bore."""
        error = self.holder() - self.pod
        height = DROP + np.clip(30 * (np.hypot(*error[:2]) - 0.002), 0.0, OVER - DROP)
        return self.arm.position + error + height * UP, downward(self.yaw)

    def holder(self) -> np.ndarray:
        return self.at(HOLDER)

    def at(self, place: np.ndarray) -> np.ndarray:
        return np.asarray(self.machine + Rotation.from_euler("z", self.machine_yaw).apply(place))

    def lost(self) -> bool:
        return bool(np.linalg.norm(self.arm.position - self.pod) > 0.05)

    def pod_in(self) -> bool:
        """So far that it falls down the rest."""
        away = self.pod - self.holder()
        return bool(np.hypot(*away[:2]) < 0.006 and away[2] < DROP + 0.003)
