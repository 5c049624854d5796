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


NAMESPACE = "l1flow/"  # before each id: the name that nobody else takes


def find_spec(env_id: str) -> EnvSpec:
    """The spec of ``Name-v0``, ``namespace/Name-v0`` or ``module:Name-v0``; nothing is built.

    A name of `ENVS` is this library's, whoever else registered it: the one of another package is
    ``that_package:Name-v0``.

    Raises:
        gymnasium.error.Error: no such environment; Gymnasium suggests the nearest. ConfigError: no such module.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"environment {env_id!r}: module {module!r} cannot be imported ({error})") from error
    if name in ENVS and module in ("", "l1flow_agents") and not is_ours(gym.registry.get(name)):
        gym.logger.warn(f"{name} was registered by another package; taken is this library's, {NAMESPACE}{name}")
        name = NAMESPACE + name
    return gym.spec(name)


def is_ours(spec: EnvSpec | None) -> bool:
    """Whether ``spec`` is one of `ENVS`, under its plain name or the namespace."""
    known = ENVS.get(spec.id.removeprefix(NAMESPACE)) if spec else None
    return spec is not None and known is not None and spec.entry_point == known[0]


def plain_id(spec: EnvSpec) -> str:
    """The id without this library's namespace: what its checkpoints, experts and configurations go by."""
    return spec.id.removeprefix(NAMESPACE) if is_ours(spec) else spec.id


def register_envs() -> None:
    """Register every id, under the namespace and, where no other package has taken it, as it is."""
    taken = []
    for env_id, (entry_point, max_episode_steps) in ENVS.items():
        for name in (NAMESPACE + env_id, env_id):
            if name not in gym.registry:
                try:
                    gym.register(name, entry_point=entry_point, max_episode_steps=max_episode_steps)
                except gym.error.RegistrationError:  # of the same name without a version
                    taken.append(env_id)
            elif not is_ours(gym.registry[name]):
                taken.append(env_id)
    if taken:
        gym.logger.warn(
            f"other packages registered {', '.join(taken)}; this library's are {NAMESPACE}{taken[0]} and so on"
        )
