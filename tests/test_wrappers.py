"""Promise: wrappers change what they say and nothing else, on our environments and on other people's."""

from __future__ import annotations

import functools
import subprocess
import sys
import warnings

import envs_for_tests  # noqa: F401  registers Counter-v0
import gymnasium as gym
import imageio.v3 as iio
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RescaleAction, TimeAwareObservation
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from stable_baselines3 import PPO
from stable_baselines3.common import env_checker as sb3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import l1flow_agents  # noqa: F401  (registers the environments)
from l1flow_agents.data.robomimic_hdf5 import read_demo, read_robomimic_hdf5
from l1flow_agents.data.robomimic_writer import RobomimicWriter
from l1flow_agents.errors import ConfigError, DatasetError
from l1flow_agents.rotations import axis_angle_to_matrix, matrix_to_rotation_6d
from l1flow_agents.wrappers import (
    ActionChunk,
    FlattenState,
    ImageObservation,
    ObservationHistory,
    RecordRollouts,
    RecordVideoByOutcome,
    Rotation6dAction,
    StateObservation,
)

IMAGE = spaces.Box(0, 255, (40, 40, 3), np.uint8)


def push_t(obs_type: str = "state", **kwargs) -> gym.Env:
    return gym.make("PushT-v0", obs_type=obs_type, **kwargs)


class Fixed(gym.Env):
    """Observes samples of any space and keeps the actions that it is given."""

    def __init__(self, observation_space=IMAGE, action_space=None):
        self.observation_space = observation_space
        self.action_space = action_space or spaces.Box(-1, 1, (1,), np.float32)
        self.actions = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        self.actions.append(action)
        return self.observation_space.sample(), 0.0, False, False, {}


def rollout(env: gym.Env, seed: int, actions) -> list:
    """Everything that reset and the steps return, up to the episode's end."""
    results = [env.reset(seed=seed)]
    for action in actions:
        results.append(env.step(action))
        if results[-1][2] or results[-1][3]:
            break
    return results


# ---- every wrapper ------------------------------------------------------------------------------------------------

