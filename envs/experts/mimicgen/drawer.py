"""HammerCleanup and MugCleanup: open the drawer, put the thing in, shut it.

Shut fingers behind the handle's bar pull the drawer, spread ones before it push it. What to do follows from one
observation, even where that does not show how far the drawer is open: fingers that are spread have opened it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.waypoints import CLOSED, OPEN, UP, Arm, Plan, Pose, WaypointExpert, downward, yaw_of

BAR = np.array([0.0, -0.17, 0.116])  # the handle's bar in the cabinet, when shut
PULL = 0.15  # metres to open
HOOK = np.array([0.0, -0.14, 0.111])  # the hand, fingers shut behind the bar
PRESS = np.array([0.0, -0.085, -0.005])  # from the bar to a hand with a finger in front of it
CLEAR = 0.16  # what is higher in the cabinet's frame clears the tray's front
OVER = 0.06  # metres over the bar on the way there
HOVER = 0.08  # over the thing, until the hand is right
BESIDE = 0.03  # metres along the bar that the hand may be off its middle
OFF = 0.045  # and when it pushes: a spread finger is still before it
BASE, FOLDED = np.array([-0.56, 0.0]), 0.46  # the robot's; metres from it
CARRIED = 0.03  # metres over the table on the way out from there
SHUT = 0.02  # metres between the fingers at most: they begin half open
LOW = 0.08  # metres over the table: lower than the hand pulls
SPREAD = 0.06  # metres between fingers that have let go of everything


class DrawerExpert(WaypointExpert):
    """A task's class sees where drawer and thing are, and says how the thing is held."""

    speeds, noise = (0.6, 0.9), 0.05
    drawer: np.ndarray
    drawer_rotation: Rotation
    thing: np.ndarray  # the middle of what the fingers close upon
    middle: np.ndarray  # of all of it
    spot: np.ndarray  # where it goes, on the tray's floor when that is shut
    foot: float  # from there down to its bottom
    drop: float  # height from which it is let go
    thick: float  # metres between the fingers, a little more than on the thing

    @abstractmethod
    def hold(self) -> float:
        """The hand's angle to grasp the thing as it lies now."""

    def lay(self) -> float:
        """The hand's angle over the tray."""
        return yaw_of(self.arm.rotation)

    def plan(self, arm: Arm) -> Plan:
        if not self.held():
            if self.inside():
                return (yield from self.push(arm))
            if not self.opened():
                return (yield from self.pull(arm))
            yield from self.leave(arm)
            if not (yield from arm.pick(self.grasp, slope=4.0, hover=HOVER, thick=self.thick)):
                return False
        how: Any = {"aim": (0.008, 0.2), "drop": 0.012, "steps": 60, "thick": self.thick}
        return (yield from arm.place(self.over, self.into, bend=0, lost=lambda: self.away() > 0.05, **how))

    def pull(self, arm: Arm) -> Plan:
        """Down behind the bar where the hand is right, and from there on towards the front."""
        while not self.opened():
            astray = self.hand() - HOOK
            hooked = arm.width < SHUT and abs(astray[0]) < BESIDE and astray[1] < 0.01 and astray[2] < 0.015
            if hooked:
                goal = HOOK - [0.0, PULL + 0.03, 0.0]
            else:
                goal = HOOK + np.clip(2 * (np.hypot(*astray[:2]) - 0.008), 0, OVER) * UP
            yield arm.action(self.at(goal), CLOSED)
        return True

    def leave(self, arm: Arm) -> Plan:
        """Up from the handle, slowly until the fingers are spread."""
        while self.at_end() or (self.before_bar() and self.hand()[2] < BAR[2] + OVER):
            goal = arm.position + 0.05 * UP, arm.rotation
            yield arm.action(goal, OPEN, speed=1.0 if arm.width > SPREAD else 0.4)
        return True

    def push(self, arm: Arm) -> Plan:
        """Up out of the tray, over the bar, down before it, and towards the cabinet."""
        while self.inside() and not self.held():
            hand = self.hand()
            bar = (self.place()[1] - self.spot[1]) * np.array([0.0, 1.0, 0.0]) + BAR
            start = bar + PRESS + [np.clip(hand[0], -OFF, OFF), 0.0, 0.0]  # no nearer to the robot than it must
            astray = max(abs(hand[0] - start[0]), hand[1] - start[1])
            if abs(hand[0]) < OFF + 0.015 and hand[1] < bar[1] - 0.02:  # before the bar
                height = np.clip(3 * (astray - 0.01), 0, OVER)
                low = np.clip((start[2] + 0.03 - hand[2]) / 0.015, 0, 1)
                goal = start + height * (1 - low) * UP + low * np.array([0.0, 0.1 + hand[1] - start[1], 0.0])
            else:
                lifted = np.clip((hand[2] - CLEAR - 0.01) / 0.02, 0, 1)
                goal = np.append(hand[:2] + lifted * (start - hand)[:2], CLEAR + 0.04)
            yield arm.action(self.at(goal), OPEN)
        return True

    def grasp(self) -> Pose:
        """The thing's; high while the hand is over handle and cabinet and the thing is elsewhere."""
        x, y, _ = self.hand()
        over = np.clip((0.14 - abs(x)) / 0.04, 0, 1) * np.clip((y + 0.40) / 0.04, 0, 1)
        over *= np.clip(np.hypot(*(self.arm.position - self.thing)[:2]) / 0.05 - 1, 0, 1)
        high = self.drawer[2] + BAR[2] + OVER - HOVER - self.thing[2]
        return self.thing + over * high * UP, downward(self.hold())

    def over(self) -> Pose:
        """Sideways only as far as the thing has been lifted, and that not before a folded arm is stretched."""
        height = self.thing[2] - self.foot - self.drawer[2]
        position, rotation = self.above(CLEAR - self.spot[2])
        across = np.clip((height - CLEAR + 0.07) / 0.05, 0, 1)
        out = self.arm.position[:2] - BASE
        reach = float(np.hypot(*out))
        way = (position - self.arm.position) * [across, across, 1]
        way[:2] += (1 - across) * max(FOLDED - reach, 0.0) * out / reach
        stretched = max(across, np.clip((reach - FOLDED + 0.10) / 0.06, 0, 1))
        way[2] = stretched * way[2] + (1 - stretched) * (CARRIED - height)
        return self.arm.position + way, rotation

    def into(self) -> Pose:
        return self.above(self.drop)

    def above(self, height: float) -> Pose:
        """Hand pose for the thing to be so high over the tray."""
        goal = self.at(self.spot - [0, PULL, 0])[0] + (self.foot + height) * UP
        return self.arm.position + goal - [*self.middle[:2], self.thing[2]], downward(self.lay())

    def at(self, place: np.ndarray) -> Pose:
        """The hand there in the cabinet's frame, turned like the cabinet."""
        position = np.asarray(self.drawer + self.drawer_rotation.apply(place))
        return position, downward(yaw_of(self.drawer_rotation))

    def hand(self) -> np.ndarray:
        """Where it is in the cabinet's frame."""
        return np.asarray(self.drawer_rotation.inv().apply(self.arm.position - self.drawer))

    def place(self) -> np.ndarray:
        """Where the thing is in the cabinet's frame."""
        return np.asarray(self.drawer_rotation.inv().apply(self.thing - self.drawer))

    def away(self) -> float:
        """Metres from the hand to the thing."""
        return float(np.linalg.norm(self.arm.position - self.thing))

    def held(self) -> bool:
        return self.arm.around(self.thick) and self.away() < 0.03

    def inside(self) -> bool:
        x, y, z = self.place() - self.spot
        return bool(abs(x) < 0.06 and -PULL - 0.07 < y < 0.05 and -0.015 < z - self.foot < 0.03)

    def before_bar(self) -> bool:
        """Where the hand is when it has pulled."""
        hand = self.hand()
        return bool(abs(hand[0]) < BESIDE and abs(hand[1] - HOOK[1] + PULL) < 0.04)

    def at_end(self) -> bool:
        """It has just pulled: the fingers begin to open, and they can no sooner than the hand rises."""
        _, y, z = self.hand()
        opens = self.arm.width < SHUT or z > HOOK[2] + 0.01
        return opens and self.before_bar() and y < HOOK[1] - PULL + 0.02 and z < BAR[2] + OVER - 0.01

    def opened(self) -> bool:
        """A hand that is low wanted the thing, and may have missed it."""
        return self.arm.width > SPREAD or self.at_end() or self.away() < 0.04 or self.hand()[2] < LOW
