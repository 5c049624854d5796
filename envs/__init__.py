"""Gymnasium environments, registered when ``l1flow_agents`` is imported. One file a task family."""

from __future__ import annotations

import gymnasium as gym

# id -> (entry point, step limit). Strings only: no simulator is imported before `make`.
ENVS = {
    "PushT-v0": ("l1flow_agents.envs.pusht:PushT", 300),
}


def register_envs() -> None:
    """Register every id that is not registered yet."""
    for env_id, (entry_point, max_episode_steps) in ENVS.items():
        if env_id not in gym.registry:
            gym.register(env_id, entry_point=entry_point, max_episode_steps=max_episode_steps)
