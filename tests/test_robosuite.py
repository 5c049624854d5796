"""robosuite's tasks, on the real simulator and held against it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils import seeding
from simulators import assert_checkers_are_silent, assert_parts_are_where_the_layout_says, env_of

import l1flow_agents  # noqa: F401  (registers the environments)
from l1flow_agents.envs.robosuite_env import _give_generator, robosuite
from l1flow_agents.envs.robosuite_tasks import Lift, env_from_args
from l1flow_agents.errors import ConfigError

IDS = ("Lift-v0", "Can-v0", "Square-v0", "Transport-v0", "ToolHang-v0")
ONE_EACH_WAY = ("Lift-v0", "Square-v0")  # of the tasks that build the model every episode, and of those that keep it
N_STEPS = 8


def actions_for(env: gym.Env, n_steps: int = N_STEPS, seed: int = 0) -> np.ndarray:
    """Mostly downwards, so that the hand meets something."""
    actions = np.random.default_rng(seed).uniform(-1, 1, (n_steps, *env.action_space.shape)).astype(np.float32)
    actions[:, 2::7] = -1
    return actions


def rollout(env: gym.Env, actions: np.ndarray) -> list[dict[str, np.ndarray]]:
    return [env.step(action)[0] for action in actions]


def assert_same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def digest(env_id: str, seed: int) -> str:
    env = env_of(env_id)
    observations = [env.reset(seed=seed)[0], *rollout(env, actions_for(env))]
    return hashlib.sha256(b"".join(one[key].tobytes() for one in observations for key in sorted(one))).hexdigest()


# ---- Gymnasium's and stable-baselines3's rules ----------------------------------------------------------------------


@pytest.mark.parametrize("env_id", IDS)
def test_checkers_are_silent(env_id):
    assert_checkers_are_silent(env_id)


def test_absolute_control_is_bounded_by_the_reach():
    space = gym.make("Transport-v0", obs_type="state", control="absolute").action_space
    assert space.shape == (14,)
    np.testing.assert_array_equal(space.high[:7], np.float32([2.5, 2.5, 2.5, np.pi, np.pi, np.pi, 1]))


def test_silent_import_that_decides_nothing_about_opengl():
    script = """
        import os, sys, gymnasium as gym
        env = gym.make("l1flow_agents:Lift-v0", obs_type="state")
        env.reset(seed=0)
        print(os.environ.get("MUJOCO_GL"), "OpenGL.GL" in sys.modules, "torch" in sys.modules)
    """
    done = run(script, MUJOCO_GL=None)
    assert (done.stdout.strip(), done.stderr) == ("None False False", "")


def test_spawned_workers():
    envs = gym.make_vec("Lift-v0", 2, vectorization_mode="async", vector_kwargs={"context": "spawn"}, obs_type="state")
    try:
        observations, _ = envs.reset(seed=[3, 4])
        alone = env_of("Lift-v0").reset(seed=4)[0]
        for key in alone:
            np.testing.assert_array_equal(observations[key][1], alone[key])
    finally:
        envs.close()


@pytest.mark.parametrize("env_id", IDS)
def test_parts_are_where_the_layout_says(env_id):
    env_of(env_id).reset(seed=3)
    assert_parts_are_where_the_layout_says(env_id)


# ---- the simulation is robosuite's ----------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", IDS)
def test_trajectory_is_robosuites_bit_for_bit(env_id):
    """With the physics of the published data (lite_physics False), after other episodes in ours."""
    env = env_of(env_id)
    env.reset(seed=7)
    rollout(env, actions_for(env, 2))
    theirs = raw_robosuite(env)
    start = theirs.reset()
    for robot in theirs.robots:  # see RobosuiteEnv._attach: the one thing done differently
        robot.part_controllers["right"].new_update = True
    observation, _ = env.reset(seed=5)
    np.testing.assert_array_equal(observation["robot0_eef_pos"], start["robot0_eef_pos"].astype(np.float32))
    for action in actions_for(env, 20):
        theirs.step(action.astype(np.float64))
        observation = env.step(action)[0]
        np.testing.assert_array_equal(theirs.sim.get_state().flatten(), env.unwrapped.get_state()["states"])

    theirs.sim.forward()
    theirs._get_observations(force_update=True)  # twice, as relative poses lag by one
    expected = theirs._get_observations(force_update=True)
    expected["object"] = expected["object-state"]
    for key in observation:
        np.testing.assert_array_equal(observation[key], expected[key].astype(np.float32), err_msg=key)


def raw_robosuite(env: gym.Env, seed: int = 5):
    kwargs = env.unwrapped.env_args()["env_kwargs"]
    theirs = robosuite.make(env.unwrapped.task.name, renderer="mujoco", **kwargs)
    _give_generator(theirs, seeding.np_random(seed)[0])
    return theirs


def test_images_are_robosuites_upright():
    env = gym.make("Lift-v0", obs_type="image_state", render_mode="rgb_array", render_size=120, max_episode_steps=3)
    observation, _ = env.reset(seed=5)
    assert env.observation_space.contains(observation)
    expected = raw_robosuite(env).reset()
    for camera in ("agentview", "robot0_eye_in_hand"):
        np.testing.assert_array_equal(observation[f"{camera}_image"], expected[f"{camera}_image"][::-1])

    film = env.render()
    assert (film.shape, film.dtype) == ((120, 120, 3), np.uint8)
    again = gym.make("Lift-v0", obs_type="image_state", render_quality="fast")
    fast, _ = again.reset(seed=5)
    np.testing.assert_array_equal(fast["object"], observation["object"])
    assert (fast["agentview_image"] != observation["agentview_image"]).any()
    after, after_fast = rollout(env, actions_for(env, 1))[0], rollout(again, actions_for(env, 1))[0]
    np.testing.assert_array_equal(after["object"], after_fast["object"])
    assert (after["agentview_image"] != observation["agentview_image"]).any()
    env.close()
    env.close()


# ---- one seed, one episode ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", ONE_EACH_WAY)
def test_same_seed_in_another_process_and_after_other_episodes(env_id):
    expected = digest(env_id, 11)
    assert digest(env_id, 12) != expected
    env_of(env_id).reset()
    assert digest(env_id, 11) == expected
    script = f"""
        import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
        import numpy; numpy.random.seed(3)
        from test_robosuite import digest; print(digest({env_id!r}, 11))
    """
    assert run(script).stdout.strip() == expected


@pytest.mark.parametrize("env_id", IDS)
def test_a_state_decides_the_future(env_id):
    env = env_of(env_id)
    actions = actions_for(env)
    env.reset(seed=1)
    first = env.unwrapped.get_state()
    beginning = rollout(env, actions[:3])
    middle = env.unwrapped.get_state()
    end = rollout(env, actions[3:])

    env.reset(seed=2)
    rollout(env, actions[::-1])
    env.unwrapped.set_state(middle)
    assert_same(rollout(env, actions[3:]), end)

    # robomimic's files have no more than this
    env.reset(seed=3, options={"state": {key: first[key] for key in ("states", "model")}})
    assert_same(rollout(env, actions), beginning + end)
    env.reset(seed=1)  # the foreign model is gone
    assert_same(rollout(env, actions), beginning + end)


def test_state_of_another_episode_brings_its_cube():
    env = env_of("Lift-v0").unwrapped
    sizes = []
    for seed in (1, 2):
        env.reset(seed=seed)
        sizes.append(cube_size(env))
    env.reset(seed=1)
    state = env.get_state()
    env.reset(seed=2)
    env.set_state(state)
    assert sizes[0] != sizes[1] and cube_size(env) == sizes[0]


def test_model_of_a_file_lasts_one_episode():
    env = env_of("Square-v0").unwrapped
    env.reset(seed=1)
    state = env.get_state()
    changed = state["model"].replace("<option ", '<option wind="0 0 1" ', 1)
    env.reset(options={"state": {**state, "model": changed}})
    assert env.simulator.sim.model._model.opt.wind[2] == 1
    env.reset(seed=1)
    assert env.simulator.sim.model._model.opt.wind[2] == 0
    with pytest.raises(ConfigError, match=r"state\['model'\] must be this task's model of robosuite 1.5"):
        env.set_state({**state, "model": "<mujoco/>"})
    env.reset(seed=1)
    np.testing.assert_array_equal(env.get_state()["states"], state["states"])


def cube_size(env) -> float:
    return env.simulator.sim.model._model.geom("cube_g0").size[0]


# ---- what an episode says -------------------------------------------------------------------------------------------


def test_success_terminates():
    env = env_of("Lift-v0")
    _, info = env.reset(seed=0)
    assert info == {"is_success": False}
    state = env.unwrapped.get_state()
    state["states"][1 + 9 + 2] += 0.2  # time, arm and fingers, then the cube's x, y, z
    env.unwrapped.set_state(state)
    _, reward, terminated, truncated, info = env.step(np.zeros(7))
    assert (reward, terminated, truncated, info) == (1.0, True, False, {"is_success": True})


@pytest.mark.parametrize("env_id, n_steps", [*zip(IDS, (400, 400, 400, 700, 700), strict=True)])
def test_horizon_is_the_published_protocols(env_id, n_steps):
    assert env_of(env_id).spec.max_episode_steps == n_steps


def test_absolute_target_is_reached():
    env = gym.make("Lift-v0", obs_type="state", control="absolute")
    env.reset(seed=0)
    arm = env.unwrapped._arms()[0]
    arm.update(force=True)
    target = np.add(arm.ref_pos, [0.02, -0.03, 0.04])
    rotation = robosuite.utils.transform_utils.quat2axisangle(robosuite.utils.transform_utils.mat2quat(arm.ref_ori_mat))
    for _ in range(30):
        observation = env.step(np.float32([*target, *rotation, -1]))[0]
    assert np.abs(arm.ref_pos - target).max() < 1e-3
    assert observation["robot0_gripper_qpos"][0] > 0.03  # -1 opens


# ---- robomimic's env_args -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("kwargs", [{"obs_type": "state"}, {"control": "absolute", "image_size": 32}])
def test_env_args_round_trip(env_id, kwargs):
    env = gym.make(env_id, **kwargs)
    again = env_from_args(env.unwrapped.env_args())
    assert again.spec.id == env_id
    assert (again.observation_space, again.action_space) == (env.observation_space, env.action_space)
    assert again.unwrapped.env_args() == env.unwrapped.env_args()


def old_args(**kwargs) -> dict:
    """As files of robomimic v0.1 have them: no version, the controller flat, one name of a camera for all."""
    controller = {"type": "OSC_POSE", "kp": 150, "damping": 1, "control_delta": True, "interpolation": None}
    given = {"robots": ["Panda"] * 2, "env_configuration": "single-arm-opposed", "control_freq": 20, **kwargs}
    given = {"controller_configs": controller, "use_camera_obs": False, **given}
    return {"env_name": "TwoArmTransport", "type": 1, "env_kwargs": given}


def test_env_args_of_old_files():
    assert env_from_args(old_args()).spec.id == "Transport-v0"
    images = dict(use_camera_obs=True, camera_names="shouldercamera0", camera_heights=60, camera_widths=60)
    assert env_from_args(old_args(**images)).observation_space["shouldercamera0_image"].shape == (60, 60, 3)
    absolute = {"type": "OSC_POSE", "control_delta": False}
    assert env_from_args(old_args(controller_configs=absolute)).unwrapped.control == "absolute"
    assert env_from_args(old_args(), obs_type="image_state").unwrapped.obs_type == "image_state"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"env_name": "NutAssemblySqare"}, "got 'NutAssemblySqare'; nearest: 'NutAssemblySquare'"),
        ({"env_name": None}, "env_name must be one of .* got 'None'"),
        ({"type": 2}, "type must be 1, got 2"),
        ({"env_kwargs": {**old_args()["env_kwargs"], "control_freq": 10}}, "control_freq must be 20, got 10"),
        ({"env_kwargs": {**old_args()["env_kwargs"], "robots": ["Sawyer"]}}, r"robots must be .* got \['Sawyer'\]"),
        (
            old_args(controller_configs={"type": "OSC_POSE", "input_ref_frame": "base"}),
            "input_ref_frame must be 'world', got 'base'",
        ),
        (old_args(controller_configs={"type": "IK_POSE"}), "controller type must be 'OSC_POSE', got 'IK_POSE'"),
        (
            old_args(controller_configs={"type": "OSC_POSE", "interpolation": "linear"}),
            "interpolation must be None, got 'linear'",
        ),
        (
            old_args(use_camera_obs=True, camera_names=["a"], camera_heights=[1], camera_widths=[2]),
            r"images must be square and of one size, got \[1, 2\]",
        ),
    ],
)
def test_env_args_that_cannot_be_had(change, message):
    with pytest.raises(ConfigError, match=message):
        env_from_args({**old_args(), **change})


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"obs_type": "pixels"}, "Lift: obs_type must be one of .*got 'pixels'"),
        ({"control": "joint"}, "control must be one of .*got 'joint'"),
        ({"render_quality": "best"}, "render_quality must be one of .*got 'best'"),
        ({"render_mode": "human"}, "render_mode must be one of .*got 'human'"),
        ({"image_size": 10**6}, "image_size must be a whole number of pixels, at most 4096, got 1000000"),
        ({"image_size": 0}, "image_size must be a whole number of pixels, .*got 0"),
        ({"render_size": 0.5}, "render_size must be a whole number of pixels, .*got 0.5"),
    ],
)
def test_unknown_setting(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        Lift(**kwargs)


def test_unknown_camera():
    with pytest.raises(ConfigError, match=r"camera must be one of .*agentview.*got 'agentveiw'"):
        gym.make("Lift-v0", cameras=["agentveiw"]).reset(seed=0)


@pytest.mark.parametrize("action", [np.zeros(6), np.zeros((1, 7)), np.full(7, np.nan)])
def test_impossible_action(action):
    env = env_of("Lift-v0").unwrapped
    env.reset(seed=0)
    with pytest.raises(ConfigError, match=r"expected a finite action of shape \(7,\), got \["):
        env.step(action)


def test_impossible_state():
    env = env_of("Lift-v0").unwrapped
    env.reset(seed=0)
    with pytest.raises(ConfigError, match=r"state\['states'\] must have shape \(32,\), got \(31,\)"):
        env.set_state({"states": np.zeros(31)})


def test_reset_comes_first():
    with pytest.raises(ConfigError, match=r"expected reset\(\) before anything else"):
        gym.make("Lift-v0", obs_type="state").unwrapped.step(np.zeros(7))


# ---- OpenGL ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["nonsense", "disable"])
def test_states_need_no_opengl_and_pictures_say_why_they_do(backend):
    script = """
        import gymnasium as gym, l1flow_agents
        from l1flow_agents.errors import ConfigError
        gym.make("Lift-v0", obs_type="state").reset(seed=0)
        try:
            gym.make("Lift-v0").reset(seed=0)
        except ConfigError as error:
            print(error)
    """
    assert (
        f"MUJOCO_GL must be one of {('egl', 'osmesa', 'glfw')} or not set, got {backend!r}"
        in run(script, MUJOCO_GL=backend).stdout
    )


NOT_A_DEVICE = "MUJOCO_EGL_DEVICE_ID must be the number of an EGL device or not set, got"


@pytest.mark.parametrize(
    "variables, said",
    [
        ({"CUDA_VISIBLE_DEVICES": "1", "MUJOCO_EGL_DEVICE_ID": "0"}, None),  # robosuite asserts that 0 is in "1"
        ({"CUDA_VISIBLE_DEVICES": "1", "MUJOCO_EGL_DEVICE_ID": "abc"}, f"{NOT_A_DEVICE} 'abc' (it is no number)"),
        ({"MUJOCO_EGL_DEVICE_ID": "999"}, f"{NOT_A_DEVICE} '999' ("),
        ({"PYOPENGL_PLATFORM": "nonsense", "DISPLAY": None}, None),
    ],
)
def test_states_and_pictures_whatever_the_environment_says(variables, said):
    script = """
        import os, gymnasium as gym, l1flow_agents
        from l1flow_agents.envs.rendering import gl_context_class
        from l1flow_agents.errors import ConfigError
        before = dict(os.environ)
        from l1flow_agents.envs.robosuite_internals import robosuite
        for name in ("MUJOCO_GL", "MUJOCO_EGL_DEVICE_ID", "PYOPENGL_PLATFORM", "CUDA_VISIBLE_DEVICES"):
            assert os.environ.get(name) == before.get(name), name
        try:
            print(gl_context_class().__module__)
        except ConfigError as error:
            print(error)
    """
    done = run(script, MUJOCO_GL=None, **variables)
    if "no OpenGL" in done.stdout:
        pytest.skip("no OpenGL here")
    assert done.stdout.startswith(said or "mujoco.")
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def run(script: str, **environment: str | None) -> subprocess.CompletedProcess:
    """A fresh interpreter; a variable that is None is not set."""
    variables = {key: value for key, value in {**os.environ, **environment}.items() if value is not None}
    done = subprocess.run(
        [sys.executable, "-c", dedent(script)], capture_output=True, text=True, timeout=120, env=variables
    )
    assert done.returncode == 0, done.stderr
    return done
