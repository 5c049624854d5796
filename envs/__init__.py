"""Gymnasium environments, registered when ``l1flow_agents`` is imported. One file a task family."""

from __future__ import annotations

import importlib

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from l1flow_agents.errors import ConfigError

# id -> (entry point, step limit). Strings only: no simulator is imported before `make`.
ENVS = {
    "PushT-v0": ("l1flow_agents.envs.pusht:PushT", 300),
    "Lift-v0": ("l1flow_agents.envs.robosuite_tasks:Lift", 400),
    "Can-v0": ("l1flow_agents.envs.robosuite_tasks:Can", 400),
    "Square-v0": ("l1flow_agents.envs.robosuite_tasks:Square", 400),
    "Transport-v0": ("l1flow_agents.envs.robosuite_tasks:Transport", 700),
    "ToolHang-v0": ("l1flow_agents.envs.robosuite_tasks:ToolHang", 700),
    "Stack_D0-v0": ("l1flow_agents.envs.mimicgen.stack:Stack_D0", 400),
    "Stack_D1-v0": ("l1flow_agents.envs.mimicgen.stack:Stack_D1", 400),
    "StackThree_D0-v0": ("l1flow_agents.envs.mimicgen.stack_three:StackThree_D0", 400),
    "StackThree_D1-v0": ("l1flow_agents.envs.mimicgen.stack_three:StackThree_D1", 400),
    "Square_D0-v0": ("l1flow_agents.envs.mimicgen.square:Square_D0", 400),
    "Square_D1-v0": ("l1flow_agents.envs.mimicgen.square:Square_D1", 400),
    "Square_D2-v0": ("l1flow_agents.envs.mimicgen.square:Square_D2", 400),
    "Threading_D0-v0": ("l1flow_agents.envs.mimicgen.needle_threading:Threading_D0", 400),
    "Threading_D1-v0": ("l1flow_agents.envs.mimicgen.needle_threading:Threading_D1", 400),
    "Threading_D2-v0": ("l1flow_agents.envs.mimicgen.needle_threading:Threading_D2", 400),
    "ThreePieceAssembly_D0-v0": ("l1flow_agents.envs.mimicgen.three_piece_assembly:ThreePieceAssembly_D0", 500),
    "ThreePieceAssembly_D1-v0": ("l1flow_agents.envs.mimicgen.three_piece_assembly:ThreePieceAssembly_D1", 500),
    "ThreePieceAssembly_D2-v0": ("l1flow_agents.envs.mimicgen.three_piece_assembly:ThreePieceAssembly_D2", 500),
    "Coffee_D0-v0": ("l1flow_agents.envs.mimicgen.coffee:Coffee_D0", 400),
    "Coffee_D1-v0": ("l1flow_agents.envs.mimicgen.coffee:Coffee_D1", 400),
    "Coffee_D2-v0": ("l1flow_agents.envs.mimicgen.coffee:Coffee_D2", 400),
    "HammerCleanup_D0-v0": ("l1flow_agents.envs.mimicgen.hammer_cleanup:HammerCleanup_D0", 500),
    "HammerCleanup_D1-v0": ("l1flow_agents.envs.mimicgen.hammer_cleanup:HammerCleanup_D1", 500),
    "MugCleanup_D0-v0": ("l1flow_agents.envs.mimicgen.mug_cleanup:MugCleanup_D0", 500),
    "MugCleanup_D1-v0": ("l1flow_agents.envs.mimicgen.mug_cleanup:MugCleanup_D1", 500),
    "NutAssembly_D0-v0": ("l1flow_agents.envs.mimicgen.nut_assembly:NutAssembly_D0", 500),
    "PickPlace_D0-v0": ("l1flow_agents.envs.mimicgen.pick_place:PickPlace_D0", 1000),
    "CoffeePreparation_D0-v0": ("l1flow_agents.envs.mimicgen.coffee_preparation:CoffeePreparation_D0", 800),
    "CoffeePreparation_D1-v0": ("l1flow_agents.envs.mimicgen.coffee_preparation:CoffeePreparation_D1", 800),
    "Kitchen_D0-v0": ("l1flow_agents.envs.mimicgen.kitchen:Kitchen_D0", 800),
    "Kitchen_D1-v0": ("l1flow_agents.envs.mimicgen.kitchen:Kitchen_D1", 800),
}


def find_spec(env_id: str) -> EnvSpec:
    """The spec of ``Name-v0`` or ``module:Name-v0``; nothing is built.

    Raises:
        gymnasium.error.Error: no such environment; Gymnasium suggests the nearest. ConfigError: no such module.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(f"environment {env_id!r}: module {module!r} cannot be imported ({error})") from error
    return gym.spec(name)


def register_envs() -> None:
    """Register every id that is not registered yet."""
    for env_id, (entry_point, max_episode_steps) in ENVS.items():
        if env_id not in gym.registry:
            gym.register(env_id, entry_point=entry_point, max_episode_steps=max_episode_steps)