ARMS = spaces.Box(-2, 2, (14,), np.float32)
WRAPPED = {
    "history": lambda folder: ObservationHistory(push_t(), 2),
    "history of all": lambda folder: ObservationHistory(push_t("image_state"), 3),
    "history, CartPole": lambda folder: ObservationHistory(gym.make("CartPole-v1"), 4),
    "chunk": lambda folder: ActionChunk(push_t(), 8),
    "chunk, Pendulum": lambda folder: ActionChunk(gym.make("Pendulum-v1"), 3),
    "chunk, CartPole": lambda folder: ActionChunk(gym.make("CartPole-v1"), 3),
    "state": lambda folder: StateObservation(push_t("image")),
    "image": lambda folder: ImageObservation(push_t("image_state")),
    "flat": lambda folder: FlattenState(push_t()),
    "flat, Pendulum": lambda folder: FlattenState(gym.make("Pendulum-v1")),
    "flat, CartPole with time": lambda folder: FlattenState(
        TimeAwareObservation(gym.make("CartPole-v1"), flatten=False)
    ),
    "rotation": lambda folder: Rotation6dAction(Fixed(action_space=ARMS)),
    "rollouts": lambda folder: RecordRollouts(push_t(), []),
    "film": lambda folder: RecordVideoByOutcome(push_t(render_mode="rgb_array"), folder),
    "all together": lambda folder: ActionChunk(
        FlattenState(
            ObservationHistory(
                StateObservation(RecordVideoByOutcome(push_t("image_state", render_mode="rgb_array"), folder)), 2
            )
        ),
        4,
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_checkers_are_silent(name, tmp_path):
    env = WRAPPED[name](tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # advice on actions and observations that a learner may like better, and on passing a wrapped environment
        warnings.filterwarnings("ignore", message=".*(symmetric and normalized|action space.*-1|different from the un)")
        warnings.filterwarnings("ignore", message=".*(unconventional shape|[Ii]nf|not have a spec)")
        check_env(env, skip_render_check=True)
        sb3.check_env(env, skip_render_check=True)


@pytest.mark.parametrize("name", [name for name in WRAPPED if name not in ("rotation", "rollouts")])
def test_made_again_from_its_spec(name, tmp_path):
    env = WRAPPED[name](tmp_path)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert str(again) == str(env)
    assert (again.observation_space, again.action_space) == (env.observation_space, env.action_space)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vector_environments(mode):
    wrappers = [StateObservation, functools.partial(ObservationHistory, n_obs_steps=2), FlattenState, ActionChunk]
    envs = gym.make_vec("PushT-v0", 2, mode, wrappers=wrappers, obs_type="image", max_episode_steps=12)
    try:
        assert envs.observation_space.shape == (2, 4) and envs.action_space.shape == (2, 8, 2)
        observations, _ = envs.reset(seed=0)
        executed = []
        for _ in range(3):
            observations, _, _, _, info = envs.step(envs.action_space.sample())
            assert envs.observation_space.contains(observations)
            executed.append(info.get("n_executed", np.zeros(2)).tolist())
        assert executed == [[8, 8], [4, 4], [0, 0]]  # twelve steps, then the reset
    finally:
        envs.close()


def test_trains_with_sb3():
    def make():
        env = ActionChunk(FlattenState(ObservationHistory(push_t(max_episode_steps=12), 2)), 4)
        return RescaleAction(env, np.float32(-1), np.float32(1))

    model = PPO("MlpPolicy", make_vec_env(make, 2), n_steps=8, batch_size=8, n_epochs=1, device="cpu").learn(16)
    rewards, lengths = evaluate_policy(model, make_vec_env(make, 1), 2, return_episode_rewards=True)
    assert lengths == [3, 3] and np.isfinite(rewards).all()


def test_importing_loads_no_torch():
    code = "import sys, l1flow_agents.wrappers; print([m for m in ('torch', 'zarr', 'pymunk') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


# ---- history ------------------------------------------------------------------------------------------------------


@given(n_obs_steps=st.integers(1, 5), n_steps=st.integers(0, 7), seed=st.integers(0, 99))
def test_history_is_the_last_observations(n_obs_steps, n_steps, seed):
    actions = np.random.default_rng(seed).integers(2, size=n_steps)
    env, plain = ObservationHistory(gym.make("CartPole-v1"), n_obs_steps), gym.make("CartPole-v1")
    rollout(env, seed + 1, [1] * 3)  # of which nothing may be left
    past = [result[0] for result in rollout(plain, seed, actions)]
    past = [past[0]] * (n_obs_steps - 1) + past
    for k, result in enumerate(rollout(env, seed, actions)):
        np.testing.assert_array_equal(result[0], past[k : k + n_obs_steps])
        assert env.observation_space.contains(result[0])


def test_history_of_a_dict_is_key_by_key():
    actions = np.random.default_rng(0).uniform(0, 512, (3, 2)).astype(np.float32)
    stacked = rollout(ObservationHistory(push_t("image_state"), 2), 0, actions)[-1][0]
    plain = rollout(push_t("image_state"), 0, actions)
    assert stacked["image"].shape == (2, 96, 96, 3) and stacked["image"].dtype == np.uint8
    for key in ("image", "agent_pos", "state"):
        np.testing.assert_array_equal(stacked[key], [plain[-2][0][key], plain[-1][0][key]])


# ---- chunks -------------------------------------------------------------------------------------------------------


@given(n_action_steps=st.integers(1, 6), length=st.integers(1, 13), seed=st.integers(0, 9))
def test_chunks_are_the_same_steps(n_action_steps, length, seed):
    """A chunked episode is the plain one cut into pieces; the last piece may be short."""
    env = ActionChunk(gym.make("Counter-v0", length=length), n_action_steps)
    plain = gym.make("Counter-v0", length=length)
    rng = np.random.default_rng(seed)
    env.reset(seed=seed), plain.reset(seed=seed)
    done, total = False, 0
    while not done:
        chunk = rng.uniform(-1, 1, (n_action_steps, 2)).astype(np.float32)
        observation, reward, terminated, truncated, info = env.step(chunk)
        n = min(n_action_steps, length - total)
        steps = [plain.step(action) for action in chunk[:n]]
        np.testing.assert_array_equal(observation["count"], steps[-1][0]["count"])
        assert reward == pytest.approx(sum(step[1] for step in steps))
        assert (terminated, truncated) == steps[-1][2:4]
        assert info == {**steps[-1][4], "n_executed": n}
        total, done = total + n, terminated or truncated
    assert total == length


def test_chunk_stops_at_truncation():
    env = ActionChunk(push_t(max_episode_steps=5), 8)
    env.reset(seed=0)
    _, _, terminated, truncated, info = env.step(env.action_space.sample())
    assert (terminated, truncated, info["n_executed"]) == (False, True, 5)
    assert info["is_success"] is False


@pytest.mark.parametrize("shape", [(2,), (7, 2), (16, 2), (8, 3)])
def test_chunk_of_another_shape(shape):
    env = ActionChunk(push_t(), 8)
    env.reset(seed=0)
    with pytest.raises(ConfigError, match=r"expected a chunk of shape \(8, 2\), got \(" + str(shape[0])):
        env.step(np.zeros(shape, np.float32))


@pytest.mark.parametrize("wrapper", [ActionChunk, ObservationHistory])
def test_at_least_one_step(wrapper):
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        wrapper(push_t(), 0)


def test_chunk_needs_a_shape():
    with pytest.raises(ConfigError, match="expected an action space with a shape, got Dict"):
        ActionChunk(Fixed(action_space=spaces.Dict({"gripper": spaces.Discrete(2)})))


# ---- rotations ----------------------------------------------------------------------------------------------------

finite = functools.partial(st.floats, allow_nan=False, width=32)
rotation_vectors = arrays(np.float64, (2, 3), elements=finite(-1, 1)).map(lambda v: v * np.pi)


def arms(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same two poses as the environment (2, 7) and as the wrapper (2, 10) takes them."""
    rotations = matrix_to_rotation_6d(axis_angle_to_matrix(vectors))
    positions, grippers = np.array([[0.1, -0.5, 0.9], [0.2, 0.3, 1.1]]), np.array([[-1.0], [0.5]])
    return np.hstack([positions, vectors, grippers]), np.hstack([positions, rotations, grippers])


@given(rotation_vectors, arrays(np.float64, (2, 2), elements=finite(0.125, 2)), finite(-2, 2))
def test_rotation_is_the_same(vectors, scales, mixed):
    """Also where the rows are not of length one, nor orthogonal to each other."""
    wanted, action = arms(vectors)
    first, second = action[:, 3:6], action[:, 6:9]
    action[:, 3:9] = np.hstack([scales[:, :1] * first, scales[:, 1:] * second + mixed * first])
    env = Fixed(action_space=spaces.Box(-4, 4, (14,), np.float64))
    Rotation6dAction(env).step(action.ravel())
    got = env.actions[0].reshape(2, 7)
    np.testing.assert_array_equal(got[:, [0, 1, 2, 6]], wanted[:, [0, 1, 2, 6]])
    np.testing.assert_allclose(axis_angle_to_matrix(got[:, 3:6]), axis_angle_to_matrix(vectors), atol=1e-7)
    assert (np.linalg.norm(got[:, 3:6], axis=1) <= np.pi + 1e-9).all()


@pytest.mark.parametrize(
    "rows, axis_angle",
    [
        ([1, 0, 0, 0, 1, 0], [0, 0, 0]),
        ([0, -1, 0, 1, 0, 0], [0, 0, np.pi / 2]),  # rows; as columns this were -pi / 2
        ([1, 0, 0, 0, -1, 0], [np.pi, 0, 0]),
        ([1, 0, 0, 0, 1, -1e-7], [1e-7, 0, 0]),
    ],
)
def test_rotation_by_hand(rows, axis_angle):
    env = Rotation6dAction(Fixed(action_space=spaces.Box(-1, 1, (7,), np.float64)))
    got = env.action(np.array([0.5, 0, 0, *rows, 1.0]))
    np.testing.assert_allclose(np.abs(got) if axis_angle[0] > 3 else got, [0.5, 0, 0, *axis_angle, 1], atol=1e-12)


def test_rotation_spaces():
    low = np.float32([-0.5, -0.4, 0.8, -3, -3, -3, 0])
    env = Rotation6dAction(Fixed(action_space=spaces.Box(low, low + 2, dtype=np.float32)))
    np.testing.assert_array_equal(env.action_space.low, np.float32([-0.5, -0.4, 0.8] + [-1] * 6 + [0]))
    np.testing.assert_array_equal(env.action_space.high, np.float32([1.5, 1.6, 2.8] + [1] * 6 + [2]))
    assert env.action(env.action_space.sample()).dtype == np.float32


@pytest.mark.parametrize("rows", [[0] * 6, [1, 0, 0, 2, 0, 0], [0, 0, 0, 1, 0, 0], [np.nan, 0, 0, 0, 1, 0]])
def test_no_rotation(rows):
    env = Rotation6dAction(Fixed(action_space=ARMS))
    with pytest.raises(ConfigError, match="expected two finite, independent rows a rotation, got"):
        env.step(np.array([0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, *rows, 0]))


@pytest.mark.parametrize("space", [spaces.Box(-1, 1, (8,)), spaces.Box(-1, 1, (2, 7)), spaces.Discrete(7)])
def test_not_a_pose(space):
    with pytest.raises(ConfigError, match=r"expected actions of shape \(7 n,\)"):
        Rotation6dAction(Fixed(action_space=space))


# ---- parts of an observation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper, keys", [(StateObservation, {"agent_pos", "state"}), (ImageObservation, {"image"})])
@pytest.mark.parametrize("history", [False, True])
def test_views_keep_their_keys(wrapper, keys, history):
    env, plain = push_t("image_state"), push_t("image_state")
    if history:
        env, plain = ObservationHistory(env), ObservationHistory(plain)
    env = wrapper(env)
    assert set(env.observation_space) == keys
    for result, expected in zip(rollout(env, 0, [[9, 9]]), rollout(plain, 0, [[9, 9]]), strict=True):
        assert set(result[0]) == keys
        for key in keys:
            np.testing.assert_array_equal(result[0][key], expected[0][key])


@pytest.mark.parametrize("wrapper, obs_type", [(StateObservation, "image"), (ImageObservation, "state")])
def test_nothing_to_see(wrapper, obs_type):
    with pytest.raises(ConfigError, match="expected a dict observation, got Box"):
        wrapper(gym.make("CartPole-v1"))
    env = push_t(obs_type)
    if wrapper is StateObservation:
        env = ImageObservation(env)
    with pytest.raises(ConfigError, match=r"expected a key that is (no|an) image, got \['(image|state)'\]"):
        wrapper(env)


def test_flat_is_alphabetical_float32():
    pairs = [
        ("b", spaces.Box(-1, 1, (2, 2), np.float64)),
        ("a", spaces.Discrete(3)),
        ("c", spaces.Box(0, 9, (1,), int)),
    ]
    env = FlattenState(Fixed(spaces.Dict(pairs)))
    np.testing.assert_array_equal(env.observation_space.low, np.float32([0, 0, 0, -1, -1, -1, -1, 0]))
    np.testing.assert_array_equal(env.observation_space.high, np.float32([1, 1, 1, 1, 1, 1, 1, 9]))
    flat = env.observation({"c": np.array([7]), "b": np.array([[0.1, 0.2], [0.3, 0.4]]), "a": np.int64(1)})
    np.testing.assert_array_equal(flat, np.float32([0, 1, 0, 0.1, 0.2, 0.3, 0.4, 7]))
    assert flat.dtype == env.observation_space.dtype == np.float32


def test_flat_values_of_an_environment():
    for result, plain in zip(
        *(rollout(env, 1, [[9, 9]] * 3) for env in (FlattenState(push_t()), push_t())), strict=True
    ):
        np.testing.assert_array_equal(result[0], plain[0]["state"])


@pytest.mark.parametrize("env", [push_t("image"), ObservationHistory(push_t("image")), Fixed(IMAGE)])
def test_flat_refuses_images(env):
    with pytest.raises(ConfigError, match=r"expected no images, got \['(image|observation)'\]; wrap in StateObs"):
        FlattenState(env)


def test_flat_refuses_what_has_no_size():
    with pytest.raises(ConfigError, match="expected spaces of a fixed size, got Dict"):
        FlattenState(Fixed(spaces.Dict({"points": spaces.Sequence(spaces.Discrete(2))})))


# ---- films --------------------------------------------------------------------------------------------------------


def counter(**kwargs) -> gym.Env:
    """Episodes of even seeds succeed, in their last step."""
    return gym.make("Counter-v0", render_mode="rgb_array", **kwargs)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("keep, kept", [("all", "sfs"), ("success", "s-s"), ("failure", "-f-")])
def test_films_by_outcome(tmp_path, keep, kept):
    env = RecordVideoByOutcome(counter(length=4), tmp_path / "films", keep)
    words = {"s": "success", "f": "failure"}
    for seed, letter in enumerate(kept):
        rollout(env, seed, np.zeros((9, 2)))
        name = f"episode_{seed:04d}_{words.get(letter)}.mp4"  # there as soon as the episode is over
        assert (name in names(tmp_path / "films")) == (letter != "-")
    env.close()
    assert len(names(tmp_path / "films")) == len(kept.replace("-", ""))
    for path in (tmp_path / "films").iterdir():
        frames = iio.imread(path)
        assert frames.shape == (5, 40, 52, 3)  # the start and four steps
        blue = (frames[..., 0] < 100).mean(axis=(1, 2))
        np.testing.assert_allclose(blue, np.arange(5) / 10, atol=0.03)
        assert iio.immeta(path)["fps"] == 5


def test_success_at_any_step_counts(tmp_path):
    env = counter(length=9)
    env.unwrapped.step = lambda action, step=env.unwrapped.step: (*step(action)[:4], {"won": env.unwrapped.steps == 2})
    env = RecordVideoByOutcome(env, tmp_path, success_key="won")
    rollout(env, 1, np.zeros((3, 2)))  # cut short by reset
    rollout(env, 1, np.zeros((1, 2)))  # and by close
    env.reset()
    env.reset()  # no episode
    assert names(tmp_path) == ["episode_0000_success.mp4", "episode_0001_failure.mp4"]
    env.close()
    env.close()
    assert len(names(tmp_path)) == 2


def test_unfinished_episode_is_written_on_close(tmp_path):
    env = RecordVideoByOutcome(push_t(render_mode="rgb_array"), tmp_path)
    rollout(env, 0, np.zeros((2, 2), np.float32))
    assert names(tmp_path) == []
    env.close()
    assert names(tmp_path) == ["episode_0000_failure.mp4"]
    assert iio.imread(tmp_path / "episode_0000_failure.mp4").shape == (3, 512, 512, 3)


def test_films_of_steps_inside_a_chunk(tmp_path):
    env = ActionChunk(RecordVideoByOutcome(counter(length=6), tmp_path), 4)
    rollout(env, 0, np.zeros((2, 4, 2)))
    assert len(iio.imread(tmp_path / "episode_0000_success.mp4")) == 7


def test_films_are_not_mixed(tmp_path):
    one, other = (RecordVideoByOutcome(counter(length=1), tmp_path) for _ in range(2))
    rollout(one, 0, np.zeros((1, 2)))
    with pytest.raises(ConfigError, match=r"a folder for this environment alone, found .*episode_0000_success"):
        rollout(other, 1, np.zeros((1, 2)))
    rollout(RecordVideoByOutcome(counter(length=1), tmp_path), 1, np.zeros((1, 2)))
    assert names(tmp_path) == ["episode_0000_success.mp4", "episode_0001_failure.mp4"]


def test_films_refuse(tmp_path):
    with pytest.raises(ConfigError, match=r"keep must be one of .*got 'wins'"):
        RecordVideoByOutcome(counter(), tmp_path, "wins")
    with pytest.raises(ConfigError, match="render_mode must be 'rgb_array', got None"):
        RecordVideoByOutcome(push_t(), tmp_path)
    env = RecordVideoByOutcome(gym.make("CartPole-v1", render_mode="rgb_array"), tmp_path)
    with pytest.raises(ConfigError, match="expected 'is_success' in info"):
        rollout(env, 0, [1] * 20)
    env.close()
    assert names(tmp_path) == []


# ---- rollouts on disk ---------------------------------------------------------------------------------------------


def test_rollouts_in_a_robomimic_file(tmp_path):
    path, rng = tmp_path / "pusht.hdf5", np.random.default_rng(0)
    actions = rng.uniform(0, 512, (2, 5, 2)).astype(np.float32)
    with RobomimicWriter(path, {"env_name": "PushT-v0", "type": 2, "env_kwargs": {}}) as writer:
        env = RecordRollouts(
            push_t("image_state", max_episode_steps=5),
            writer,
            get_state=lambda env: {
                "states": [*env._simulator.agent.position, *env._simulator.block.position],
                "model": f"<mujoco seed='{env.np_random_seed}'/>",
            },
        )
        episodes = [rollout(env, seed, actions[seed]) for seed in range(2)]
    demos = read_robomimic_hdf5(path, cache_dir=tmp_path)
    np.testing.assert_array_equal(demos.actions, actions.reshape(10, 2))
    np.testing.assert_array_equal(demos.ends, [5, 10])
    for key in ("image", "agent_pos", "state"):
        seen = [result[0][key] for episode in episodes for result in episode[:-1]]
        np.testing.assert_array_equal(demos.observations[key], seen)
    raw = read_demo(path, "demo_1")
    np.testing.assert_allclose(raw.states[:, :2], demos.observations["agent_pos"][5:], rtol=1e-6)
    np.testing.assert_array_equal(raw.rewards, [result[1] for result in episodes[1][1:]])
    np.testing.assert_array_equal(raw.dones, [0, 0, 0, 0, 1])
    assert raw.model_file == "<mujoco seed='1'/>"


@pytest.mark.parametrize("keep, seeds", [("all", [0, 1, 2]), ("success", [0, 2]), ("failure", [1])])
def test_rollouts_by_outcome(keep, seeds):
    env = RecordRollouts(counter(length=3), writer := [], keep)
    for seed in range(3):
        rollout(env, seed, np.zeros((9, 2)))
    assert [demo.observations["count"].tolist() for demo in writer] == [[[s, 0], [s, 1], [s, 2]] for s in seeds]
    assert [demo.next_observations["count"].tolist() for demo in writer] == [[[s, 1], [s, 2], [s, 3]] for s in seeds]
    assert all(demo.states.shape == (3, 0) for demo in writer)


def test_rollouts_below_other_wrappers_are_the_environments_own():
    env = RecordRollouts(counter(length=5), writer := [])
    env = ActionChunk(ObservationHistory(env), 4)
    chunks = np.random.default_rng(0).uniform(-1, 1, (2, 4, 2))
    rollout(env, 0, chunks)
    np.testing.assert_array_equal(writer[0].actions, chunks.reshape(8, 2)[:5])
    assert writer[0].observations["count"].shape == (5, 2)


def test_rollouts_of_bare_observations_that_are_overwritten():
    env = Fixed(spaces.Box(-1, 1, (3,), np.float32))
    buffer = np.zeros(3, np.float32)

    def step(action):
        buffer[:] += 1
        return buffer, 0.0, buffer[0] == 3, False, {"won": buffer[0] == 2}

    env.reset, env.step = lambda **_: (buffer, {}), step
    env = RecordRollouts(env, writer := [], success_key="won")
    rollout(env, 0, np.zeros((3, 1)))
    np.testing.assert_array_equal(writer[0].observations["observation"][:, 0], [0, 1, 2])
    np.testing.assert_array_equal(writer[0].dones, [0, 1, 1])


def test_rollouts_take_the_environments_own_state(monkeypatch):
    counter_class = type(counter().unwrapped)
    monkeypatch.setattr(counter_class, "get_state", lambda self: {"states": [self.steps]}, raising=False)
    rollout(RecordRollouts(counter(length=3), writer := []), 0, np.zeros((3, 2)))
    np.testing.assert_array_equal(writer[0].states, [[0], [1], [2]])
    assert writer[0].model_file is None
    with pytest.raises(ConfigError, match=r"expected get_state to return a dict with 'states', got 7"):
        RecordRollouts(counter(), [], get_state=lambda env: 7).reset()


def test_rollouts_refuse(tmp_path):
    for env in (gym.make("CartPole-v1"), ActionChunk(push_t())):
        with pytest.raises(ConfigError, match=r"expected actions of shape \(action_dim,\), got"):
            RecordRollouts(env, [])
    with pytest.raises(ConfigError, match=r"keep must be one of .*got 'best'"):
        RecordRollouts(push_t(), [], "best")
    with RobomimicWriter(tmp_path / "nan.hdf5", {}) as writer:
        env = RecordRollouts(counter(length=1), writer, get_state=lambda env: {"states": [np.nan]})
        with pytest.raises(DatasetError, match="NaN"):
            rollout(env, 0, np.zeros((1, 2)))
