"""Promise: plans from recordings are those of the policy, for any batch; here with the recording played by the CPU.

What CUDA itself does with a recording needs a GPU, and is skipped without one.
"""

from __future__ import annotations

import logging
import pickle

import numpy as np
import pytest
import torch
from conftest import OBSERVATION

from l1flow_agents import replaying
from l1flow_agents.exporting import inputs
from l1flow_agents.replaying import ReplayedPlans


@pytest.fixture
def recorded(monkeypatch) -> list[int]:
    """Rows of each recording that is made from now on: one on the CPU, into one tensor for the result."""
    rows = []

    def captured(compute, device):
        result = compute().clone()
        rows.append(len(result))

        def replay():
            with torch.inference_mode():
                result.copy_(compute())

        return replay, result

    monkeypatch.setattr(replaying, "captured", captured)
    return rows


def tensors(agent, n):
    history, noise = inputs(agent, n)
    return {key: torch.from_numpy(array) for key, array in history.items()}, torch.from_numpy(noise)


@pytest.mark.parametrize("network", ["mlp", "unet"])
def test_plans_are_the_policys(make_agent, recorded, monkeypatch, network):
    monkeypatch.setattr(replaying, "LARGEST", 4)
    agent = make_agent(network, OBSERVATION)
    replayed = ReplayedPlans(agent.policy)
    for n in (3, 1, 2, 4, 3, 5):
        torch.testing.assert_close(replayed.plan(*tensors(agent, n)), agent.policy.plan(*tensors(agent, n)))
    assert recorded == [4, 1, 2], "the smallest powers of two, once each, and none for a large batch"


def test_a_plan_is_not_overwritten_by_the_next(make_agent, recorded):
    agent = make_agent()
    replayed = ReplayedPlans(agent.policy)
    first = replayed.plan(*tensors(agent, 2))
    kept = first.clone()
    assert not torch.equal(replayed.plan(*(tensors(agent, 1))), kept[:1])
    torch.testing.assert_close(first, kept, rtol=0, atol=0)


def test_weights_count_where_they_are_written_and_where_they_go(make_agent, recorded):
    agent, other = make_agent(), make_agent(seed=1)
    replayed = ReplayedPlans(agent.policy)
    replayed.plan(*tensors(agent, 1))
    agent.policy.load_state_dict(other.policy.state_dict())
    torch.testing.assert_close(replayed.plan(*tensors(agent, 1)), other.policy.plan(*tensors(agent, 1)))
    assert recorded == [1]
    for parameter in agent.policy.parameters():
        parameter.data = parameter.data.clone()
    replayed.plan(*tensors(agent, 1))
    assert recorded == [1, 1]


def test_what_cannot_be_recorded_is_planned_as_ever(make_agent, monkeypatch, caplog):
    def captured(compute, device):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(replaying, "captured", captured)
    agent = make_agent()
    replayed = ReplayedPlans(agent.policy)
    with caplog.at_level(logging.INFO, "l1flow_agents"):
        for n in (1, 2):
            torch.testing.assert_close(replayed.plan(*tensors(agent, n)), agent.policy.plan(*tensors(agent, n)))
    assert [record.message.split(": ")[1] for record in caplog.records] == [
        "operation not permitted when stream is capturing"
    ]


def test_the_agent_acts_by_them(make_agent, recorded):
    agent, plain = make_agent(space=OBSERVATION), make_agent(space=OBSERVATION)
    agent._replayed = ReplayedPlans(agent.policy)  # as on a GPU
    history, noise = inputs(agent, 3)
    np.testing.assert_allclose(agent.plan(history, noise), plain.plan(history, noise), atol=1e-6)
    assert recorded == [4]
    copy = pickle.loads(pickle.dumps(agent))
    np.testing.assert_allclose(copy.plan(history, noise), plain.plan(history, noise), atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_graphs(make_agent):
    agent = make_agent(space=OBSERVATION).with_settings(device="cuda")
    for n in (1, 3):
        history, noise = inputs(agent, n)
        found = agent.plan(history, noise)
        assert agent._replayed._recordings, "nothing was recorded"
        np.testing.assert_allclose(found, make_agent(space=OBSERVATION).plan(history, noise), atol=1e-3)
