"""Promise: numbers of any dtype act and train, or are refused in one line; float32 is what they become."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from conftest import ACTION, BARE, OBSERVATION, STATE, TINY, new_agent, random_episodes, random_observation
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from l1flow_agents import Episodes, L1FlowAgent
from l1flow_agents.errors import ConfigError, DatasetError, L1FlowError, ObservationError
from l1flow_agents.training import TrainingConfig

SHORT = {"batch_size": 8, "warmup_steps": 1, "val_fraction": 0.4, "learning_rate": 1e-3}
WIDE = spaces.Box(np.float32([-0.5, 0]), np.float32([1.5, 2]), dtype=np.float32)  # holds whole numbers, too
NUMBERS = ["float16", "float32", "float64", "longdouble", "int8", "int32", "int64", "uint8", "uint16", "uint64", ">f4"]


def trained_weights(space: spaces.Dict, demos: Episodes, action_space: spaces.Box = WIDE) -> dict[str, torch.Tensor]:
    agent = L1FlowAgent("mlp", (space, action_space), network_kwargs=TINY["mlp"])
    return agent.learn(demos, 4, **SHORT).policy.state_dict()


def whole_numbers(dtype: str, action_dtype: str = "float32") -> Episodes:
    """Demonstrations of numbers that every dtype here holds exactly."""
    rng = np.random.default_rng(0)
    pos, quat = rng.integers(0, 100, (60, 3)), rng.integers(0, 2, (60, 4))
    observations = {"pos": pos.astype(dtype), "eef_quat": quat.astype(dtype)}
    return Episodes(observations, rng.integers(0, 2, (60, 2)).astype(action_dtype), np.array([30, 60]))


def whole_space(dtype: str) -> spaces.Dict:
    box = {name: spaces.Box(0, 100, (n,), np.dtype(dtype).newbyteorder("=").type) for name, n in [("pos", 3), ("q", 4)]}
    return spaces.Dict({"pos": box["pos"], "eef_quat": box["q"]})


# ---- spaces and data of every dtype -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_float32() -> dict[str, torch.Tensor]:
    return trained_weights(whole_space("float32"), whole_numbers("float32"))


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("of", ["space", "data"])
def test_the_same_numbers_train_to_the_same_bits(in_float32, dtype, of):
    """Also a ``*_quat`` key, which nothing scales: in float64 it ended in torch's "mat1 and mat2" before."""
    space, data = (dtype, "float32") if of == "space" else ("float32", dtype)
    weights = trained_weights(whole_space(space), whole_numbers(data))
    assert weights.keys() == in_float32.keys()
    assert all(torch.equal(weights[name], in_float32[name]) for name in weights)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_actions_of_any_dtype_train_to_the_same_bits(in_float32, dtype):
    weights = trained_weights(whole_space("float32"), whole_numbers("float32", dtype))
    assert all(torch.equal(weights[name], in_float32[name]) for name in weights)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_the_same_numbers_give_the_same_actions(make_agent, dtype):
    numbers = whole_numbers(dtype).observations
    expected, _ = make_agent(space=whole_space("float32")).predict(whole_numbers("float32").observations)
    for space in (dtype, "float32"):
        torch.manual_seed(0)
        agent = make_agent(space=whole_space(space))
        torch.manual_seed(0)
        action, state = agent.predict(numbers)
        torch.manual_seed(0)
        expected, _ = make_agent(space=whole_space("float32")).predict(whole_numbers("float32").observations)
        np.testing.assert_array_equal(action, expected)
        assert all(part.dtype == np.float32 for part in state[1:])
        agent.predict({key: array[0] for key, array in numbers.items()})


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int32])
def test_whole_actions_are_rounded_into_their_box(make_agent, dtype):
    space = spaces.Box(0, 7, (2,), dtype)
    agent, observations = make_agent(action_space=space), random_observation(STATE, 50)
    action, state = agent.predict(observations, deterministic=True)
    exact, _ = make_agent(action_space=spaces.Box(0, 7, (2,))).predict(observations, deterministic=True)
    np.testing.assert_array_equal(action, exact.round())
    assert len(np.unique(action)) > 1 and (action != exact.astype(dtype)).any()  # rounded, not cut off
    assert action.dtype == state[1].dtype == dtype and all(space.contains(row) for row in action)
    assert agent.predict_chunk(observations).dtype == agent.sample({"pos": observations["pos"][0]}, 2).dtype == dtype
    demos = random_episodes()
    L1FlowAgent("mlp", (STATE, space), network_kwargs=TINY["mlp"]).learn(demos, 1, actions="clip", **SHORT)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (2, 2, 2, 2)])
@pytest.mark.parametrize("dtype", ["float64", "int64", "uint8"])
def test_boxes_of_any_number_of_axes(shape, dtype):
    """A box of no axes is one number; three axes of uint8 are a picture, tested elsewhere."""
    box = spaces.Box(0, 9, shape, np.dtype(dtype).type)
    agent = L1FlowAgent("mlp", (box, ACTION), network_kwargs=TINY["mlp"])
    rows = np.random.default_rng(0).integers(0, 9, (60, *shape)).astype(dtype)
    agent.learn(Episodes({"observation": rows}, np.zeros((60, 2), np.float32), np.array([30, 60])), 2, **SHORT)
    batched, _ = agent.predict(rows[:3], deterministic=True)
    alone = [agent.predict(row, deterministic=True)[0] for row in rows[:3]]
    np.testing.assert_allclose(batched, alone, rtol=1e-5, atol=1e-6)


