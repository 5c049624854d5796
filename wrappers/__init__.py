"""Plain ``gymnasium.Wrapper`` classes, one file each, usable with any environment."""

import gymnasium as gym

from l1flow_agents.registry import Registry
from l1flow_agents.wrappers.action_chunk import ActionChunk
from l1flow_agents.wrappers.flatten_state import FlattenState
from l1flow_agents.wrappers.image_observation import ImageObservation
from l1flow_agents.wrappers.observation_history import ObservationHistory
from l1flow_agents.wrappers.record_rollouts import RecordRollouts
from l1flow_agents.wrappers.record_video_by_outcome import RecordVideoByOutcome
from l1flow_agents.wrappers.rotation_6d_action import Rotation6dAction
from l1flow_agents.wrappers.state_observation import StateObservation

WRAPPERS: Registry[type[gym.Wrapper]] = Registry("wrapper", "l1flow_agents.wrappers", {}, gym.Wrapper)
"""Those of other packages, by the class's name: what is registered here, a checkpoint may ask for, as for our own."""

__all__ = [
    "WRAPPERS",
    "ActionChunk",
    "FlattenState",
    "ImageObservation",
    "ObservationHistory",
    "RecordRollouts",
    "RecordVideoByOutcome",
    "Rotation6dAction",
    "StateObservation",
]
