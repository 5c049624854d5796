"""Promise: the same seeds give the same actions, whichever of the field's loops drives the agent."""

from __future__ import annotations

import envs_for_tests  # noqa: F401  registers Counter-v0
import gymnasium as gym
import numpy as np
import pytest
from conftest import TINY
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.type_aliases import PolicyPredictor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecTransposeImage

from l1flow_agents import L1FlowAgent
from l1flow_agents.errors import CheckpointError

SEED, N_ENVS, STEPS = 3, 2, 20
KWARGS = {"obs_type": "state", "max_episode_steps": STEPS}


def make_env():
    import l1flow_agents  # noqa: F401  in a spawned worker

    return Monitor(gym.make("PushT-v0", **KWARGS))


class Recorder:
    """Passes `predict` on and keeps the actions of every environment."""

    def __init__(self, agent) -> None:
        self.agent, self.actions = agent, []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        action, state = self.agent.predict(observation, state, episode_start, deterministic)
        self.actions.append(np.atleast_2d(action))
        return action, state

    def by_env(self) -> np.ndarray:
        """(n_envs, STEPS, action_dim): the actions of each environment's first episode."""
        return np.stack(self.actions[:STEPS], axis=1)


@pytest.fixture(scope="module")
def agent(make_agent):
    with make_env() as env:
        return make_agent(space=env.observation_space, action_space=env.action_space)


@pytest.fixture(scope="module")
def reference(agent) -> np.ndarray:
    """Actions of a plain Gymnasium loop, an environment at a time."""
    episodes = []
    for seed in range(SEED, SEED + N_ENVS):
        env = gym.make("PushT-v0", **KWARGS)
        observation, _ = env.reset(seed=seed)
        state, actions, done = None, [], False
        while not done:
            action, state = agent.predict(observation, state, deterministic=True)
            observation, _, terminated, truncated, _ = env.step(action)
            actions.append(action)
            done = terminated or truncated
        episodes.append(actions)
    return np.array(episodes)


@pytest.mark.parametrize("vec_env_class", [DummyVecEnv, SubprocVecEnv])
def test_sb3_evaluate_policy(agent, reference, vec_env_class):
    vec_env = vec_env_class([make_env] * N_ENVS)
    vec_env.seed(SEED)
    recorder = Recorder(agent)
    returns, lengths = evaluate_policy(recorder, vec_env, n_eval_episodes=N_ENVS, return_episode_rewards=True)
    vec_env.close()
    assert lengths == [STEPS] * N_ENVS
    np.testing.assert_allclose(recorder.by_env(), reference, rtol=1e-4)
    assert len(returns) == N_ENVS


def test_sb3_evaluate_policy_on_a_plain_env(agent, reference):
    env = make_env()
    env.reset(seed=SEED)
    recorder = Recorder(agent)
    mean, _ = evaluate_policy(recorder, env, n_eval_episodes=1)
    assert np.isfinite(mean) and len(recorder.actions) == STEPS


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_gymnasium_make_vec(agent, reference, vectorization, mode):
    vector_kwargs = {"autoreset_mode": mode} | ({"context": "spawn"} if vectorization == "async" else {})
    envs = gym.make_vec("PushT-v0", N_ENVS, vectorization, vector_kwargs=vector_kwargs, **KWARGS)
    observations, _ = envs.reset(seed=SEED)
    recorder, state = Recorder(agent), None
    for _ in range(STEPS):
        actions, state = recorder.predict(observations, state, deterministic=True)
        observations, _, _, truncated, _ = envs.step(actions)
    envs.close()
    assert truncated.all()
    np.testing.assert_allclose(recorder.by_env(), reference, rtol=1e-4)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_no_plan_looks_into_an_earlier_episode(make_agent, mode):
    """Over many episodes of unlike lengths, `docs/evaluation.md`'s loop never mixes two episodes in a history."""
    envs = gym.vector.SyncVectorEnv(
        [lambda n=n: gym.make("Counter-v0", length=n) for n in (3, 5, 7)], autoreset_mode=mode
    )
    agent = make_agent(
        space=envs.single_observation_space, action_space=envs.single_action_space, n_obs_steps=3, n_action_steps=4
    )
    seen = []
    plan = agent.plan
    agent.plan = lambda history, noise: seen.append(history["count"]) or plan(history, noise)
    episodes = gymnasium_loop(agent, envs, n_steps=60)
    histories = np.concatenate(seen)
    assert episodes > 20 and len(histories) > 20
    starts, steps = histories[:, :, 0], histories[:, :, 1]
    assert (starts == starts[:, :1]).all(), "one episode a history"
    assert (np.diff(steps, axis=1) <= 1).all() and (np.diff(steps, axis=1) >= 0).all(), "oldest first"
    assert (steps[:, -1] % 4 == 0).all(), "a plan every four steps from the start of the episode"


