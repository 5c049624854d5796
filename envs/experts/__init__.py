"""Experts: they solve a task through its public observations and actions, and so make demonstrations.

``expert = make_expert("Lift-v0", np.random.default_rng(0))``, then ``action = expert.act(observation)`` every step, and
``expert.reset(np.random.default_rng(1))`` before each further episode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from l1flow_agents.errors import ConfigError
from l1flow_agents.registry import Registry


class Expert(Protocol):
    """What makes demonstrations of a task; made anew, or reset, for each episode."""

    def act(self, observation: Any) -> np.ndarray:
        """The action for this observation, within the action space."""

    def reset(self, rng: np.random.Generator) -> None:
        """Forget the episode; everything random comes from ``rng``."""


OWN = {  # environment id -> module and class
    "Lift-v0": "lift:LiftExpert",
    "Can-v0": "can:CanExpert",
    "Square-v0": "square:SquareExpert",
    "Transport-v0": "transport:TransportExpert",
    "ToolHang-v0": "tool_hang:ToolHangExpert",
    **{
        f"{task}_{variant}-v0": f"mimicgen.{expert}"
        for task, variants, expert in [
            ("Square", "D0", "square:SquareExpert"),
            ("Square", "D1 D2", "square:MovedPegExpert"),
            ("Stack", "D0 D1", "stack:StackExpert"),
            ("StackThree", "D0 D1", "stack:StackThreeExpert"),
            ("ThreePieceAssembly", "D0 D1 D2", "three_piece_assembly:ThreePieceAssemblyExpert"),
            ("NutAssembly", "D0", "nut_assembly:NutAssemblyExpert"),
            ("PickPlace", "D0", "pick_place:PickPlaceExpert"),
            ("HammerCleanup", "D0 D1", "hammer_cleanup:HammerCleanupExpert"),
            ("MugCleanup", "D0 D1", "mug_cleanup:MugCleanupExpert"),
            ("Kitchen", "D0", "kitchen:KitchenExpert"),
            ("Kitchen", "D1", "kitchen:MovedKitchenExpert"),
            ("Threading", "D0 D1 D2", "needle_threading:ThreadingExpert"),
            ("Coffee", "D0 D1 D2", "coffee:CoffeeExpert"),
            ("CoffeePreparation", "D0 D1", "coffee_preparation:CoffeePreparationExpert"),
        ]
        for variant in variants.split()
    },
}

EXPERTS: Registry[Callable[[np.random.Generator], Expert]] = Registry(
    "expert", "l1flow_agents.experts", {env_id: f"{__name__}.{where}" for env_id, where in OWN.items()}
)
"""Environment id -> ``expert(rng)``; other packages add theirs."""


def make_expert(env_id: str, rng: np.random.Generator) -> Expert:
    """The expert for a registered environment id; everything random in it comes from ``rng``."""
    if env_id not in EXPERTS:
        raise ConfigError(f"no expert for {env_id!r}; there is one for {', '.join(sorted(EXPERTS))}")
    return EXPERTS[env_id](rng)
