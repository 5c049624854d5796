"""What all experts share: an arm that moves to poses by public actions, and plans written as generators of actions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from typing import ClassVar, NamedTuple, TypeVar

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.layouts import Layout
from l1flow_agents.rotations import POSITION_SCALE, ROTATION_SCALE

OPEN, CLOSED = -1.0, 1.0
UP = np.array([0.0, 0.0, 1.0])
CLOSING, RISE = 0.015, 0.03  # metres of the fingers' way in which a closing hand begins to rise, and how fast
LETTING_GO, LEFT = 0.4, 0.03  # part of the episode's speed, and metres up with it
CAUGHT = 0.009  # metres from where they hold it, fingers begin to close: the hand still moves then
HELD = 0.03  # metres: an object that the fingers stand on is so near to where they would have been put
DEEP = 0.04  # metres below where things are let go: a hand that slows down there would hardly get to it
CARRIED = 300  # steps at most from picking up to letting go
GAIN = 1.5  # actions are relative to where the arm is, so a gain above 1 hurries without overshoot
DOWN = Rotation.from_euler("x", np.pi)  # a hand that points down; its fingers open along y, the palm's width is x

T = TypeVar("T")
Pose = tuple[np.ndarray, Rotation]
Plan = Generator[np.ndarray, None, bool]  # yields actions, returns whether it got where it wanted


def downward(yaw: float) -> Rotation:
    """The hand pointing down, turned by ``yaw`` about the vertical."""
    return Rotation.from_euler("z", yaw) * DOWN


def yaw_of(rotation: Rotation) -> float:
    """Angle of a body's x axis about the vertical."""
    x_axis = rotation.apply([1.0, 0.0, 0.0])
    return float(np.arctan2(x_axis[1], x_axis[0]))


def turns(yaw: float, period: float, low: float, high: float) -> np.ndarray:
    """The angles equal to ``yaw`` up to whole periods that lie in [low, high], nearest to 0 first."""
    first = yaw + period * np.ceil((low - yaw) / period)
    angles = np.arange(first, high + 1e-9, period)
    return angles[np.argsort(np.abs(angles))]


class Body(NamedTuple):
    """An object's pose."""

    position: np.ndarray
    rotation: Rotation

    @property
    def yaw(self) -> float:
        return yaw_of(self.rotation)


def body_of(objects: dict[str, np.ndarray], name: str) -> Body:
    """An object in `WaypointExpert.see`'s parts."""
    return Body(objects[f"{name}_pos"], Rotation.from_quat(objects[f"{name}_quat"]))