def gymnasium_loop(agent, envs, n_steps: int) -> int:
    """The loop of docs/evaluation.md for every autoreset mode; returns the number of episodes that ended."""
    mode = envs.metadata["autoreset_mode"]
    observations, _ = envs.reset(seed=0)
    state, ended = None, 0
    begins, done = np.ones(envs.num_envs, bool), np.zeros(envs.num_envs, bool)
    for _ in range(n_steps):
        actions, state = agent.predict(observations, state, begins)
        before = done
        observations, _, terminated, truncated, _ = envs.step(actions)
        done = terminated | truncated
        ended += int(done.sum())
        if mode is AutoresetMode.DISABLED and done.any():
            observations, _ = envs.reset(options={"reset_mask": done})
        # NEXT_STEP: `done` comes with an episode's last observation, the first of the next one a step later
        begins = before if mode is AutoresetMode.NEXT_STEP else done
    return ended


def test_images_transposed_by_sb3_are_the_same_images(make_agent):
    vec_env = DummyVecEnv([lambda: gym.make("PushT-v0", obs_type="image", max_episode_steps=3)])
    agent = make_agent(
        space=vec_env.observation_space,
        action_space=vec_env.action_space,
        encoder_kwargs={"channels": (8, 8, 16, 16), "n_keypoints": 4, "feature_dim": 6},
    )
    vec_env.seed(0)
    straight, _ = agent.predict(vec_env.reset(), deterministic=True)
    transposed_env = VecTransposeImage(vec_env)
    transposed_env.seed(0)
    observation = transposed_env.reset()
    assert observation["image"].shape == (1, 3, 96, 96)
    transposed, _ = agent.predict(observation, deterministic=True)
    np.testing.assert_array_equal(straight, transposed)


VECTORS = {
    "sb3": lambda: DummyVecEnv([make_env] * N_ENVS),
    "gymnasium": lambda: gym.make_vec("PushT-v0", N_ENVS, "sync", **KWARGS),
    "gymnasium, processes": lambda: gym.make_vec(
        "PushT-v0", N_ENVS, "async", vector_kwargs={"context": "spawn"}, **KWARGS
    ),
}


@pytest.mark.parametrize("kind", VECTORS)
def test_an_agent_for_a_vector_of_environments(tmp_path, kind):
    """It is the agent of one of them, as stable-baselines3's algorithms are."""
    vector = VECTORS[kind]()
    try:
        agent, alone = (L1FlowAgent("mlp", env, network_kwargs=TINY["mlp"]) for env in (vector, make_env()))
        assert agent.observation_space == alone.observation_space and agent.action_space == alone.action_space
        assert agent.provenance == alone.provenance
        assert agent.env_id == "PushT-v0" and agent.env_kwargs["obs_type"] == "state"
        assert agent.get_env() is (vector if kind.startswith("sb3") else None)
        agent.save(tmp_path / "agent")
        loaded = L1FlowAgent.load(tmp_path / "agent", env=vector)
        observation = vector.reset() if kind.startswith("sb3") else vector.reset(seed=0)[0]
        assert loaded.predict(observation)[0].shape == (N_ENVS, 2)
    finally:
        vector.close()


def test_an_agent_for_transposed_pictures_sees_them_as_the_environment_gives_them():
    plain = DummyVecEnv([lambda: gym.make("PushT-v0", obs_type="image", max_episode_steps=3)])
    kwargs = {
        "network_kwargs": TINY["mlp"],
        "encoder_kwargs": {"channels": (8, 8), "n_keypoints": 4, "feature_dim": 6},
    }
    agent = L1FlowAgent("mlp", VecTransposeImage(plain), **kwargs)
    assert agent.observation_space == plain.observation_space
    assert agent.env_id == "PushT-v0" and isinstance(agent.get_env(), VecTransposeImage)
    assert agent.predict(agent.get_env().reset())[0].shape == (1, 2)


def test_an_agent_for_an_id(tmp_path):
    agent = L1FlowAgent("mlp", "envs_for_tests:Counter-v0", network_kwargs=TINY["mlp"])
    assert (agent.env_id, agent.env_kwargs) == ("Counter-v0", {})
    assert agent.get_env().reset()["count"].shape == (1, 2)
    agent.save(tmp_path / "agent")
    assert L1FlowAgent.load(tmp_path / "agent", env="Counter-v0").get_env() is not None
    with pytest.raises(CheckpointError, match="trained with observation 'count'"):
        L1FlowAgent.load(tmp_path / "agent", env="Pendulum-v1")
    with pytest.raises(gym.error.NameNotFound, match="Did you mean: `Counter`"):
        L1FlowAgent("mlp", "Countr-v0")


def test_the_agent_is_a_policy_predictor(agent):
    """Checked by mypy too: the annotation must hold."""
    predictor: PolicyPredictor = agent
    assert callable(predictor.predict)
