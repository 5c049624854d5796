"""Robots by name: a simulated arm by its environment, or one of your own, ``module:name``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from l1flow_agents.checks import read_as
from l1flow_agents.demonstrations.recording import GYM_TYPE, env_args_of
from l1flow_agents.envs import find_spec
from l1flow_agents.errors import ConfigError
from l1flow_agents.realtime.arm_process import ArmProcess, ArmSetup
from l1flow_agents.realtime.robot import Robot
from l1flow_agents.realtime.simulated_arm import Line


def open_robot(name: str, settings: Mapping[str, Any]) -> tuple[Robot, dict[str, Any]]:
    """The robot of that name, and robomimic's ``env_args`` for what it records.

    Args:
        name: an environment's id, or ``module:name`` of what makes a robot from ``settings``; a module may lie in the
            working directory.
        settings: of a simulated arm, those of `Line`.

    Raises:
        ConfigError: there is none, or it has no such setting. gymnasium.error.Error: no such environment.
    """
    module, _, attribute = name.partition(":")
    if attribute and "-v" not in attribute:
        sys.path.insert(0, os.getcwd())
        try:
            make = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"robot {name!r}: {error}") from None
        finally:
            sys.path.remove(os.getcwd())
        return make(**settings), {"env_name": name, "type": GYM_TYPE, "env_kwargs": dict(settings)}
    line = read_as(Line, dict(settings), name)
    with gym.make(find_spec(name), obs_type="state") as env:  # builds no simulator
        described = env_args_of(env, name)
    return ArmProcess(ArmSetup(name, line)), described
