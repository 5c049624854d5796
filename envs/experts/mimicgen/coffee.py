"""Coffee: put the pod into the machine's holder and shut the lid."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.square import WRIST
from l1flow_agents.envs.experts.waypoints import (
    CLOSED,
    LETTING_GO,
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
HINGE = np.array([0.0, 0.0605, 0.106])  # of the lid
UPRIGHT = 1.6  # radians; a lid beyond stays open
BEHIND = np.array([0.0, -0.03, 0.16])  # where the hand, fingers shut, stands behind the open lid
BEFORE = np.array([0.0, 0.14, 0.165])  # on the way there it pushes the lid over
HIGH = 0.23  # a hand at this height passes over the lid's edge
HOVER = 0.08  # over the pod, until the hand is right
AROUND, TOP = 0.19, 0.16  # so near to the holder an empty hand goes this high, from the machine's origin
OVER = 0.07  # the pod's middle over the holder's on the way there
GRIP = 0.014  # the fingers hold the pod above its middle: the holder takes the rest
DROP = 0.022  # and when it is let go; the fingers are at the rim
THICK = 0.050  # metres between the fingers, a little more than on the pod


class CoffeeExpert(WaypointExpert):
    """Pod straight down into the holder, then up, over the open lid, and forwards with shut fingers."""

    layout = LAYOUTS["Coffee_D0-v0"]
    speeds, noise = (0.6, 0.9), 0.05
    low = 0.83  # the pod's height from which on it may go sideways

    def see(self, objects: dict[str, np.ndarray]) -> None:
        machine = body_of(objects, "coffee_machine")
        self.pod, self.machine, self.machine_yaw = objects["coffee_pod_pos"], machine.position, machine.yaw
        (self.hinge,) = objects["hinge_angle"]

    def plan(self, arm: Arm) -> Plan:
        self.yaw = self.choose_yaw()
        if not self.pod_in():
            if not (yield from arm.pick(self.grasp, slope=1.5, hover=HOVER, thick=THICK)):
                return False
            how: Any = {"aim": (0.003, 0.1), "drop": 0.008, "steps": 60, "lost": self.lost, "thick": THICK}
            yield from arm.place(self.over, self.into, bend=0, **how)
            if not self.pod_in():
                return False
        return (yield from self.shut(arm))

    def choose_yaw(self) -> float:
        """The palm is thin along its x axis, which looks at the lid."""
        angles = turns(self.machine_yaw + np.pi / 2, np.pi, *WRIST)
        return float(angles[np.argmin(np.abs(angles - np.pi / 3))])

    def shut(self, arm: Arm) -> Plan:
        """Up, back over the lid's edge, down behind it, forwards: each by where hand and lid are."""
        for _ in range(120):
            if self.hinge > UPRIGHT and not self.pod_in():  # a pod as light as this one may jump out again
                return False
            if arm.width < THICK and not self.lost():
                yield from arm.let_go(self.into, THICK)
            hand = self.machine_turn().inv().apply(arm.position - self.machine)
            across = hand - HINGE
            if np.arctan2(across[2], across[1]) > self.hinge:  # behind the lid
                goal = BEHIND + np.clip((BEHIND[2] + 0.02 - hand[2]) / 0.01, 0, 1) * (BEFORE - BEHIND)
            else:
                back = np.clip((hand[2] - HIGH + 0.03) / 0.02, 0, 1)
                goal = np.array([0.0, hand[1] + back * (BEHIND[1] - hand[1]), HIGH])
            clear = arm.position[2] - self.pod[2] > GRIP + 0.03
            pose = self.at(goal), downward(self.yaw)
            yield arm.action(pose, CLOSED) if clear else arm.action(pose, OPEN, speed=LETTING_GO)
        return False

    def grasp(self) -> Pose:
        """The pod's, which is round: half turned, the wrist is farther from its limits. High while near the holder."""
        goal = self.pod + GRIP * UP
        return goal + self.near() * (self.machine[2] + TOP - HOVER - goal[2]) * UP, downward(self.yaw / 2)

    def near(self) -> float:
        """From 0 to 1: the empty hand is over the holder, where it may begin, and the pod is elsewhere."""
        hand = self.arm.position
        near = np.clip((AROUND - np.hypot(*(hand - self.holder())[:2])) / 0.04, 0, 1)
        return float(near * np.clip(np.hypot(*(hand - self.pod)[:2]) / 0.05 - 1, 0, 1))

    def over(self) -> Pose:
        """The pod above the holder; sideways only as far as it has been lifted, and not near while it is low."""
        away = self.pod - self.holder()
        low = np.clip((OVER - away[2]) / 0.03, 0, 1)
        lifted = np.clip((self.pod[2] - self.low) / 0.03, 0, 1)
        error = np.append(limit(away[:2], 0.1) * low - away[:2], OVER - away[2])
        return self.arm.position + error * [lifted, lifted, 1], downward(self.yaw)

    def into(self) -> Pose:
        return self.arm.position + self.holder() + DROP * UP - self.pod, downward(self.yaw)

    def holder(self) -> np.ndarray:
        return self.at(HOLDER)

    def at(self, place: np.ndarray) -> np.ndarray:
        return np.asarray(self.machine + self.machine_turn().apply(place))

    def machine_turn(self) -> Rotation:
        return Rotation.from_euler("z", self.machine_yaw)

    def lost(self) -> bool:
        return bool(np.linalg.norm(self.arm.position - self.pod) > 0.05)

    def pod_in(self) -> bool:
        """So far that it falls down the rest."""
        away = self.pod - self.holder()
        return bool(np.hypot(*away[:2]) < 0.006 and away[2] < DROP + 0.006)
