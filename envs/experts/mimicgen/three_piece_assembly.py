"""MimicGen's ThreePieceAssembly: piece 1 into the base, piece 2 over piece 1."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.waypoints import UP, Arm, Plan, Pose, WaypointExpert, body_of, downward, turns
from l1flow_agents.layouts import LAYOUTS

WRIST = 0.6 * np.pi  # the hand turns no farther to either side
ROBOT = np.array([-0.56, 0.0])  # where it stands


class Step(NamedTuple):
    """One piece held at ``grip`` over its middle, fingers along its x axis or ``grips`` further, into ``into``.

    Its middle comes to rest ``seat`` over that of ``into``, and it fits there in every ``fits`` of turn.
    """

    piece: str
    grip: float
    grips: float
    into: str
    seat: float
    fits: float


STEPS = (
    Step("piece_1", 0.035, np.pi, "base", 0.032, np.pi / 2),  # by its wall
    Step("piece_2", 0.06, np.pi / 2, "piece_1", 0.067, np.pi),  # by its knob; rests on the base's rim
)


class ThreePieceAssemblyExpert(WaypointExpert):
    """Each piece is held from above, with the least turning, lifted no higher than needed, and let down upright."""

    layout = LAYOUTS["ThreePieceAssembly_D0-v0"]
    speeds, noise = (0.6, 0.9), 0.05

    def see(self, objects: dict[str, np.ndarray]) -> None:
        self.pieces = {name: body_of(objects, name) for name in ("base", "piece_1", "piece_2")}

    def plan(self, arm: Arm) -> Plan:
        todo = [step for step in STEPS if not self.done(step)]
        if not todo:
            return True
        step = todo[0]
        hand_turn, goal_turn = self.least_turning(step)

        def grasp() -> Pose:
            piece, into = self.pieces[step.piece], self.pieces[step.into]
            tilt = reaching(piece.position, into.position)
            return piece.position + step.grip * UP, downward(piece.yaw + hand_turn) * tilt

        def at(height: float) -> Pose:
            """Hand pose for the held piece to be so high over its seat, upright."""
            piece, into = self.pieces[step.piece], self.pieces[step.into]
            goal = into.position + (step.seat + height) * UP
            return arm.carry(piece, (goal, Rotation.from_euler("z", into.yaw + goal_turn)))

        start = self.pieces[step.piece].position[2]

        def over() -> Pose:
            """Sideways as soon as it is lifted a little: high and far out the arm's elbow would lock.

            Turned only when all the way up, so that a source's grasp ends alike, wherever its piece went next.
            """
            lifted = np.clip((self.pieces[step.piece].position[2] - start - 0.02) / 0.04, 0, 1)
            position, rotation = at(0.08)
            return arm.lifting((position, rotation if lifted == 1 else arm.rotation), lifted)

        def lost() -> bool:
            held = self.pieces[step.piece].position + step.grip * UP
            return bool(np.linalg.norm(arm.position - held) > 0.04)

        if not (yield from arm.pick(grasp, slope=1.5, hover=0.12)):
            return False
        how: Any = {"aim": (0.006, 0.04), "fit": (0.005, 0.2), "steps": 30, "opened": 0.01}
        return (yield from arm.place(over, lambda: at(-0.002), bend=0.0, lost=lost, **how))

    def least_turning(self, step: Step) -> tuple[float, float]:
        """The hand's turn to the piece's, and the piece's final turn to what it goes into."""
        yaw, into = self.pieces[step.piece].yaw, self.pieces[step.into].yaw
        ways = []
        for hand in turns(yaw - np.pi / 2, step.grips, -WRIST, WRIST):
            for turn in turns(into - yaw, step.fits, -np.pi, np.pi):
                if abs(hand + turn) < WRIST:
                    ways.append((abs(hand) + abs(turn), hand - yaw, yaw + turn - into))
        return min(ways)[1:]

    def done(self, step: Step) -> bool:
        away = self.pieces[step.piece].position - self.pieces[step.into].position
        return bool(np.hypot(*away[:2]) < 0.02 and away[2] < step.seat + 0.01)


def reaching(*places: np.ndarray) -> Rotation:
    """The hand's tilt for all of the places.

    Fingers forwards where one is far out, since an arm that straightens does not come back; but not where one is near,
    since there it would bring the wrist's two turning axes into one line.
    """
    near, *_, far = sorted(float(np.hypot(*(place[:2] - ROBOT))) for place in places)
    return Rotation.from_euler("y", 0.35 * np.clip(min((far - 0.7) / 0.1, (near - 0.35) / 0.2), 0, 1))
