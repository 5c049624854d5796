"""stable-baselines3's contract of `predict`, for every network."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from conftest import ACTION, BARE, OBSERVATION, STATE, TINY, random_observation
from gymnasium import spaces

from l1flow_agents import L1FlowAgent
from l1flow_agents.errors import ConfigError, ObservationError

SPACES = {"dict": STATE, "image": OBSERVATION, "bare": BARE}


@pytest.fixture(scope="module", params=TINY)
def agent(request, make_agent) -> L1FlowAgent:
    return make_agent(request.param)


@pytest.fixture(scope="module")
def seeing(make_agent) -> L1FlowAgent:
    """An agent with an image key."""
    return make_agent("mlp", OBSERVATION)


def observe(n: int | None = None, seed: int = 0, space: spaces.Space = STATE):
    return random_observation(space, n, seed)


def same(one, other) -> bool:
    """Whether two states are equal to the bit."""
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def spy_on_plans(agent: L1FlowAgent, monkeypatch) -> list[dict[str, np.ndarray]]:
    """The histories of every call of `plan` from now on."""
    calls, plan = [], agent.plan

    def spying(history, noise):
        calls.append({key: array.copy() for key, array in history.items()})
        return plan(history, noise)

    monkeypatch.setattr(agent, "plan", spying)
    return calls


# ---- shapes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", TINY)
@pytest.mark.parametrize("n", [None, 1, 3])
@pytest.mark.parametrize("kind", SPACES)
def test_one_action_an_observation(make_agent, network, n, kind):
    agent, space = make_agent(network, SPACES[kind]), SPACES[kind]
    observation = observe(n, space=space)
    action, state = agent.predict(observation)
    assert action.shape == ((2,) if n is None else (n, 2))
    assert action.dtype == ACTION.dtype
    assert all(ACTION.contains(row) for row in np.atleast_2d(action))
    assert all(len(part) == (n or 1) for part in state)
    assert agent.predict_chunk(observation).shape == (*action.shape[:-1], 15, 2)
    again, _ = agent.predict(observation, state)
    assert again.shape == action.shape


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bound", [0.1, 1e-3])
def test_actions_are_clipped_in_the_dtype_of_the_space(make_agent, dtype, bound):
    space = spaces.Box(-bound, bound, (2,), dtype)
    agent = make_agent("mlp", action_space=space)
    agent.policy.normalizer.affine["action"].scale.fill_(0.5 / bound)  # some inside, some outside
    action, state = agent.predict(observe(40))
    assert action.dtype == dtype
    assert all(space.contains(row) for row in action)
    assert (np.abs(action) == space.high).any() and len(np.unique(action)) > 2
    assert all(space.contains(row) for row in agent.predict(observe(40), state)[0])


def test_images_may_come_channels_first(seeing):
    for n in (None, 3):
        observation = observe(n, space=OBSERVATION)
        flipped = {**observation, "image": np.moveaxis(observation["image"], -1, -3)}
        expected, _ = seeing.predict(observation, deterministic=True)
        np.testing.assert_array_equal(seeing.predict(flipped, deterministic=True)[0], expected)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, list])
def test_numbers_of_any_kind_are_taken(make_agent, dtype):
    agent = make_agent()
    given = [1, -2, 0] if dtype is list else np.array([1, -2, 0], dtype)
    expected, _ = agent.predict({"pos": np.float32([1, -2, 0])}, deterministic=True)
    np.testing.assert_array_equal(agent.predict({"pos": given}, deterministic=True)[0], expected)


def test_keys_may_come_in_any_order_and_with_company(seeing):
    observation = observe(2, space=OBSERVATION)
    shuffled = {"unknown": np.zeros(9), **dict(reversed(list(observation.items())))}
    expected, _ = seeing.predict(observation, deterministic=True)
    np.testing.assert_array_equal(seeing.predict(shuffled, deterministic=True)[0], expected)


# ---- chunks -------------------------------------------------------------------------------------------------------


def test_a_chunk_is_executed_to_its_end(agent, monkeypatch):
    calls, state = spy_on_plans(agent, monkeypatch), None
    for step in range(17):
        _, state = agent.predict(observe(seed=step), state)
        assert len(calls) == 1 + step // 8


def test_the_executed_actions_are_the_planned_ones(agent):
    observation = observe(3)
    planned = agent.predict_chunk(observation, deterministic=True)
    state, executed = None, []
    for step in range(8):
        later = observation if step == 0 else observe(3, seed=100 + step)
        action, state = agent.predict(later, state, deterministic=True)
        executed.append(action)
    np.testing.assert_array_equal(np.stack(executed, axis=1), planned[:, :8])
    ninth, _ = agent.predict(observe(3, seed=9), state, deterministic=True)
    assert np.abs(ninth - planned[:, 8]).max() > 1e-4


def test_only_those_who_need_it_are_replanned_in_one_batch(agent, monkeypatch):
    _, state = agent.predict(observe(4))
    for step in range(3):
        starts = np.array([False, True, False, step == 0])
        _, state = agent.predict(observe(4, seed=step), state, episode_start=starts)
    assert state[0][:, 0].tolist() == [4, 1, 4, 3]  # environment 1 started anew three times, environment 3 once

    calls, planned = spy_on_plans(agent, monkeypatch), []
    for step in range(8):
        _, state = agent.predict(observe(4, seed=10 + step), state)
        planned.append(sum(len(call["pos"]) for call in calls))
        assert len(calls) <= step + 1
        calls.clear()
    assert planned == [0, 0, 0, 0, 2, 1, 0, 1]


def test_episode_start_forgets_one_environment_and_no_other(agent):
    _, state = agent.predict(observe(3))
    for step in range(4):
        _, state = agent.predict(observe(3, seed=1 + step), state)
    newest = observe(3, seed=50)
    kept, kept_state = agent.predict(newest, state, deterministic=True)
    cut, cut_state = agent.predict(newest, state, np.array([False, True, False]), deterministic=True)

    np.testing.assert_array_equal(cut[[0, 2]], kept[[0, 2]])
    for part, other in zip(cut_state, kept_state, strict=True):
        np.testing.assert_array_equal(part[[0, 2]], other[[0, 2]])
    assert np.abs(cut[1] - kept[1]).max() > 1e-4
    assert (cut_state[2][1] == newest["pos"][1]).all()  # nothing of the old episode is left
    assert (kept_state[2][1] != cut_state[2][1]).any()


def test_a_started_environment_acts_as_a_new_one(agent):
    """Mid-chunk; only the noise may differ, so it is taken from the same stream."""
    state = agent.initial_state(2, noise_seeds=np.array([5, 6]))
    for step in range(4):
        _, state = agent.predict(observe(2, seed=step), state)
    newest = observe(2, seed=9)
    started, _ = agent.predict(newest, state, np.array([True, True]))
    fresh = agent.initial_state(2, noise_seeds=np.array([5, 6]))
    fresh[0][:, 2] = state[0][:, 2]
    expected, _ = agent.predict(newest, fresh)
    np.testing.assert_allclose(started, expected, rtol=1e-6)


def played(agent, state, starts, deterministic: bool, n_steps: int = 17) -> tuple[np.ndarray, tuple]:
    """The actions of two environments over an episode of three plans, and the state that it ends with."""
    actions = []
    for step in range(n_steps):
        action, state = agent.predict(observe(2, seed=step), state, starts if step == 0 else None, deterministic)
        actions.append(action)
    return np.stack(actions), state


def test_a_deterministic_episode_does_not_depend_on_those_before_it(agent):
    """The right value is that of a new agent's first episode, to the bit, in every plan of the episode."""
    first, state = played(agent, None, None, deterministic=True)
    for _ in range(2):
        again, state = played(agent, state, np.ones(2, bool), deterministic=True)
        np.testing.assert_array_equal(again, first)
    cut, _ = played(agent, state, np.array([True, False]), deterministic=True)
    np.testing.assert_allclose(cut[:, 0], first[:, 0], rtol=1e-5, atol=1e-6)
    assert np.abs(cut[8, 1] - first[8, 1]).max() > 1e-4  # the other goes on with its fourth plan and its own history


