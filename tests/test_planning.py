"""Promise: what a plan keeps from the last one, embedded times and a generator, changes no bit of it."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
import torch
from conftest import TINY

from l1flow_agents.exporting import inputs
from l1flow_agents.networks.embedding import MOST_KEPT, MOST_ROWS, KeptTimes, TimeEmbedding
from l1flow_agents.noise import standard_normal


def bare_plan(policy, observations, noise):
    with torch.inference_mode():
        return policy.sampled(policy.network, observations, noise)


@pytest.fixture
def embeddings(monkeypatch) -> list[int]:
    """Rows of every time that is embedded from now on."""
    rows, forward = [], TimeEmbedding.forward

    def spying(self, t):
        if t.ndim == 1:
            rows.append(len(t))
        return forward(self, t)

    monkeypatch.setattr(TimeEmbedding, "forward", spying)
    return rows


def question(agent, n):
    history, noise = inputs(agent, n)
    return {key: torch.from_numpy(array) for key, array in history.items()}, torch.from_numpy(noise)


@pytest.mark.parametrize("network", TINY)
@pytest.mark.parametrize("n", [1, 3, MOST_ROWS + 1])
def test_the_bits_of_a_plan(make_agent, embeddings, network, n):
    policy, asked = (agent := make_agent(network)).policy, question(agent, n)
    expected = bare_plan(policy, *asked)
    embeddings.clear()
    for _ in range(3):
        assert torch.equal(policy.plan(*asked), expected)
    assert embeddings == ([n] * 2 if n <= MOST_ROWS else [n] * 6)  # once for each of the two times, or ever again


def test_other_weights_are_other_embeddings(make_agent):
    agent, other = make_agent(), make_agent(seed=3)
    policy, asked = agent.policy, question(agent, 1)
    first = policy.plan(*asked)
    with torch.no_grad():
        policy.network.time.mlp[-1].bias += 1  # in place, as training writes its average
    assert not torch.equal(policy.plan(*asked), first)
    assert torch.equal(policy.plan(*asked), bare_plan(policy, *asked))
    policy.load_state_dict(other.policy.state_dict())
    assert torch.equal(policy.plan(*asked), bare_plan(other.policy, *asked))
    policy.network.time.mlp[0].weight = torch.nn.Parameter(torch.zeros_like(policy.network.time.mlp[0].weight))
    assert torch.equal(policy.plan(*asked), bare_plan(policy, *asked))


def test_a_copy_keeps_its_own(make_agent):
    agent = make_agent()
    asked = question(agent, 1)
    before = agent.policy.plan(*asked)
    twin = copy.deepcopy(agent.policy)
    with torch.no_grad():
        twin.network.time.mlp[0].weight.zero_()
    assert torch.equal(twin.plan(*asked), bare_plan(twin, *asked)) and not torch.equal(twin.plan(*asked), before)
    assert torch.equal(agent.policy.plan(*asked), before)


def test_what_is_kept_is_bounded(make_agent):
    network = make_agent().policy.network
    kept = KeptTimes(network)
    x, cond = torch.zeros(1, 16, 2), torch.zeros(1, 6)
    with torch.no_grad():
        for k in range(2 * MOST_KEPT):
            kept.current()(x, torch.full((1,), k / 999), cond)
    assert len(kept._kept) <= MOST_KEPT


def test_a_network_without_such_times():
    kept = KeptTimes(torch.nn.Bilinear(1, 1, 1))
    x = torch.ones(2, 1)
    with pytest.raises(TypeError, match="positional"):  # called as it is, with all three
        kept.current()(x, torch.ones(2), x)


def test_noise_is_a_stream_for_each_pair():
    seeds, numbers = [5, 0, 2**62 - 1], np.array([1, 0, 7])
    expected = [
        np.random.Generator(np.random.Philox(key=(seed, number))).standard_normal((4, 3), np.float32)
        for seed, number in zip(seeds, numbers.tolist(), strict=True)
    ]
    for _ in range(2):
        np.testing.assert_array_equal(standard_normal((4, 3), np.array(seeds), numbers), expected)
    odd = standard_normal((1, 1), [5], [1])  # leaves half a draw behind, which is no part of the next
    np.testing.assert_array_equal(standard_normal((4, 3), seeds, numbers), expected)
    assert odd[0, 0, 0] == expected[0][0, 0]


def test_threads_do_not_share_a_generator():
    found = {}

    def draw(k):
        for _ in range(50):
            found[k] = standard_normal((16, 7), [k] * 3, [1, 2, 3])

    threads = [threading.Thread(target=draw, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, rows in found.items():
        np.testing.assert_array_equal(rows, standard_normal((16, 7), [k] * 3, [1, 2, 3]))
