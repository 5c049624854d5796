"""What every environment of this library promises, checked on PushT."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import warnings
from pathlib import Path
from textwrap import dedent

import cv2
import gymnasium as gym
import numpy as np
import pytest
import zarr
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common import env_checker as sb3

import l1flow_agents  # noqa: F401  (registers the environments)
from l1flow_agents.data import read_replay_zarr
from l1flow_agents.envs.pusht import PushT, shrink
from l1flow_agents.errors import ConfigError

OBS_TYPES = ("image", "state", "image_state")
# gym-pusht adds up the two parts of the block in the order of a set, so that rewards differ in their last bit.
ROUNDING = 1e-12
CORNERS = np.array([[0, 0], [0, 512], [512, 0], [512, 512]], np.float32)


def push_t(obs_type: str = "state", **kwargs) -> gym.Env:
    return gym.make("PushT-v0", obs_type=obs_type, **kwargs)


def rollout(env: gym.Env, seed: int, n_steps: int = 12):
    """Observations, rewards and infos of an episode with actions that depend on the seed alone."""
    actions = np.random.default_rng(seed).uniform(0, 512, (n_steps, 2)).astype(np.float32)
    observation, info = env.reset(seed=seed)
    observations, rewards, infos = [observation], [], [info]
    for action in actions:
        observation, reward, _, _, info = env.step(action)
        observations.append(observation)
        rewards.append(reward)
        infos.append(info)
    return observations, rewards, infos


def assert_same(one, other):
    assert one[1] == pytest.approx(other[1], abs=ROUNDING)
    for left, right in zip(one[0], other[0], strict=True):
        assert left.keys() == right.keys()
        for key in left:
            np.testing.assert_array_equal(left[key], right[key])


# ---- Gymnasium's and stable-baselines3's rules --------------------------------------------------------------------


@pytest.mark.parametrize("obs_type", OBS_TYPES)
def test_checkers_are_silent(obs_type):
    env = push_t(obs_type)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Both recommend actions in [-1, 1]; PushT's are pixels, as in the data set and the literature.
        warnings.filterwarnings("ignore", message=".*(symmetric and normalized|action space.*-1).*")
        check_env(env.unwrapped, skip_render_check=False)
        sb3.check_env(env)


@pytest.mark.parametrize("obs_type", OBS_TYPES)
def test_spec_survives_json(obs_type):
    env = push_t(obs_type, render_mode="rgb_array")
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert str(again) == str(env)
    assert again.observation_space == env.observation_space
    assert_same(rollout(env, 3, 2), rollout(again, 3, 2))


def test_made_by_module_and_id_alone():
    script = "import gymnasium; print(gymnasium.make('l1flow_agents:PushT-v0', obs_type='state').spec.id)"
    assert python(script).strip() == "PushT-v0"


def test_unknown_id_suggests_the_nearest():
    with pytest.raises(gym.error.NameNotFound, match="PushT"):
        gym.make("PushTT-v0")


@pytest.mark.parametrize("name, value", [("obs_type", "pixels"), ("render_mode", "human")])
def test_unknown_setting(name, value):
    with pytest.raises(ConfigError, match=f"{name} must be.*got '{value}'"):
        PushT(**{name: value})


def test_render():
    assert push_t().unwrapped.render() is None
    env = push_t(render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert (picture.shape, picture.dtype) == ((512, 512, 3), np.uint8)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) >= 4  # ground, mark, block and finger


# ---- one seed, one episode ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("obs_type", OBS_TYPES)
def test_seed_alone_decides_the_episode(obs_type):
    env = push_t(obs_type)
    first = rollout(env, seed=5)
    rollout(env, seed=6)
    env.reset()
    assert_same(rollout(env, seed=5), first)
    assert_same(rollout(push_t(obs_type), seed=5), first)


def test_other_seeds_are_other_episodes():
    env = push_t()
    starts = {env.reset(seed=seed)[0]["state"].tobytes() for seed in range(20)}
    starts |= {env.reset()[0]["state"].tobytes() for _ in range(20)}
    assert len(starts) == 40


def episode_digest(seed: int) -> str:
    digest = hashlib.sha256()
    observations, _, _ = rollout(push_t("image_state"), seed)
    for observation in observations:
        for key in sorted(observation):
            digest.update(observation[key].tobytes())
    return digest.hexdigest()


def test_same_seed_in_another_process():
    here = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_env_contract import episode_digest"
    )
    assert python(here + "; print(episode_digest(5))").strip() == episode_digest(5)


def test_equals_gym_pusht():
    from gym_pusht.envs.pusht import PushTEnv

    theirs, ours = PushTEnv(obs_type="state"), push_t()
    for seed in (0, 11):
        state, _ = theirs.reset(seed=seed)
        observations, rewards, _ = rollout(ours, seed, 60)
        actions = np.random.default_rng(seed).uniform(0, 512, (60, 2)).astype(np.float32)
        np.testing.assert_array_equal(observations[0]["state"], state.astype(np.float32))
        for action, observation, reward in zip(actions, observations[1:], rewards, strict=True):
            state, expected, *_ = theirs.step(action)
            np.testing.assert_array_equal(observation["state"], state.astype(np.float32))
            assert reward == pytest.approx(expected, abs=ROUNDING)


# ---- what an episode says -----------------------------------------------------------------------------------------


def test_score_is_the_highest_reward():
    env = push_t()
    env.reset(seed=0)
    rewards, scores = [], []
    for offset in (60.0, 15.0, 90.0):  # better, then worse
        drive_onto_mark(env, offset)
        _, reward, _, _, info = env.step(np.float32([60, 60]))
        assert info["is_success"] is False
        rewards.append(reward)
        scores.append(info["score"])
    assert rewards[2] < rewards[0] < rewards[1]
    assert scores == [rewards[0], rewards[1], rewards[1]]

    assert env.reset(seed=0)[1]["score"] == 0
    _, reward, _, _, info = env.step(np.float32([60, 60]))
    assert info["score"] == reward < scores[-1]  # nothing is left of the last episode


def drive_onto_mark(env, offset: float):
    """Put the block near its mark, with the finger away from it."""
    goal_x, goal_y, angle = env.unwrapped._simulator.goal_pose
    set_state(env, [60, 60, goal_x + offset, goal_y, angle])


def set_state(env, state):
    simulator = env.unwrapped._simulator
    simulator._setup()
    simulator.block.angle = float(state[4])
    simulator.block.position = tuple(map(float, state[2:4]))
    simulator.agent.position = tuple(map(float, state[:2]))
    simulator.space.step(1e-6)


def test_success_terminates():
    env = push_t()
    _, info = env.reset(seed=0)
    assert info["is_success"] is False
    drive_onto_mark(env, offset=0.0)
    _, reward, terminated, truncated, info = env.step(np.float32([60, 60]))
    assert (reward, terminated, truncated, info["is_success"]) == (1.0, True, False, True)
    assert info["coverage"] > 0.95 and info["score"] == 1.0


def test_truncated_after_300_steps():
    env = push_t()
    env.reset(seed=0)
    ends = [env.step(np.float32([0, 0]))[2:4] for _ in range(300)]
    assert ends == [(False, False)] * 299 + [(False, True)]


def test_reset_to_a_state():
    env = push_t()
    wanted = [100, 120, 300, 310, 0.5]
    observation, _ = env.reset(options={"reset_to_state": wanted})
    np.testing.assert_allclose(
        observation["state"][[0, 1, 4]], [100, 120, 0.5], atol=1e-5
    )  # see gym-pusht: legacy order


@pytest.mark.parametrize("hold", [1, 3, 8])
def test_finger_never_leaves_the_world(hold):
    """Driven from corner to corner as fast as it goes, the worst that actions can do to the controller."""
    env, rng = push_t(), np.random.default_rng(hold)
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    env.reset(seed=hold)
    for step in range(290):
        if step % hold == 0:
            target = CORNERS[rng.integers(4)]
        finger = env.step(target)[0]["state"][:2]
        low, high = np.minimum(low, finger), np.maximum(high, finger)
    assert low.min() >= 0 and high.max() <= 512
    assert hold < 8 or (low.max() < 5 and high.min() > 507)  # it does get there


@pytest.mark.parametrize("obs_type", OBS_TYPES)
def test_random_actions_stay_in_the_observation_space(obs_type):
    env = push_t(obs_type)
    for seed in range(8):
        for observation in rollout(env, seed, 25)[0]:
            assert env.observation_space.contains(observation)


# ---- pictures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape, size", [((512, 512), 96), ((100, 70), 96), ((96, 96), 96), ((512, 300), 33)])
def test_shrink_is_opencvs_resize(shape, size):
    picture = np.random.default_rng(0).integers(256, size=(*shape, 3), dtype=np.uint8)
    difference = shrink(picture, size).astype(int) - cv2.resize(picture, (size, size))
    assert np.abs(difference).max() <= 1


def test_pictures_are_those_of_the_data_set(human_demos):
    demos = read_replay_zarr(human_demos, keys=["state"])
    images = zarr.open_group(str(human_demos), mode="r")["data/img"]
    env = push_t("image_state")
    env.reset(seed=0)
    for row in (0, 50, 300, 500, 737):
        state = demos.observations["state"][row]
        set_state(env, state)
        picture = env.unwrapped._observe(np.asarray(state, float))["image"]
        assert np.abs(picture - images[row]).mean() < 1, row


@pytest.mark.parametrize("obs_type", ["state", "image"])
def test_runs_without_opencv(obs_type):
    """OpenCV's wheel needs libGL, which a server may lack."""
    script = f"""
        import sys
        sys.modules["cv2"] = None
        import gymnasium as gym, l1flow_agents
        env = gym.make("PushT-v0", obs_type={obs_type!r}, render_mode="rgb_array")
        observation, _ = env.reset(seed=0)
        observation = env.step(env.action_space.sample())[0]
        assert env.observation_space.contains(observation)
        print(env.render().shape, sys.modules.get("cv2"))
    """
    assert python(script).strip() == "(512, 512, 3) None"


def test_stepping_never_loads_torch():
    """Workers of an evaluation stay small."""
    script = """
        import sys, json, gymnasium as gym, l1flow_agents
        gym.make("PushT-v0", obs_type="state").reset(seed=0)
        print(json.dumps([name for name in ("torch", "stable_baselines3", "zarr") if name in sys.modules]))
    """
    assert json.loads(python(script)) == []


def python(script: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", dedent(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("action", [[1.0], [np.nan, 1.0], [[1.0, 2.0]], 3.0, None, ["1", "2"]])
def test_an_action_is_two_finite_numbers(action):
    env = PushT("state")
    env.reset(seed=0)
    with pytest.raises(ConfigError, match=r"expected a finite action of shape \(2,\)"):
        env.step(action)
    env.step([100, 100])


def test_an_action_beyond_the_window_is_clipped():
    states = []
    for action in ([1e30, -1e30], [512, 0]):
        env = push_t()
        env.reset(seed=0)
        states.append([env.step(action)[0]["state"] for _ in range(5)])
    assert np.array_equal(*states)
