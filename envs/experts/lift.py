"""Lift: pick the cube up."""

from __future__ import annotations

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
    choose,
    downward,
    turns,
    yaw_of,
)
from l1flow_agents.layouts import LAYOUTS


class LiftExpert(WaypointExpert):
    """Either pair of the cube's faces, from the left, the right or straight, gripped a little off its middle."""

    layout = LAYOUTS["Lift-v0"]
    speeds = (0.3, 0.6)

    def see(self, objects: dict[str, np.ndarray]) -> None:
        cube = body_of(objects, "cube")
        self.cube, self.cube_yaw = cube.position, cube.yaw

    def draw(self) -> None:
        rng = self.rng
        # faces repeat every quarter turn; the nearest pair is always within 45 degrees
        faces = list(turns(self.cube_yaw, np.pi / 2, -0.6 * np.pi, 0.6 * np.pi))
        self.turn = choose(rng, faces, 0.7) - self.cube_yaw
        self.offset = np.array([rng.uniform(-0.006, 0.006), 0.0, rng.uniform(-0.006, 0.006)])
        self.bend = rng.choice([-0.6, 0.0, 0.6]) + rng.normal() * 0.1
        self.slope, self.height = rng.uniform(1.0, 3.0), rng.uniform(0.08, 0.14)

    def plan(self, arm: Arm) -> Plan:
        yield from arm.pick(self.grasp, slope=self.slope, hover=0.08, bend=self.bend, thick=0.046)
        top = arm.position + self.height * UP
        rotation = arm.rotation

        def slipped() -> bool:
            return bool(arm.position[2] - self.cube[2] > 0.04)

        return (yield from arm.move(lambda: (top, rotation), CLOSED, lost=slipped))

    def grasp(self) -> Pose:
        rotation = downward(yaw_of(Rotation.from_euler("z", self.cube_yaw + self.turn)))
        return self.cube + rotation.apply(self.offset), rotation
