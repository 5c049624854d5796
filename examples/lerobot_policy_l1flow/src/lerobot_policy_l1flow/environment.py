"""An agent's own environment in LeRobot: ``lerobot-eval --env.type=l1flow --env.agent=FOLDER``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs import EnvConfig

from l1flow_agents import L1FlowAgent
from l1flow_agents.data.lerobot_columns import IMAGES, OBSERVATION
from l1flow_agents.data.normalizer import ACTION, is_image
from l1flow_agents.spaces import BARE
from lerobot_policy_l1flow.features import described, keys_of_features

# what LeRobot makes these features of
SIMULATED = {"observation.state": "agent_pos", "observation.image": "pixels"}


@EnvConfig.register_subclass("l1flow")
@dataclass
class L1FlowEnv(EnvConfig):  # type: ignore[misc]
    """The environment in which an agent was trained.

    Args:
        agent: folder, published name or Hub id.
    """

    agent: str = ""

    def __post_init__(self) -> None:
        agent = L1FlowAgent.load(self.agent, device="cpu")
        seen = {name: (one["type"], one["shape"]) for name, one in described(agent.spaces_by_key).items()}
        for name, (kind, shape) in {**seen, ACTION: ("ACTION", agent.action_space.shape)}.items():
            self.features[name], self.features_map[name] = PolicyFeature(FeatureType(kind), tuple(shape)), name
        self.task = agent.env_id

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        return {}

    def create_envs(self, n_envs: int, use_async_envs: bool = False) -> dict[str, dict[int, VectorEnv]]:
        makers = [partial(make_env, self.agent)] * n_envs
        if use_async_envs and n_envs > 1:
            envs: VectorEnv = AsyncVectorEnv(makers, context="forkserver", autoreset_mode=AutoresetMode.SAME_STEP)
        else:
            envs = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
        return {self.type: {0: envs}}


def make_env(agent: str) -> gym.Env:
    loaded = L1FlowAgent.load(agent, device="cpu")
    return AsSimulated(loaded.make_env(render_mode="rgb_array"), loaded)


class AsSimulated(gym.ObservationWrapper):
    """Observations by the names from which LeRobot makes its features of simulations'."""

    def __init__(self, env: gym.Env, agent: L1FlowAgent) -> None:
        super().__init__(env)
        self.task = self.task_description = agent.env_id  # a process of LeRobot's that lacks them dies
        self._boxes = agent.spaces_by_key
        boxes: dict[str, Any] = {}
        for feature, one in described(self._boxes).items():
            key = keys_of_features(self._boxes)[feature][0]
            box = self._boxes[key] if is_image(self._boxes[key]) else spaces.Box(-np.inf, np.inf, one["shape"])
            put(boxes, feature, box)
        self.observation_space = spaces.Dict(boxes)

    def observation(self, observation: Any) -> dict[str, Any]:
        ours = observation if isinstance(observation, dict) else {BARE: observation}
        seen: dict[str, Any] = {}
        for feature, keys in keys_of_features(self._boxes).items():
            image = is_image(self._boxes[keys[0]])
            put(seen, feature, ours[keys[0]] if image else np.concatenate([ours[key] for key in keys], axis=None))
        return seen


def put(simulated: dict[str, Any], feature: str, what: Any) -> None:
    if feature.startswith(IMAGES):
        simulated.setdefault("pixels", {})[feature.removeprefix(IMAGES)] = what
    else:
        simulated[SIMULATED.get(feature, feature.removeprefix(OBSERVATION))] = what
