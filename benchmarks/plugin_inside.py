"""What plugin.py runs with LeRobot's Python: ``plugin_inside.py FOLDER CHECKOUT``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gym_pusht  # noqa: F401  (registers its environment)
import gymnasium as gym
import numpy as np
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.envs import EnvConfig, preprocess_observation
from lerobot.policies import make_policy, make_pre_post_processors
from lerobot.robots import Robot, RobotConfig
from lerobot.scripts import lerobot_eval, lerobot_rollout
from lerobot.utils.import_utils import register_third_party_plugins

PACKAGES = ("lerobot", "torch", "numpy", "gymnasium", "gym-pusht")
SEED = 50000
EPISODES, FRAMES, HZ = 2, 15, 10


def main() -> None:
    folder = Path(sys.argv[1])
    sys.path[:0] = [str(folder / "site"), sys.argv[2]]
    register_third_party_plugins()
    agents = {path.stem: by_factory(folder, path.stem) for path in sorted(folder.glob("*.npz"))}
    commands = {
        "lerobot-eval --env.type=pusht": by_eval(
            folder, "pusht-image", ["--env.type=pusht"], lerobots_pusht, as_our_pusht
        ),
        "lerobot-eval --env.type=l1flow": by_eval(
            folder,
            "pusht-state",
            ["--env.type=l1flow", f"--env.agent={folder / 'pusht-state'}"],
            lambda agent: agent.make_env(),
            lambda seen: seen,
        ),
        "lerobot-rollout": by_rollout(folder),
        "lerobot-rollout --inference.type=rtc": by_rollout_in_real_time(folder),
    }
    found = {"versions": {name: version(name) for name in PACKAGES}, "agents": agents, "commands": commands}
    (folder / "found.json").write_text(json.dumps({**found, "refused": refusals(folder)}))


# ---- LeRobot's factory ----------------------------------------------------------------------------------------------


@EnvConfig.register_subclass("of_features")
@dataclass
class OfFeatures(EnvConfig):  # type: ignore[misc]
    """An environment of which LeRobot knows the features alone."""

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        return {}


def made(path: Path) -> tuple[Any, Any, Any]:
    """Policy and processors of a folder, as LeRobot's commands make them."""
    config = PreTrainedConfig.from_pretrained(path)
    config.pretrained_path = path
    features = {**config.input_features, **config.output_features}
    policy = make_policy(config, env_cfg=OfFeatures(features=features, features_map={name: name for name in features}))
    overrides = {"device_processor": {"device": config.device}, "rename_observations_processor": {"rename_map": {}}}
    return policy, *make_pre_post_processors(config, str(path), preprocessor_overrides=overrides)


def by_factory(folder: Path, name: str) -> dict[str, Any]:
    """The policy's actions, on observations that go LeRobot's whole way, and the agent's own."""
    from l1flow_agents import L1FlowAgent

    policy, before, after = made(folder / name)
    agent, recorded = L1FlowAgent.load(folder / name, device="cpu"), np.load(folder / f"{name}.npz")
    steps = [{key: recorded[key][step] for key in recorded.files} for step in range(len(recorded[recorded.files[0]]))]
    policy.reset()
    torch.manual_seed(0)
    theirs = np.stack([after(policy.select_action(before(as_lerobot(step)))).numpy() for step in steps])
    torch.manual_seed(0)
    ours, state = [], None
    for step in steps:
        action, state = agent.predict(step, state)
        ours.append(action)
    torch.manual_seed(0)
    chunk = policy.predict_action_chunk(before(as_lerobot(steps[0]))).numpy()
    torch.manual_seed(0)
    equal = np.array_equal(theirs, np.stack(ours)) and np.array_equal(chunk, agent.predict_chunk(steps[0]))
    np.save(folder / f"{name}-actions.npy", theirs)
    features = {key: list(feature.shape) for key, feature in policy.config.input_features.items()}
    return {"features": features, "actions": theirs.size, "of_chunks": chunk.size, "equal": equal}


def as_lerobot(observation: dict[str, np.ndarray]) -> dict[str, Any]:
    """As a simulation of LeRobot's shows it: one vector of numbers, and pictures."""
    pictures = [array for array in observation.values() if array.ndim == 4]
    numbers = np.concatenate([observation[key] for key in sorted(observation) if observation[key].ndim == 2], axis=1)
    seen = preprocess_observation({"agent_pos": numbers, **({"pixels": pictures[0]} if pictures else {})})
    return {**seen, "task": ["go"] * len(numbers)}


# ---- LeRobot's commands ---------------------------------------------------------------------------------------------


@contextmanager
def command_line(*arguments: str) -> Iterator[None]:
    before, sys.argv = sys.argv, list(arguments)
    try:
        yield
    finally:
        sys.argv = before


def by_eval(
    folder: Path, name: str, options: list[str], env_of: Callable[[Any], gym.Env], shown: Callable[[Any], Any]
) -> dict[str, Any]:
    """One episode by ``lerobot-eval``, and the same by the agent alone, ``shown`` the environment's observations."""
    from l1flow_agents import L1FlowAgent

    path, output = folder / name, folder / f"eval-{name}"
    options = [*options, "--eval.n_episodes=1", "--eval.batch_size=1", f"--seed={SEED}", f"--output_dir={output}"]
    with command_line("lerobot-eval", f"--policy.path={path}", *options):
        lerobot_eval.main()
    told = json.loads((output / "eval_info.json").read_text())["overall"]
    agent = L1FlowAgent.load(path, device="cpu")
    env = env_of(agent)
    torch.manual_seed(SEED)
    (seen, _), state, rewards, over = env.reset(seed=SEED), None, [], False
    while not over:
        action, state = agent.predict(shown(seen), state)
        seen, reward, terminated, truncated, _ = env.step(action)
        rewards.append(float(reward))
        over = terminated or truncated
    equal = np.isclose(told["avg_sum_reward"], sum(rewards), rtol=1e-6) and told["avg_max_reward"] == max(rewards)
    return {"seed": SEED, "steps": len(rewards), "largest_reward": max(rewards), "equal": bool(equal)}