def test_a_random_episode_differs_from_those_before_it(agent):
    """Plan after plan goes on in the stream of noise that the state carries, as `evaluate` numbers them too."""
    seeds = np.array([5, 6])
    first, state = played(agent, agent.initial_state(2, seeds), None, deterministic=False)
    second, state = played(agent, state, np.ones(2, bool), deterministic=False)
    assert (np.abs(second - first).max(axis=2) > 1e-4).all()
    for k, actions in enumerate((first, second)):  # the noise of each plan is that of its number in the stream
        counters = agent.initial_state(2, seeds)
        counters[0][:, 2] = 3 * k
        np.testing.assert_array_equal(played(agent, counters, None, deterministic=False)[0], actions)


def test_all_starts_true_at_the_first_call_changes_nothing(agent):
    """What `evaluate_policy` does: state None, every episode_start True."""
    plain, _ = agent.predict(observe(2), deterministic=True)
    started, _ = agent.predict(observe(2), None, np.ones(2, bool), deterministic=True)
    np.testing.assert_array_equal(plain, started)


def test_without_state_every_call_plans_from_this_observation_alone(agent, monkeypatch):
    calls = spy_on_plans(agent, monkeypatch)
    for step in range(3):
        observation = observe(2, seed=step)
        agent.predict(observation)
        np.testing.assert_array_equal(calls[-1]["pos"], np.stack([observation["pos"]] * 2, axis=1))
    assert len(calls) == 3


