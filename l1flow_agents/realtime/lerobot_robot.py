"""LeRobot's robots, such as an SO-101, as robots of the loop here. LeRobot is imported by whoever makes one."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import numpy as np
from gymnasium import spaces

from l1flow_agents.errors import RobotError
from l1flow_agents.realtime.limits import Limits
from l1flow_agents.realtime.robot import Reading

STATE = "state"  # the key of all that is no picture, as in data sets that LeRobot records


class LeRobotRobot:
    """A `Robot` out of a ``lerobot.robots.Robot``.

    Its ``get_observation`` waits for motors and cameras, so a thread calls it and `observe` shows what came last. What
    it measures is the observation ``state``, in the order of ``observation_features``; pictures keep their names.
    Actions are goals of the motors in the order of ``action_features``. To stand still is to be sent where it is.

    Args:
        robot: not yet connected.
        low, high: of actions, in the robot's units; LeRobot's normalised motors have -100 and 100.
        action_delay, limits: see `Robot`.

    Example, as ``my_arm.py`` for ``l1flow run my_arm:make --agent my-agent --hz 30``::

        from lerobot.robots.so101_follower import SO101Follower, SO101FollowerConfig
        from l1flow_agents.realtime.lerobot_robot import LeRobotRobot

        def make(port="/dev/ttyACM0"):
            return LeRobotRobot(SO101Follower(SO101FollowerConfig(port=port)))
    """

    def __init__(
        self,
        robot: Any,
        low: float | np.ndarray = -100.0,
        high: float | np.ndarray = 100.0,
        action_delay: float = 0.0,
        limits: Limits | None = None,
    ) -> None:
        self._robot, self.action_delay, self.limits = robot, action_delay, limits
        features = robot.observation_features
        self._measured = [name for name, kind in features.items() if not isinstance(kind, tuple)]
        self._pictures = {name: kind for name, kind in features.items() if isinstance(kind, tuple)}
        self._goals = list(robot.action_features)
        boxes: dict[str, spaces.Space] = {
            name: spaces.Box(0, 255, shape, np.uint8) for name, shape in self._pictures.items()
        }
        boxes[STATE] = spaces.Box(-np.inf, np.inf, (len(self._measured),), np.float32)
        self.observation_space = spaces.Dict(boxes)
        self.action_space = spaces.Box(
            np.broadcast_to(np.float32(low), len(self._goals)), np.broadcast_to(np.float32(high), len(self._goals))
        )
        self._reader: threading.Thread | None = None
        self._bus = threading.Lock()  # motors answer one at a time
        self._newest: Reading | None = None
        self._failure: Exception | None = None
        self._moving = False

    def connect(self) -> None:
        if not self._robot.is_connected:
            self._robot.connect()
        self._newest, self._failure, self._moving = None, None, True
        if self._reader is None or not self._reader.is_alive():
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()

    def observe(self) -> Reading | None:
        if self._failure is not None:
            raise RobotError(f"the robot: {' '.join(str(self._failure).split())}")
        return self._newest

    def act(self, action: np.ndarray) -> None:
        if not self._moving:
            return
        try:
            with self._bus:
                self._robot.send_action(dict(zip(self._goals, map(float, action), strict=True)))
        except Exception as error:  # whatever a driver raises
            raise RobotError(f"the robot: {' '.join(str(error).split())}") from error

    def stop(self) -> None:
        self._moving = False
        if self._newest is not None and self._robot.is_connected:
            here = dict(zip(self._measured, map(float, self._newest.observation[STATE]), strict=True))
            with suppress(Exception), self._bus:
                self._robot.send_action({name: here[name] for name in self._goals if name in here})

    def close(self) -> None:
        """Stop, and disconnect, which takes the motors' torque where the robot is so configured."""
        self.stop()
        self._failure = RobotError("disconnected")
        if self._robot.is_connected:
            self._robot.disconnect()

    def _read(self) -> None:
        while self._failure is None:
            try:
                begun = time.monotonic()
                with self._bus:
                    read = self._robot.get_observation()
                observation = {name: np.asarray(read[name], np.uint8) for name in self._pictures}
                observation[STATE] = np.array([read[name] for name in self._measured], np.float32)
                self._newest = Reading(observation, begun)
            except Exception as error:
                self._failure = error
            time.sleep(0.001)  # the bus is free for an action