class Arm:
    """One arm as the observation shows it, and its proportional controller.

    ``speed`` is the largest position action of this episode; ``noise`` the scale of a slow hand tremor.
    """

    def __init__(self, name: str, rng: np.random.Generator, speed: float, noise: float) -> None:
        self.name, self.rng, self.speed, self.noise = name, rng, speed, noise
        self._tremor = np.zeros(6)

    def see(self, observation: dict[str, np.ndarray]) -> None:
        self.position = np.asarray(observation[f"{self.name}_eef_pos"], float)
        self.rotation = Rotation.from_quat(observation[f"{self.name}_eef_quat"])
        fingers = observation[f"{self.name}_gripper_qpos"]
        self.width = float(fingers[0] - fingers[1])  # metres between the fingers

    def action(self, goal: Pose, gripper: float, speed: float = 1.0, bend: float = 0.0) -> np.ndarray:
        """One step towards ``goal``. ``bend`` turns the horizontal heading, for an arc that ends at the goal."""
        error = goal[0] - self.position
        # far off only: near the goal an arc would be a spiral
        angle = bend * np.clip((np.hypot(*error[:2]) - 0.03) / 0.05, 0, 1)
        error[:2] = np.cos(angle) * error[:2] + np.sin(angle) * np.array([-error[1], error[0]])
        move = GAIN * error / POSITION_SCALE
        # apart, so that a long way does not starve the climb at its beginning
        move = np.concatenate([limit(part, speed * self.speed) for part in (move[:2], move[2:])])
        turn = limit(GAIN * (goal[1] * self.rotation.inv()).as_rotvec() / ROTATION_SCALE, speed * self.speed)
        self._tremor = 0.8 * self._tremor + 0.6 * self.rng.normal(size=6) * ([self.noise] * 3 + [self.noise / 2] * 3)
        # the tremor fades where the hand slows down, as a person's does
        steady = min(1.0, 0.2 + float(np.linalg.norm(move)))
        return np.clip([*np.concatenate([move, turn]) + steady * self._tremor, gripper], -1, 1).astype(np.float32)

    def move(
        self,
        goal: Callable[[], Pose],
        gripper: float,
        *,
        speed: float = 1.0,
        bend: float = 0.0,
        tolerance: float = 0.01,
        turn_tolerance: float = 0.15,
        steps: int = 200,
        patience: int = 30,
        lost: Callable[[], bool] = lambda: False,
    ) -> Plan:
        """Go to ``goal()``, asked anew every step.

        False when ``lost()``, after ``patience`` steps close to the goal but not there, or after ``steps`` in all.
        """
        close = 0
        for _ in range(steps):
            pose = goal()
            distance, angle = self.error(pose)
            if distance < tolerance and angle < turn_tolerance:
                return True
            close += distance < tolerance + 0.02
            if lost() or close > patience:
                return False
            yield self.action(pose, gripper, speed, bend)
        return False

    def pick(
        self,
        goal: Callable[[], Pose],
        *,
        slope: float,
        hover: float,
        bend: float = 0.0,
        steps: int = 200,
        thick: float = 0.0,
    ) -> Plan:
        """Come down on ``goal()`` through a funnel, so that fingers pass beside the object, and close them.

        Below the funnel it rises before it moves sideways, from beside what it let go, for one.

        With ``thick``, a little more than the fingers' width on the object, the hand never stands still (see `close`),
        and what it already holds is not let go.
        """

        def above() -> Pose:
            position, rotation = goal()
            height = np.clip(slope * (self.astray((position, rotation)) - 0.01), 0, hover)
            too_low = position[2] + height - self.position[2]
            return self.lifting((position + height * UP, rotation), np.clip(1 - too_low / RISE, 0, 1))

        if thick and self.around(thick) and self.error(goal())[0] < HELD:
            return True
        if not (yield from self.move(above, OPEN, bend=bend, tolerance=CAUGHT, turn_tolerance=0.12, steps=steps)):
            # a finger stands on something: up, and again
            yield from self.rise(0.06, OPEN)
            return False
        return (yield from (self.close(goal, thick) if thick else self.grip(CLOSED)))

    def place(
        self,
        over: Callable[[], Pose],
        into: Callable[[], Pose],
        *,
        bend: float,
        aim: tuple[float, float],
        drop: float,
        steps: int,
        lost: Callable[[], bool],
        opened: float = 0.0,
        thick: float = 0.0,
    ) -> Plan:
        """Carry what is held to ``over()``, let it down to ``into()``, let go, and rise.

        It comes down where it is right to ``aim``, metres sideways and radians, and up again where it is not, to the
        full height at twice as much. So each action follows from where it is, not from what was done before. Given up
        after ``steps`` on the way down.

        Args:
            drop: metres above ``into()`` at which it is let go.
            opened: the hand stays until the fingers are that much wider: they start late, and a pupil who sees neither
                their target nor that they moved would take the rising hand for one that still carries.
            thick: instead, the hand goes on to ``into()`` while they open, and rises when they are wider than that.
        """
        down = 0
        for _ in range(CARRIED):
            low = into()
            x, y, height = self.position - low[0]
            high = np.clip(max(float(np.hypot(x, y)) / aim[0], self.error(low)[1] / aim[1]) - 1, 0, 1)
            if high < 1 and height < drop:
                break
            down += high < 1
            if lost() or down > steps:
                return False
            position, rotation = over()
            goal = low[0] - DEEP * UP
            yield self.action((goal + high * (position - goal), rotation), CLOSED, bend=bend if high == 1 else 0.0)
        else:
            return False
        if thick:
            return (yield from self.let_go(into, thick))
        held = self.width
        yield from self.grip(OPEN)
        if opened:
            yield from self.wait(lambda: self.width > held + opened, OPEN, steps=15)
        return (yield from self.rise(0.1, OPEN))

    def grip(self, gripper: float, steps: int = 12) -> Plan:
        """Hold still and open or close until the fingers stand still."""
        pose, still = (self.position, self.rotation), 0
        for step in range(steps):
            before = self.width
            yield self.action(pose, gripper)
            still = still + 1 if step and abs(self.width - before) < 0.001 else 0
            if still == 2:
                break
        return True

    def close(self, goal: Callable[[], Pose], thick: float, steps: int = 20) -> Plan:
        """Close the fingers on something ``thick`` metres thick without a pause.

        The hand still comes to ``goal()`` at first and rises the faster the nearer the fingers are. So each action
        follows from one observation, and a pupil who is shown only the newest knows when to rise.
        """
        for _ in range(steps):
            closed = self.closed(thick)
            if closed == 1:
                break
            position, rotation = goal()
            yield self.action((position + closed * RISE * UP, rotation), CLOSED)
        return True

    def let_go(self, goal: Callable[[], Pose], thick: float, steps: int = 20) -> Plan:
        """Open the fingers, still on the way to ``goal()``, and begin to rise when they are wider than ``thick``.

        Slowly: an episode ends soon after, and what a pupil sees for a step or two it does not learn. Only a little:
        whatever comes next rises first, and where this one would end no observation shows.
        """
        for _ in range(steps):
            if self.width > thick:
                break
            yield self.action(goal(), OPEN, speed=LETTING_GO)
        return (yield from self.rise(LEFT, OPEN, speed=LETTING_GO))

    def wait(self, until: Callable[[], bool], gripper: float, steps: int = 400) -> Plan:
        """Hold still for another arm; False when that took all ``steps``."""
        pose = (self.position, self.rotation)
        for _ in range(steps):
            if until():
                return True
            yield self.action(pose, gripper)
        return False

    def carry(self, held: Pose, to: Pose) -> Pose:
        """Where the hand must be for the held object to be at ``to``, by how it lies in the hand just now."""
        turn = to[1] * held[1].inv()
        return to[0] + turn.apply(self.position - held[0]), turn * self.rotation

    def lifting(self, goal: Pose, lifted: float) -> Pose:
        """On the way to ``goal``: up at once, sideways only by the part ``lifted`` of 1."""
        return self.position + (goal[0] - self.position) * [lifted, lifted, 1], goal[1]

    def rise(self, height: float, gripper: float, speed: float = 1.0) -> Plan:
        top, rotation = self.position + height * UP, self.rotation
        return (yield from self.move(lambda: (top, rotation), gripper, speed=speed, tolerance=0.02))

    def astray(self, pose: Pose) -> float:
        """Metres sideways from ``pose``, a radian counted as 5 cm: what a funnel's height depends on."""
        return float(np.hypot(*(pose[0] - self.position)[:2]) + 0.05 * self.error(pose)[1])

    def closed(self, thick: float) -> float:
        """How far the fingers have come to what is ``thick`` metres thick: 0 while it is farther, 1 on it."""
        return float(np.clip(1 - (self.width - thick) / CLOSING, 0, 1))

    def around(self, thick: float) -> bool:
        """Whether the fingers stand as they do on what is a little less than ``thick`` metres thick."""
        return thick / 2 < self.width < thick

    def error(self, pose: Pose) -> tuple[float, float]:
        """Metres and radians from here to ``pose``."""
        return float(np.linalg.norm(pose[0] - self.position)), float((pose[1] * self.rotation.inv()).magnitude())


