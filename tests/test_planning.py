"""Promise: what a plan keeps from earlier ones, a traced network and a generator, changes no bit of it."""

from __future__ import annotations

import copy
import logging
import threading

import numpy as np
import pytest
import torch
from conftest import TINY

from l1flow_agents.exporting import inputs
from l1flow_agents.networks import traced
from l1flow_agents.networks.traced import MOST_ROWS, TracedNetwork
from l1flow_agents.noise import standard_normal


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """A network is traced at its fourth evaluation, the second plan."""
    monkeypatch.setattr(traced, "CALLS_BEFORE", 3)


def bare_plan(policy, observations, noise):
    with torch.inference_mode():
        return policy.sampled(policy.network, observations, noise)


def question(agent, n):
    history, noise = inputs(agent, n)
    return {key: torch.from_numpy(array) for key, array in history.items()}, torch.from_numpy(noise)


def traces(policy) -> list[int]:
    return sorted(policy._traced._traces)


@pytest.mark.parametrize("network", TINY)
@pytest.mark.parametrize("n", [1, 3, MOST_ROWS + 1])
def test_the_bits_of_a_plan(make_agent, network, n):
    policy, asked = (agent := make_agent(network)).policy, question(agent, n)
    expected = bare_plan(policy, *asked)
    for _ in range(5):
        assert torch.equal(policy.plan(*asked), expected)
    assert traces(policy) == ([n] if n <= MOST_ROWS else [])
    other = asked[0], asked[1] + 1
    assert torch.equal(policy.plan(*other), bare_plan(policy, *other))


@pytest.mark.parametrize("method", ["ddpm", "edm", "flow_matching", "l1_regression"])
def test_every_sampler_is_served(make_agent, method):
    policy, asked = (agent := make_agent(method=method)).policy, question(agent, 2)
    expected = bare_plan(policy, *asked)
    for _ in range(5):
        assert torch.equal(policy.plan(*asked), expected)
    assert traces(policy) == [2]


def test_other_weights_count_at_once(make_agent):
    agent, other = make_agent(), make_agent(seed=3)
    policy, asked = agent.policy, question(agent, 1)
    first = [policy.plan(*asked) for _ in range(3)][-1]
    assert traces(policy) == [1]
    with torch.no_grad():
        policy.network.time.mlp[-1].bias += 1  # in place, as training writes its average
    assert not torch.equal(policy.plan(*asked), first)
    assert torch.equal(policy.plan(*asked), bare_plan(policy, *asked))
    policy.load_state_dict(other.policy.state_dict())
    assert torch.equal(policy.plan(*asked), bare_plan(other.policy, *asked))
    assert traces(policy) == [1]  # of the same tensors
    policy.network.time.mlp[0].weight = torch.nn.Parameter(torch.zeros_like(policy.network.time.mlp[0].weight))
    assert torch.equal(policy.plan(*asked), bare_plan(policy, *asked))


def test_a_network_that_learns_is_called_itself(make_agent):
    agent = make_agent(network_kwargs={**TINY["mlp"], "dropout": 0.5})
    policy, asked = agent.policy, question(agent, 1)
    first = [policy.plan(*asked) for _ in range(3)][-1]
    assert traces(policy) == [1]
    policy.train()
    assert not torch.equal(policy.plan(*asked), first)
    policy.eval()
    assert torch.equal(policy.plan(*asked), first)


def test_hooks_are_called_and_forgotten(make_agent):
    agent = make_agent()
    policy, asked = agent.policy, question(agent, 1)
    first = [policy.plan(*asked) for _ in range(3)][-1]
    assert traces(policy) == [1]
    for module in (policy.network, policy.network.blocks[0]):
        hook = module.register_forward_hook(lambda module, given, out: out * 0.5)
        for _ in range(4):
            assert not torch.equal(policy.plan(*asked), first)
        assert traces(policy) == []
        hook.remove()
        for _ in range(4):
            assert torch.equal(policy.plan(*asked), first)
        assert traces(policy) == [1]


def test_another_layer_or_network_counts_at_once(make_agent):
    agent, other = make_agent(), make_agent(seed=3)
    policy, asked = agent.policy, question(agent, 1)
    first = [policy.plan(*asked) for _ in range(3)][-1]
    policy.network.cond[1] = torch.nn.Tanh()
    assert not torch.equal(policy.plan(*asked), first)
    assert torch.equal(policy.plan(*asked), bare_plan(policy, *asked))
    policy.network = other.policy.network
    for _ in range(3):
        assert torch.equal(policy.plan(*asked), bare_plan(policy, *asked))
    assert traces(policy) == [1]


def test_autocast_changes_no_plan(make_agent):
    agent = make_agent()
    asked = question(agent, 1)
    expected = agent.policy.plan(*asked)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(agent.policy.plan(*asked), expected)


def test_a_copy_keeps_its_own(make_agent):
    agent = make_agent()
    asked = question(agent, 1)
    before = [agent.policy.plan(*asked) for _ in range(3)][-1]
    twin = copy.deepcopy(agent.policy)
    assert traces(agent.policy) == [1] and traces(twin) == []
    with torch.no_grad():
        twin.network.time.mlp[0].weight.zero_()
    for _ in range(3):
        assert torch.equal(twin.plan(*asked), bare_plan(twin, *asked))
    assert not torch.equal(twin.plan(*asked), before)
    assert torch.equal(agent.policy.plan(*asked), before)


class Deciding(torch.nn.Module):
    """What it computes depends on a value."""

    def forward(self, x, t, cond):
        return x + 1 if t[0] > 0.5 else x - 1


class Drawing(torch.nn.Module):
    """Its own next number each time."""

    def forward(self, x, t, cond):
        return x + torch.rand(1)


@pytest.mark.parametrize("network, reason", [(Deciding(), "Python boolean"), (Drawing(), "other bits")])
def test_what_cannot_be_traced_is_called(caplog, network, reason):
    called, x = TracedNetwork(network.eval()), torch.zeros(1, 4, 2)
    with caplog.at_level(logging.INFO, logger=traced.__name__), torch.inference_mode():
        found = [called(x, torch.full((1,), k % 2), x) for k in range(12)]
    assert not called._traces and reason in caplog.text and len(caplog.records) == 1
    if isinstance(network, Deciding):
        assert [float(one.mean()) for one in found] == [-1, 1] * 6


def test_threads_trace_once_and_agree(make_agent):
    agent = make_agent()
    policy, asked = agent.policy, question(agent, 1)
    expected, found = bare_plan(policy, *asked), []
    threads = [threading.Thread(target=lambda: found.extend(policy.plan(*asked) for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80 and all(torch.equal(one, expected) for one in found)


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