def test_history_is_the_last_observations_oldest_first(make_agent, monkeypatch):
    agent = make_agent("mlp", OBSERVATION, n_obs_steps=3, n_action_steps=1)
    calls, state = spy_on_plans(agent, monkeypatch), None
    seen = [observe(2, seed=step, space=OBSERVATION) for step in range(5)]
    for observation in seen:
        _, state = agent.predict(observation, state)
    for step, call in enumerate(calls):
        for key in OBSERVATION.spaces:
            expected = [seen[max(past, 0)][key] for past in (step - 2, step - 1, step)]
            np.testing.assert_array_equal(call[key], np.stack(expected, axis=1))


def test_history_grows_while_a_chunk_is_executed(make_agent, monkeypatch):
    agent = make_agent(n_obs_steps=3, n_action_steps=4)
    calls, state = spy_on_plans(agent, monkeypatch), None
    for step in range(5):
        _, state = agent.predict({"pos": np.full(3, step, np.float32)}, state)
    assert calls[1]["pos"][0, :, 0].tolist() == [2, 3, 4]


def test_the_plan_lines_up_with_the_newest_observation(make_agent, monkeypatch):
    """Row n_obs_steps - 1 of the network's chunk is the action for now (the sampling rule of the data)."""
    agent = make_agent(n_obs_steps=3, n_action_steps=4)
    rows = torch.arange(16.0)[:, None].expand(2, 16, 2) / 20 - 0.4
    monkeypatch.setattr(agent.policy, "plan", lambda observations, noise, *settled: rows)
    planned = agent.predict_chunk(observe(2))
    np.testing.assert_array_equal(planned, rows[:, 2:].numpy().clip(ACTION.low, ACTION.high))
    assert planned[0, 0, 0] == pytest.approx(2 / 20 - 0.4)


def test_the_agent_remembers_nothing(agent):
    """Two interleaved episodes, each with its own state, do not disturb each other."""

    def episode(seed):
        state = None
        for step in range(10):
            action, state = agent.predict(observe(seed=seed + step), state, deterministic=True)
            yield action

    apart = [*episode(0)], [*episode(100)]
    together = [*zip(episode(0), episode(100), strict=True)]
    np.testing.assert_array_equal(np.array(apart).swapaxes(0, 1), together)


def test_arguments_are_not_changed(seeing):
    observation = observe(2, space=OBSERVATION)
    _, state = seeing.predict(observation)
    starts = np.array([True, False])
    before = copy.deepcopy((observation, state, starts))
    seeing.predict(observation, state, starts)
    assert all(np.array_equal(observation[key], before[0][key]) for key in observation)
    assert same(state, before[1])
    assert np.array_equal(starts, before[2])


