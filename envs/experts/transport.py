"""Transport: hand the hammer over from the covered bin to the target bin, which is cleared of trash meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.waypoints import (
    CLOSED,
    OPEN,
    UP,
    Arm,
    Plan,
    Pose,
    WaypointExpert,
    body_of,
    choose,
    downward,
    turns,
    yaw_of,
)
from l1flow_agents.layouts import LAYOUTS

AHEAD = np.pi / 2  # robot 0 looks along y, robot 1 against it
RIM = 0.955  # top of the bins' walls
LID_PLACE = np.array([-0.19, -0.45, 0.825])  # of its handle, on the table beside the bin
MEETING = np.array([0.0, 0.0, 1.1])  # where both arms reach the hammer


class TransportExpert(WaypointExpert):
    """Robot 0 uncovers its bin and holds the hammer out by one end; robot 1 clears its bin and takes the other end.

    Each waits for what it sees the other do; which of them waits for which is a matter of the episode.
    """

    layout = LAYOUTS["Transport-v0"]
    arm_names = ("robot0", "robot1")
    speeds = (0.7, 1.2)

    def see(self, objects: dict[str, np.ndarray]) -> None:
        self.hammer, self.hammer_rotation = body_of(objects, "payload")
        trash = body_of(objects, "trash")
        self.trash, self.trash_yaw = trash.position, trash.yaw
        self.lid, self.target_bin, self.trash_bin = (
            objects[f"{name}_pos"] for name in ("lid_handle", "target_bin", "trash_bin")
        )
        along = self.hammer_rotation.apply(UP)
        self.along = along if along[1] > 0 else -along  # the handle, towards robot 1; the head may be at either end
        self.heading = float(np.arctan2(self.along[1], self.along[0]))

    def draw(self) -> None:
        rng = self.rng
        self.start_bin = self.lid
        self.late = int(rng.choice([0, 0, 40, 80]))  # steps that robot 1 begins later
        self.slope, self.bends = rng.uniform(2.0, 4.0), rng.choice([-0.4, 0.0, 0.4], 4) + rng.normal(size=4) * 0.1
        self.bends[:2] = np.abs(self.bends[:2])  # away from its own base: robot 0's elbow is folded to its end there
        self.lid_grip = rng.uniform([0, -0.02, -0.006], [0, 0.02, 0.004])
        self.lid_place = LID_PLACE + rng.uniform([-0.03, -0.02, 0.005], [0.03, 0.02, 0.03])
        self.ends = rng.uniform(-0.035, -0.02), rng.uniform(0.075, 0.085)  # where the two grip the handle
        self.meeting = MEETING + rng.uniform([-0.05, -0.02, -0.05], [0.05, 0.02, 0.05])
        self.trash_place = self.trash_bin + rng.uniform([-0.04, -0.04, 0.04], [0.04, 0.04, 0.1])
        self.hammer_place = self.target_bin + rng.uniform([-0.03, -0.015, 0.02], [0.03, 0.015, 0.05])
        self.last_heading = AHEAD + rng.uniform(-0.3, 0.3)
        self.clear = rng.uniform(0.07, 0.1)  # metres between the rim and the middle of what is carried across

    def plan(self, arm: Arm) -> Plan:
        return (yield from (self.give(arm) if arm is self.arms[0] else self.take(arm)))

    def give(self, arm: Arm) -> Plan:
        """Robot 0."""
        if np.hypot(*(self.lid - self.start_bin)[:2]) < 0.3:
            return (yield from self.uncover(arm))
        if self.hammer[1] < -0.25:
            if not (yield from self.seize(arm, lambda: self.grasp(0), 0.034, self.bends[1])):
                return False
            offer = self.bring(arm, lambda: self.hammer, self.meeting, lambda: self.level(arm, AHEAD), RIM + 0.02)
            if not (yield from arm.move(offer, CLOSED, bend=self.bends[2], tolerance=0.015, lost=self.dropped(arm))):
                return False
            yield from arm.wait(lambda: self.holds(self.arms[1]), CLOSED)
            yield from arm.grip(OPEN)
            yield from arm.rise(0.1, OPEN)
        home = np.array([0.0, -0.35, self.meeting[2] + 0.1])  # back above the hammer, whose head may be at this end
        return (yield from arm.move(lambda: (home, downward(AHEAD)), OPEN, tolerance=0.05))

    def uncover(self, arm: Arm) -> Plan:
        """The lid onto the table beside the bin."""

        def grasp() -> Pose:
            return self.lid + self.lid_grip, downward(AHEAD)

        def lost() -> bool:
            return bool(np.linalg.norm(arm.position - self.lid) > 0.06)

        if not (yield from self.seize(arm, grasp, 0.024, self.bends[0])):
            return False
        low = self.start_bin[2] + 0.005
        over = self.bring(
            arm, lambda: self.lid, self.lid_place + (RIM + self.clear - 0.81) * UP, lambda: downward(AHEAD), low
        )
        down = self.bring(arm, lambda: self.lid, self.lid_place, lambda: downward(AHEAD))
        return (yield from arm.place(over, down, bend=0.0, aim=(0.03, 3), fit=(0.015, 3), steps=40, lost=lost))

    def take(self, arm: Arm) -> Plan:
        """Robot 1."""
        late, self.late = self.late, 0
        yield from arm.wait(lambda: False, OPEN, steps=late)
        if np.abs(self.trash - self.trash_bin)[:2].max() > 0.14:
            return (yield from self.clear_bin(arm))
        if np.abs(self.hammer - self.target_bin)[:2].max() < 0.1:
            return True
        ready = self.meeting + np.array([0, 0.15, 0.1])
        yield from arm.move(lambda: (ready, downward(-AHEAD)), OPEN, bend=self.bends[3], tolerance=0.05)
        if not (yield from arm.wait(self.offered, OPEN)):
            return False
        if not (yield from self.seize(arm, lambda: self.grasp(1), 0.034)):
            return False
        giver = self.arms[0]
        if not (yield from arm.wait(lambda: bool(np.linalg.norm(giver.position - self.hammer) > 0.12), CLOSED)):
            return False
        above = self.hammer_place + (RIM + self.clear - self.hammer_place[2]) * UP
        over = self.bring(arm, lambda: self.hammer, above, lambda: self.level(arm, self.last_heading), RIM + 0.03)
        into = self.bring(arm, lambda: self.hammer, self.hammer_place, lambda: self.level(arm, self.last_heading))
        dropped = self.dropped(arm)
        return (yield from arm.place(over, into, bend=0.0, aim=(0.03, 0.3), fit=(0.02, 3), steps=40, lost=dropped))

    def clear_bin(self, arm: Arm) -> Plan:
        """The trash into the other bin."""
        faces = turns(self.trash_yaw + AHEAD, np.pi / 2, -0.6 * np.pi, 0.6 * np.pi) - AHEAD
        # the fingers open along a wall that is near, not against it
        offset = (self.trash - self.target_bin)[:2]
        room = [abs(offset @ [np.sin(face), -np.cos(face)]) < 0.03 for face in faces]
        face = choose(self.rng, list(faces[room] if any(room) else faces), 0.7) - self.trash_yaw

        def grasp() -> Pose:
            return self.trash, downward(yaw_of(Rotation.from_euler("z", self.trash_yaw + face)))

        def lost() -> bool:
            return bool(np.linalg.norm(arm.position - self.trash) > 0.05)

        if not (yield from self.seize(arm, grasp, 0.044)):
            return False
        rotation = downward(yaw_of(arm.rotation))
        above = self.trash_place + (RIM + self.clear - self.trash_place[2]) * UP
        over = self.bring(arm, lambda: self.trash, above, lambda: rotation, RIM + 0.03)
        into = self.bring(arm, lambda: self.trash, self.trash_place, lambda: rotation)
        return (yield from arm.place(over, into, bend=0.0, aim=(0.03, 3), fit=(0.03, 3), steps=30, lost=lost))

    # ---- what all of these share ------------------------------------------------------------------------------------

    def seize(self, arm: Arm, grasp: Callable[[], Pose], width: float, bend: float = 0.0) -> Plan:
        """Pick something up that is less than ``width`` metres wide, straight from above: past walls and the head."""

        def above() -> Pose:
            position, rotation = grasp()
            return np.array([*position[:2], max(position[2] + 0.08, RIM + 0.05)]), rotation

        if arm.position[2] < RIM:
            yield from arm.rise(RIM + 0.05 - arm.position[2], OPEN)
        yield from arm.move(above, OPEN, bend=bend, tolerance=0.025, turn_tolerance=0.3)
        if not (yield from arm.pick(grasp, slope=self.slope, hover=0.08)):
            return False
        return (yield from arm.wait(lambda: arm.width < width, CLOSED, steps=25))

    def bring(
        self,
        arm: Arm,
        thing: Callable[[], np.ndarray],
        place: np.ndarray,
        rotation: Callable[[], Rotation],
        low: float = 0.0,
    ) -> Callable[[], Pose]:
        """Hand poses that bring what is held to ``place``; sideways only as far as it is lifted above ``low``."""
        start = arm.position

        def pose() -> Pose:
            hand = arm.position + place - thing()
            lifted = np.clip((thing()[2] - low) / 0.03, 0, 1)
            hand[:2] = start[:2] + lifted * (hand - start)[:2]
            return hand, rotation()

        return pose

    # ---- the hammer -------------------------------------------------------------------------------------------------

    def grasp(self, end: int) -> Pose:
        """Across the handle, near the end that is this robot's."""
        across = self.heading if end == 0 else self.heading - np.pi
        return self.hammer + self.ends[end] * self.along, downward(across)

    def level(self, arm: Arm, heading: float) -> Rotation:
        """The hand's rotation, palm down, that makes the handle point there."""
        return downward(yaw_of(arm.rotation) + heading - self.heading)

    def dropped(self, arm: Arm) -> Callable[[], bool]:
        return lambda: not self.holds(arm)

    def holds(self, arm: Arm) -> bool:
        """The fingers stand on the handle."""
        there = self.hammer_rotation.inv().apply(arm.position - self.hammer)
        return bool(np.abs(there[:2]).max() < 0.03 and abs(there[2]) < 0.11 and arm.width < 0.042)

    def offered(self) -> bool:
        return self.holds(self.arms[0]) and bool(np.linalg.norm(self.hammer - self.meeting) < 0.02)