def lerobots_pusht(_: Any) -> gym.Env:
    return gym.make("gym_pusht/PushT-v0", obs_type="pixels_agent_pos", max_episode_steps=300)


def as_our_pusht(seen: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"image": seen["pixels"], "agent_pos": seen["agent_pos"].astype(np.float32)}


@RobotConfig.register_subclass("toy_arm")
@dataclass(kw_only=True)
class ToyArmConfig(RobotConfig):  # type: ignore[misc]
    pass


class ToyArm(Robot):  # type: ignore[misc]
    """Two joints that go a third of the way to their goals in a step, and a camera that shows where they are."""

    config_class, name = ToyArmConfig, "toy_arm"
    is_connected, is_calibrated = False, True
    observation_features = {"a.pos": float, "b.pos": float, "top": (48, 64, 3)}
    action_features = {"a.pos": float, "b.pos": float}

    def connect(self, calibrate: bool = True) -> None:
        self.is_connected, self._joints = True, np.zeros(2)

    def calibrate(self) -> None:
        pass

    def configure(self) -> None:
        pass

    def get_observation(self) -> dict[str, Any]:
        row, column = (24 + self._joints * (0.2, 0.3)).astype(int).tolist()
        picture = np.full((48, 64, 3), (40, 90, 160), np.uint8)
        picture[row : row + 4, column : column + 4] = 230, 60, 10
        return {"a.pos": self._joints[0], "b.pos": self._joints[1], "top": picture}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        self._joints += (np.array([action["a.pos"], action["b.pos"]]) - self._joints) / 3
        return action

    def disconnect(self) -> None:
        self.is_connected = False


def recorded_by_rollout(folder: Path, inference: str) -> Any:
    """What ``lerobot-rollout`` records of the arm, as `Episodes`."""
    from l1flow_agents.data import open_dataset

    root = folder / f"recorded-{inference}"
    dataset = {"repo_id": "local/rollout_arm", "root": root, "fps": HZ, "single_task": "go"}
    dataset |= {"video": "false", "push_to_hub": "false", "reset_time_s": 0.1}
    dataset |= {"num_episodes": EPISODES, "episode_time_s": FRAMES / HZ}
    options = [f"--policy.path={folder / 'arm'}", "--robot.type=toy_arm", f"--robot.calibration_dir={folder / 'none'}"]
    options += [f"--fps={HZ}", "--strategy.type=episodic", "--play_sounds=false", f"--inference.type={inference}"]
    torch.manual_seed(SEED)
    with command_line("lerobot-rollout", *options, *(f"--dataset.{name}={one}" for name, one in dataset.items())):
        lerobot_rollout.main()
    return open_dataset(root)


def by_rollout(folder: Path) -> dict[str, Any]:
    """What ``lerobot-rollout`` records of a robot, and what the agent does on the recorded observations."""
    from l1flow_agents import L1FlowAgent

    recorded, agent = recorded_by_rollout(folder, "sync"), L1FlowAgent.load(folder / "arm", device="cpu")
    torch.manual_seed(SEED)
    equal, begin = True, 0
    for end in recorded.ends:
        state = None
        for step in range(begin, end):
            seen = {key: np.asarray(array[step : step + 1]) for key, array in recorded.observations.items()}
            action, state = agent.predict(seen, state)
            equal &= np.array_equal(action[0], recorded.actions[step])
        begin = end
    return {"episodes": len(recorded), "steps": recorded.n_steps, "equal": equal}


def by_rollout_in_real_time(folder: Path) -> dict[str, Any]:
    """Plans made in another thread while the arm moves; each action is to be a row of one."""
    from lerobot_policy_l1flow.modeling_l1flow import L1FlowPolicy

    rows: set[bytes] = set()
    plans = {"first": 0, "continued": 0}
    alone = L1FlowPolicy.predict_action_chunk

    def told(policy: Any, batch: Any, inference_delay: int = 0, prev_chunk_left_over: Any = None) -> Any:
        plan = alone(policy, batch, inference_delay, prev_chunk_left_over)
        rows.update(row.tobytes() for row in plan[0].numpy())
        plans["first" if prev_chunk_left_over is None else "continued"] += 1
        return plan

    with patch.object(L1FlowPolicy, "predict_action_chunk", told):
        recorded = recorded_by_rollout(folder, "rtc")
    equal = all(action.tobytes() in rows for action in recorded.actions)
    return {"episodes": len(recorded), "steps": recorded.n_steps, "plans": plans, "equal": equal}


# ---- what it does not do --------------------------------------------------------------------------------------------


def refusals(folder: Path) -> dict[str, str]:
    """The lines that LeRobot's users read where the plug-in says no."""
    policy, before, _ = made(folder / "lift-state")
    config = policy.config
    config.pretrained_path = None
    tried = {
        "new policy": lambda: type(policy)(config),
        "training": lambda: policy.forward({}),
        "optimizer": config.get_optimizer_preset,
        "no such feature": lambda: policy.select_action(before({"observation.effort": torch.zeros(1, 2)})),
    }
    lines = {}
    for name, action in tried.items():
        try:
            action()
        except ValueError as error:
            lines[name] = str(error)
    return lines


if __name__ == "__main__":
    main()