def test_results_do_not_share_memory_with_the_observation(seeing):
    """SB3's vector environments reuse their observation buffers."""
    observation = observe(2, space=OBSERVATION)
    for n_obs in (1, 2):
        agent = seeing if n_obs == 2 else L1FlowAgent("mlp", (STATE, ACTION), n_obs_steps=1, network_kwargs=TINY["mlp"])
        _, state = agent.predict(observation)
        kept = copy.deepcopy(state)
        for array in observation.values():
            array[...] = 0
        assert same(state, kept)


# ---- chance -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 17])
def test_deterministic_is_the_same_alone_and_in_any_batch(agent, n):
    observation = observe(17)
    part = {key: array[:n] for key, array in observation.items()}
    batched, _ = agent.predict(part, deterministic=True)
    for i in range(n):
        alone, _ = agent.predict({key: array[i] for key, array in part.items()}, deterministic=True)
        np.testing.assert_allclose(batched[i], alone, rtol=1e-5, atol=1e-6)


def test_deterministic_depends_on_the_observation_only(agent):
    observation = {"pos": np.repeat(observe()["pos"][None], 3, axis=0)}
    torch.manual_seed(0)
    first, _ = agent.predict(observation, deterministic=True)
    torch.manual_seed(1)
    second, _ = agent.predict(observation, deterministic=True)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, first[[1, 2, 0]], rtol=1e-5, atol=1e-6)
    other, _ = agent.predict(observe(3), deterministic=True)
    assert len(np.unique(other.round(5), axis=0)) == 3


def test_chance_is_torchs_seed(agent):
    observation = {"pos": np.repeat(observe()["pos"][None], 3, axis=0)}

    def act(seed):
        torch.manual_seed(seed)
        return agent.predict(observation)[0]

    np.testing.assert_array_equal(act(0), act(0))
    assert np.abs(act(0) - act(1)).max() > 1e-4
    assert len(np.unique(act(0).round(5), axis=0)) == 3  # each environment draws its own noise


def test_a_state_carries_its_noise(agent):
    """Whatever n is, environment i acts by its own stream: an evaluation does not depend on the number of workers."""
    seeds = np.array([11, 12, 13])

    def walk(rows):
        state, actions = agent.initial_state(len(rows), seeds[rows]), []
        for step in range(10):
            action, state = agent.predict({"pos": observe(3, seed=step)["pos"][rows]}, state)
            actions.append(action)
        return np.stack(actions)

    together = walk([0, 1, 2])
    for i in range(3):
        np.testing.assert_allclose(walk([i])[:, 0], together[:, i], rtol=1e-5, atol=1e-6)


def test_a_later_plan_draws_new_noise(agent):
    observation, state, actions = observe(), None, []
    for _ in range(17):
        action, state = agent.predict(observation, state)
        actions.append(action)
    firsts = np.array(actions)[[0, 8, 16]]
    assert len(np.unique(firsts.round(5), axis=0)) == 3


@pytest.mark.parametrize("deterministic", [True, False])
def test_predict_chunk_is_what_predict_executes(agent, deterministic):
    observation = observe(3)
    torch.manual_seed(4)
    planned = agent.predict_chunk(observation, deterministic=deterministic)
    torch.manual_seed(4)
    state = None
    for step in range(8):
        action, state = agent.predict(observation, state, deterministic=deterministic)
        np.testing.assert_array_equal(action, planned[:, step])


def test_sample_gives_distinct_chunks(agent):
    chunks = agent.sample(observe(), 6)
    assert chunks.shape == (6, 15, 2)
    assert len(np.unique(chunks.reshape(6, -1).round(5), axis=0)) == 6
    np.testing.assert_array_equal(chunks, agent.sample(observe(), 6))
    assert np.abs(chunks - agent.sample(observe(), 6, seed=1)).max() > 1e-4
    with pytest.raises(ObservationError, match="one observation, got a batch"):
        agent.sample(observe(2), 6)


@pytest.mark.parametrize("agent", ["mlp"], indirect=True)
@pytest.mark.parametrize("wrong", [{"n": 2.5}, {"n": "a"}, {"n": 0}, {"seed": 2**70}, {"seed": None}, {"seed": -1}])
def test_sample_says_what_it_takes(agent, wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ConfigError, match=rf"^sample: {name} must be .*, got {value!r}$"):
        agent.sample(observe(), **{"n": 2, **wrong})


