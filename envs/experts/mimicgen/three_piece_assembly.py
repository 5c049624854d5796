"""MimicGen's ThreePieceAssembly: piece 1 into the base, piece 2 over piece 1."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.mimicgen.wrist import reaching
from l1flow_agents.envs.experts.waypoints import UP, Arm, Plan, Pose, WaypointExpert, body_of, downward, turns, yaw_of
from l1flow_agents.layouts import LAYOUTS

WRIST = 0.6 * np.pi  # the hand turns no farther to either side
OVER = 0.11  # metres more to go over piece 2


class Step(NamedTuple):
    """One piece held at ``grip`` over its middle, fingers along its x axis or ``grips`` further, into ``into``.

    Its middle comes to rest ``seat`` over that of ``into``, and it fits there in every ``fits`` of turn. Its middle is
    ``rest`` high while it lies on the table, and the fingers that hold it are less than ``thick`` apart. The hand comes
    down on it from ``hover``, and it is carried ``clear`` over its seat.
    """

    piece: str
    grip: float
    grips: float
    into: str
    seat: float
    fits: float
    rest: float
    thick: float
    hover: float
    clear: float


STEPS = (
    # by its wall
    Step("piece_1", 0.035, np.pi, "base", 0.032, np.pi / 2, 0.851, 0.039, 0.12, 0.06),
    # by its knob; rests on the base's rim
    Step("piece_2", 0.06, np.pi / 2, "piece_1", 0.067, np.pi, 0.88, 0.045, 0.06, 0.08),
)


class ThreePieceAssemblyExpert(WaypointExpert):
    """Each piece is held from above, with the least turning, lifted no higher than needed, and let down upright."""

    layout = LAYOUTS["ThreePieceAssembly_D0-v0"]
    speeds, noise = (0.7, 0.9), 0.1

    def see(self, objects: dict[str, np.ndarray]) -> None:
        self.pieces = {name: body_of(objects, name) for name in ("base", "piece_1", "piece_2")}

    def plan(self, arm: Arm) -> Plan:
        todo = [step for step in STEPS if not self.done(step)]
        if not todo:
            return True
        step = todo[0]

        def grasp() -> Pose:
            piece, into = self.pieces[step.piece], self.pieces[step.into]
            hand, _ = self.easiest(step)
            tilt = Rotation.from_euler("y", reaching(piece.position, into.position) * np.cos(hand))
            return piece.position + step.grip * UP, downward(hand) * tilt

        def at(height: float) -> Pose:
            """Hand pose for the held piece to be so high over its seat, upright."""
            piece, into = self.pieces[step.piece], self.pieces[step.into]
            goal = into.position + (step.seat + height) * UP
            _, turn = self.easiest(step, yaw_of(arm.rotation))
            return arm.carry(piece, (goal, Rotation.from_euler("z", piece.yaw + turn)))

        def over() -> Pose:
            """Sideways as soon as it is lifted a little: high and far out the arm's elbow would lock.

            Turned only when all the way up, so that a source's grasp ends alike, wherever its piece went next. Over
            its seat it is lifted enough.
            """
            piece, into = self.pieces[step.piece].position, self.pieces[step.into].position
            higher = OVER * self.blocked(step)
            there = (0.04 - np.hypot(*(piece - into)[:2])) / 0.02
            lifted = np.clip(max((piece[2] - step.rest - 0.02 - higher) / 0.04, there), 0, 1)
            position, rotation = at(step.clear + higher)
            return arm.lifting((position, rotation if lifted == 1 else arm.rotation), lifted)

        if not (yield from arm.pick(grasp, slope=3, hover=step.hover, thick=step.thick)):
            return False
        how: Any = {"aim": (0.006, 0.04), "drop": 0.008, "steps": 30, "thick": step.thick}
        return (yield from arm.place(over, lambda: at(-0.002), bend=0.0, lost=lambda: not self.near(step), **how))

    def easiest(self, step: Step, held: float | None = None) -> tuple[float, float]:
        """The hand's angle across the piece, and how far piece and hand then turn to where it fits.

        The nearest, and rather those far from the wrist's limits; the nearer the hand comes, the less it would choose
        others. ``held``: the angle of the hand that holds it.
        """
        yaw, into, now = self.pieces[step.piece].yaw, self.pieces[step.into].yaw, yaw_of(self.arm.rotation)
        hands = turns(yaw - np.pi / 2, step.grips, -WRIST, WRIST) if held is None else [held]
        ways = []
        for hand in hands:
            for turn in turns(into - yaw, step.fits, -np.pi, np.pi):
                if abs(hand + turn) < WRIST or held is not None:
                    ways.append((abs(hand - now) + 0.5 * abs(hand) + abs(turn) + 0.5 * abs(hand + turn), hand, turn))
        return min(ways)[1:]

    def blocked(self, step: Step) -> float:
        """1 where the third piece stands in the way."""
        start, end, other = (self.pieces[name].position[:2] for name in (step.piece, step.into, "piece_2"))
        if step.piece == "piece_2":
            return 0.0
        way = end - start
        along = np.clip((other - start) @ way / max(way @ way, 1e-9), 0, 1)
        return float(np.clip((0.19 - np.hypot(*(start + along * way - other))) / 0.03, 0, 1))

    def near(self, step: Step) -> bool:
        held = self.pieces[step.piece].position + step.grip * UP
        return bool(np.linalg.norm(self.arm.position - held) < 0.04)

    def done(self, step: Step) -> bool:
        away = self.pieces[step.piece].position - self.pieces[step.into].position
        held = self.near(step) and self.arm.width < step.thick
        return bool(np.hypot(*away[:2]) < 0.02 and away[2] < step.seat + 0.01 and not held)