class WaypointExpert(ABC):
    """Acts in one task. A task's class says in `see` what it looks at and in `plan` what an arm does.

    Plans read the newest observation at every step, and start again when the object slipped away. What makes one
    episode unlike the next (speed, grasp, way round) is drawn in `draw`, once an episode.
    """

    layout: ClassVar[Layout]  # of the observation ``object``
    extras: ClassVar[Layout] = Layout()  # what it may show after that
    arm_names: tuple[str, ...] = ("robot0",)
    speeds = (0.4, 0.8)  # an episode's largest position action is drawn from this range
    noise = 0.1

    def __init__(self, rng: np.random.Generator) -> None:
        self.reset(rng)

    def reset(self, rng: np.random.Generator) -> None:
        """Start an episode in another manner, drawn from ``rng``."""
        self.rng = rng
        speed = rng.uniform(*self.speeds)
        self.arms = [Arm(name, rng, speed, self.noise) for name in self.arm_names]
        self.arm = self.arms[0]
        self._plans: list[Generator[np.ndarray, None, None]] | None = None

    def act(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        """The action for this observation, float32 within [-1, 1]."""
        for arm in self.arms:
            arm.see(observation)
        objects = np.asarray(observation["object"], float)
        self.see((self.layout if len(objects) == self.layout.dim else self.layout | self.extras).split(objects))
        if self._plans is None:  # the first observation of the episode is what the manner may depend on
            self.draw()
            self._plans = [forever(self.plan, arm) for arm in self.arms]
        return np.concatenate([next(plan) for plan in self._plans])

    @abstractmethod
    def see(self, objects: dict[str, np.ndarray]) -> None:
        """Keep what the parts of the observation ``object`` show; called before every action."""

    def draw(self) -> None:  # noqa: B027  not every manner is more than the speed
        """Draw what makes this episode unlike the next; the first observation has been seen."""

    @abstractmethod
    def plan(self, arm: Arm) -> Plan:
        """One round of what ``arm`` does; the next one follows when it ends."""


def forever(plan: Callable[[Arm], Plan], arm: Arm) -> Generator[np.ndarray, None, None]:
    """A plan tried again and again; a round that finds nothing to do waits a step."""
    while True:
        idle = True
        for action in plan(arm):
            idle = False
            yield action
        if idle:
            yield arm.action((arm.position, arm.rotation), OPEN)


def limit(vector: np.ndarray, length: float) -> np.ndarray:
    """The vector, shortened to ``length`` if it is longer."""
    return vector * min(1.0, length / max(float(np.linalg.norm(vector)), 1e-9))


def choose(rng: np.random.Generator, options: Sequence[T], first: float) -> T:
    """The first option with probability ``first``, else one of the others."""
    return options[0 if len(options) == 1 or rng.random() < first else rng.integers(1, len(options))]
