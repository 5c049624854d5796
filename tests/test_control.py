"""Promise: our control of the arms is robosuite's own, and what it is not made for is left to robosuite.

That the states are robosuite's bit for bit is also what test_robosuite.py, test_mimicgen.py and, over whole episodes of
experts, test_benchmarks.py hold it to.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils import seeding
from simulators import env_of

pytest.importorskip("robosuite", reason="the simulator of these tasks is not installed")

from l1flow_agents.envs.operational_space import operational_space
from l1flow_agents.envs.robosuite_control import PoseControl, RobosuiteControl
from l1flow_agents.envs.robosuite_env import RobosuiteEnv, _give_generator, robosuite
from l1flow_agents.envs.robosuite_tasks import Lift


@pytest.mark.parametrize("env_id", ["Lift-v0", "Square-v0", "Transport-v0", "ToolHang-v0", "Stack_D1-v0"])
def test_tasks_are_controlled_by_it(env_id):
    env = env_of(env_id)
    env.reset(seed=0)
    assert isinstance(env.unwrapped.control_loop.control, PoseControl)


def test_it_is_compiled_once():
    """Other kinds of arrays would be other types to numba, which compiles for seconds."""
    for control in ("delta", "absolute"):
        env = Lift(obs_type="state", control=control)
        env.reset(seed=0)
        action = np.zeros(7)
        action.flags.writeable = False
        for one in (action, action.astype(np.float32), action.tolist(), np.zeros(14)[::2]):
            env.step(one)
        env.set_state({**env.get_state(), "warmstart": 0})
        env.step(action)
        env.close()
    assert len(operational_space.signatures) == 1


JOINTS = {
    "type": "JOINT_POSITION",
    **{"input_max": 1, "input_min": -1, "output_max": 0.05, "output_min": -0.05},
    **{"kp": 50, "damping_ratio": 1, "impedance_mode": "fixed", "kp_limits": [0, 300], "damping_ratio_limits": [0, 10]},
    **{"qpos_limits": None, "interpolation": None, "ramp_ratio": 0.2, "gripper": {"type": "GRIP"}},
}


@pytest.mark.parametrize(
    "arm, dim",
    [
        ({"interpolation": "linear"}, 7),
        ({"input_ref_frame": "base"}, 7),
        ({"uncouple_pos_ori": False}, 7),
        (JOINTS, 8),
    ],
)
def test_another_controller_is_robosuites_own(arm, dim):
    class Other(Lift):
        def env_args(self) -> dict[str, Any]:
            args = super().env_args()
            args["env_kwargs"]["controller_configs"]["body_parts"]["right"].update(arm)
            return args

        def _action_box(self) -> spaces.Box:
            return spaces.Box(-1, 1, (dim,), np.float32)

    env = Other(obs_type="state")
    env.reset(seed=5)
    assert isinstance(env.control_loop.control, RobosuiteControl)
    assert_states_are_robosuites(env, 6)


def test_an_environment_with_its_own_way_to_act_keeps_it():
    class Gentle(type(env_of("Lift-v0").unwrapped.simulator)):
        def _pre_action(self, action, policy_step=False):
            super()._pre_action(0.1 * action, policy_step)

    env = Lift(obs_type="state")
    env.reset(seed=5)
    env.simulator.__class__ = Gentle
    env.reset(seed=5)
    assert isinstance(env.control_loop.control, RobosuiteControl)


def assert_states_are_robosuites(env: RobosuiteEnv, n_steps: int) -> None:
    kwargs = {**env.env_args()["env_kwargs"], "renderer": "mujoco", "lite_physics": True}
    theirs = robosuite.make(env.task.name, **kwargs)
    _give_generator(theirs, seeding.np_random(5)[0])
    theirs.reset()
    for part in theirs.robots[0].part_controllers.values():
        part.new_update = True
    for action in np.random.default_rng(0).uniform(-1, 1, (n_steps, *env.action_space.shape)):
        theirs.step(action)
        env.step(action)
        np.testing.assert_array_equal(env.get_state()["states"], theirs.sim.get_state().flatten())
    theirs.close()
    env.close()
