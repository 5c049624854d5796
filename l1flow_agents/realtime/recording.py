"""What became of a run, and the demonstration that it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from l1flow_agents.demonstration import Demonstration
from l1flow_agents.realtime.robot import Reading


@dataclass
class Run:
    """What became of `run`."""

    hz: float
    done: bool = False
    """The robot said that the task is done."""
    stopped: str | None = None
    """Why it ended before its time, if it did."""
    seconds: float = 0.0
    ticks: int = 0
    held: int = 0
    """Ticks without an action, as no plan reached so far; the robot held its position."""
    skipped: int = 0
    """Ticks that had passed before the loop came to them."""
    plans: int = 0
    late_rows: int = 0
    """Actions of plans that were dropped, as their time had passed."""
    delays: list[int] = field(default_factory=list, repr=False)
    """Ticks from each request to its plan."""
    lateness: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)
    """(ticks,) seconds after its time at which each tick began."""
    steps: list[tuple[float, Reading, np.ndarray]] = field(default_factory=list, repr=False)
    """Time, newest reading and action of every tick with an action, if they were to be recorded."""

    def summary(self) -> dict[str, Any]:
        """Plain values."""
        late = self.lateness if len(self.lateness) else np.zeros(1)
        return {
            **{name: getattr(self, name) for name in ("hz", "done", "stopped", "ticks", "held", "skipped", "plans")},
            "late_rows": self.late_rows,
            "seconds": round(self.seconds, 3),
            "delay_ticks": round(float(np.mean(self.delays)), 2) if self.delays else None,
            "late_ms": {str(q): round(float(np.percentile(late, q)) * 1e3, 3) for q in (50, 99, 99.9, 100)},
        }

    def demonstration(self) -> Demonstration | None:
        """The ticks with an action, as a robomimic file has them; None if there are none.

        ``extra`` holds ``realtime/time``, seconds of the loop's clock, and ``realtime/age``, how old the reading was.
        """
        if not self.steps:
            return None
        times, readings, actions = zip(*self.steps, strict=True)
        ended = np.arange(len(actions)) == len(actions) - 1
        return Demonstration(
            observations={key: np.stack([one.observation[key] for one in readings]) for key in readings[0].observation},
            actions=np.stack(actions),
            states=np.zeros((len(actions), 0)),
            rewards=ended * self.done,
            dones=ended,
            extra={"realtime": {"time": np.array(times), "age": np.array(times) - [one.time for one in readings]}},
            attributes={"hz": self.hz},
        )