def test_float32_data_are_not_copied():
    demos = random_episodes()
    agent = new_agent()
    from l1flow_agents.policy import to_tensor
    from l1flow_agents.training import fitting

    fitted = fitting(demos, agent.spaces_by_key, agent.action_space, TrainingConfig())
    assert fitted.observations["pos"] is demos.observations["pos"]
    assert to_tensor(demos.actions, torch.device("cpu")).data_ptr() == demos.actions.ctypes.data


# ---- what cannot be numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "space, action_space, reason",
    [
        (spaces.Box(0, 1, (3,), bool), ACTION, r"'observation': expected a box .* number, got Box\(False, True"),
        (spaces.Box(0, 1, (0,), np.float32), ACTION, r"'observation': expected a box of at least one"),
        (spaces.Dict({"a": BARE, "pressed": spaces.Box(0, 1, (3,), bool)}), ACTION, "'pressed': expected a box"),
        (BARE, spaces.Box(0, 1, (2,), bool), "'the action': expected a box"),
        (BARE, spaces.Discrete(3), "expected actions in a box"),
        (spaces.MultiBinary(3), ACTION, "expected observations that are a box"),
    ],
)
def test_spaces_that_hold_no_numbers(space, action_space, reason):
    with pytest.raises(ConfigError, match=reason):
        L1FlowAgent("mlp", (space, action_space), network_kwargs=TINY["mlp"])


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"pos": np.zeros((62, 3), bool)}, r"key 'pos' is bool of shape \(3,\) a step, expected float32"),
        ({"pos": np.zeros((62, 3), complex)}, "key 'pos': expected rows of numbers, found type complex128"),
        ({"pos": np.full((62, 3), 1e300)}, r"key 'pos' holds 1e\+300, which float32 cannot"),
        ({"action": np.full((62, 2), -1e300)}, r"key 'action' holds 1e\+300"),
        ({"action": np.zeros((62, 2), bool)}, "key 'action' is bool"),
        ({"image": np.zeros((62, 24, 20, 3), np.float32)}, "key 'image' is float32 of .*expected uint8"),
        ({"image": np.zeros((62, 24, 20, 3), np.int64)}, "key 'image' is int64 of .*expected uint8"),
    ],
)
def test_data_that_hold_no_numbers(change, reason):
    demos = random_episodes(images=True)
    arrays = {**demos.observations, "action": demos.actions, **change}
    with pytest.raises(DatasetError, match=reason):
        broken = Episodes({key: arrays[key] for key in ("pos", "image")}, arrays["action"], demos.ends)
        new_agent("mlp", OBSERVATION).learn(broken, 1, **SHORT)


@pytest.mark.parametrize(
    "value, reason",
    [
        ([[1.0], [1.0, 2.0], [3.0]], "'pos': not an array of numbers"),
        (np.array([True, False, True]), "'pos': expected dtype float32, got bool"),
        (np.array([1j, 2, 3]), "'pos': expected dtype float32, got complex128"),
        (np.array(["2020", "2021", "2022"], "datetime64[Y]"), "'pos': expected dtype float32, got datetime64"),
        (np.array([None, 1, 2]), "'pos': expected dtype float32, got object"),
        (torch.ones(3, requires_grad=True), "'pos': not an array of numbers"),
        (np.array([1e300, 0, 0]), r"'pos': expected finite numbers, got 1e\+300 \(float32 ends before\)"),
        (np.array([np.inf, 0, 0]), "'pos': expected finite numbers, got inf$"),
    ],
)
def test_observations_that_are_no_numbers(make_agent, value, reason):
    with pytest.raises(ObservationError, match=reason):
        make_agent().predict({"pos": value})


def test_a_plan_that_is_no_number_is_not_acted_out(make_agent):
    agent = make_agent()
    agent.policy.network.enter.weight[0, 0] = torch.nan
    for act in (agent.predict, agent.predict_chunk, lambda o: agent.sample(o, 2)):
        with pytest.raises(ObservationError, match="the plan is not finite"):
            act({"pos": np.zeros(3)})


# ---- all of it at once --------------------------------------------------------------------------------------------

DTYPES = npst.scalar_dtypes() | st.sampled_from([np.dtype(object), np.dtype("U3")])
AGENTS = {
    dtype: new_agent("mlp", spaces.Dict({"pos": spaces.Box(0, 9, (3,), np.dtype(dtype).type)}))
    for dtype in ("float32", "float64", "int64", "uint8")
}


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(AGENTS)),
    DTYPES.flatmap(lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))),
    st.booleans(),
)
def test_every_array_gives_actions_or_one_line(space, array, as_list):
    agent, value = AGENTS[space], array.tolist() if as_list else array
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            action, state = agent.predict({"pos": value})
    except L1FlowError as error:
        assert "\n" not in str(error)
    else:
        assert action.shape == (*array.shape[:-1], 2) and np.isfinite(action).all()
        assert all(ACTION.contains(row) for row in np.atleast_2d(action))
        agent.predict({"pos": value}, state)