def test_observation_and_state_survive_pickle(seeing):
    observation = observe(2, space=OBSERVATION)
    _, state = seeing.predict(observation)
    expected = seeing.predict(observation, state)
    received = seeing.predict(*pickle.loads(pickle.dumps((observation, state))))
    np.testing.assert_array_equal(received[0], expected[0])
    assert same(received[1], expected[1])


# ---- mistakes -----------------------------------------------------------------------------------------------------

POS, IMAGE = np.zeros(3, np.float32), np.zeros((24, 20, 3), np.uint8)


@pytest.mark.parametrize(
    "observation, reason",
    [
        ({"pos": POS, "picture": IMAGE}, r"'image' is missing, expected \['image', 'pos'\], got \['picture', 'pos'\]"),
        ({"pos": POS[:2], "image": IMAGE}, r"'pos': expected shape \(3,\) or \(n, 3,\), got \(2,\)"),
        ({"pos": POS[None, None], "image": IMAGE}, r"'pos': expected shape.*got \(1, 1, 3\)"),
        ({"pos": POS, "image": IMAGE[:20]}, r"'image': expected shape \(24, 20, 3\).*got \(20, 20, 3\)"),
        ({"pos": POS, "image": IMAGE / np.float32(255)}, "'image': expected dtype uint8, got float32"),
        ({"pos": POS, "image": IMAGE.astype(int)}, "'image': expected dtype uint8, got int64"),
        ({"pos": np.array(["a", "b", "c"]), "image": IMAGE}, "'pos': expected dtype float32, got <U1"),
        ({"pos": POS + np.nan, "image": IMAGE}, "'pos': expected finite numbers, got nan"),
        ({"pos": POS - np.inf, "image": IMAGE}, "'pos': expected finite numbers, got -inf"),
        ({"pos": POS[None].repeat(2, 0), "image": IMAGE[None]}, "same number of rows.*'image': 1.*'pos': 2"),
        ({"pos": POS[None][:0], "image": IMAGE[None][:0]}, "at least one observation, got an empty batch"),
        (({"pos": POS, "image": IMAGE}, {}), r"expected an observation, got a tuple.*\(observation, info\)"),
        (POS, r"expected a dict with keys \['image', 'pos'\], got ndarray"),
        (None, r"expected a dict with keys \['image', 'pos'\], got NoneType"),
    ],
)
def test_a_wrong_observation_is_explained(seeing, observation, reason):
    for method in (seeing.predict, seeing.predict_chunk, lambda o: seeing.sample(o, 2)):
        with pytest.raises(ObservationError, match=reason):
            method(observation)


@pytest.mark.parametrize(
    "value, reason", [(np.zeros((2, 4)), r"expected shape \(5,\).*got \(2, 4\)"), ({}, "expected")]
)
def test_a_wrong_bare_observation_is_explained(make_agent, value, reason):
    with pytest.raises(ObservationError, match=reason):
        make_agent(space=BARE).predict(value)


def test_a_state_of_others_is_refused(agent, seeing):
    _, of_two = agent.predict(observe(2))
    for observation, state in [(observe(3), of_two), (observe(), of_two), (observe(2), of_two[:2])]:
        with pytest.raises(ObservationError, match="state does not belong to"):
            agent.predict(observation, state)
    _, of_another = seeing.predict(observe(2, space=OBSERVATION))
    with pytest.raises(ObservationError, match="state does not belong to 2 environments of this agent"):
        agent.predict(observe(2), of_another)


@pytest.mark.parametrize("state", [5, {"a": 1}, (1, 2), "state"])
def test_something_that_is_no_state_is_refused(agent, state):
    with pytest.raises(ObservationError, match="state"):
        agent.predict(observe(2), state)


@pytest.mark.parametrize("starts", [np.zeros(3, bool), np.zeros((2, 1), bool), np.array(["no", "no"])])
def test_wrong_episode_starts_are_refused(agent, starts):
    with pytest.raises(ObservationError, match=r"episode_start must be \(2,\) booleans, got shape"):
        agent.predict(observe(2), episode_start=starts)
