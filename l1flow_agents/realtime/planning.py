"""Plans by an agent in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from l1flow_agents.acting import Actor
from l1flow_agents.errors import ObservationError
from l1flow_agents.realtime.robot import Clock
from l1flow_agents.realtime.wire import Request, Spec


def spec_of(agent: Actor) -> Spec:
    """What plans of an agent are made from."""
    shapes = {key: (box.shape, str(box.dtype)) for key, box in agent.spaces_by_key.items()}
    n_rows = agent.horizon - agent.n_obs_steps + 1
    (dim,) = agent.action_space.shape
    return Spec(shapes, agent.n_obs_steps, agent.n_action_steps, n_rows, dim, agent.policy.method.continues)


def plan(agent: Actor, request: Request) -> np.ndarray:
    """The plan (n_rows, action_dim) float32 that an agent makes.

    Raises:
        ObservationError: the plan holds what is no number.
    """
    history: Mapping[str, np.ndarray] = {key: past[None] for key, past in request.history.items()}
    noise = agent.noise(np.array([request.seed]), np.array([request.number]))
    settled = (request.actions[None], request.weights[None]) if request.weights.any() else None
    made: np.ndarray = agent.plan(history, noise, settled)[0].astype(np.float32, copy=False)
    if not np.isfinite(made).all():
        raise ObservationError("the plan is not finite: the observations lie too far from all that was learned")
    return made


@dataclass
class DelayedPlanner:
    """Plans here, and shows each plan ``delay`` seconds after it was begun: for a clock that is no machine's.

    Args:
        agent: who plans.
        delay: of the next plan, on ``clock``.
    """

    agent: Actor
    clock: Clock
    delay: Callable[[], float]

    def __post_init__(self) -> None:
        self.spec = spec_of(self.agent)
        self._begun: tuple[float, np.ndarray] | None = None

    def submit(self, request: Request) -> None:
        self._begun = self.clock.now() + self.delay(), plan(self.agent, request)

    def poll(self) -> np.ndarray | None:
        if self._begun is None or self.clock.now() < self._begun[0]:
            return None
        _, made = self._begun
        self._begun = None
        return made


def warm_up(agent: Actor, plans: int = 60) -> None:
    """Plans before the first that counts: torch's own preparations, and the network's trace."""
    history = {key: np.zeros((1, agent.n_obs_steps, *box.shape), box.dtype) for key, box in agent.spaces_by_key.items()}
    noise = agent.noise(np.zeros(1, np.int64), np.zeros(1, np.int64))
    begin = time.monotonic()
    for _ in range(plans):
        agent.plan(history, noise)
        if time.monotonic() - begin > 5:
            return
