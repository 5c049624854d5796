"""Promise: an exported file plans as the agent does, in any batch, and tells how to use it."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import OBSERVATION
from gymnasium import spaces

from l1flow_agents import exporting
from l1flow_agents.cli.main import main
from l1flow_agents.errors import ConfigError

BATCH = 5  # unlike any that `export` tries itself


def test_onnx(make_agent, tmp_path):
    path = tmp_path / "deep" / "agent.onnx"
    agent = make_agent(method_kwargs={"t_mid": 0.4}, n_action_steps=4)
    agent.policy.normalizer.affine["action"].scale.mul_(0.2)  # so that actions are clipped
    agent.export(path)
    assert [file.name for file in path.parent.iterdir()] == ["agent.onnx"]
    session = onnxruntime.InferenceSession(path)
    history, noise = exporting.inputs(agent, BATCH)
    expected = agent.plan(history, noise)
    assert np.isin(expected, [agent.action_space.low, agent.action_space.high]).any(), "nothing is clipped"
    (plan,) = session.run(None, {**history, "noise": noise})
    np.testing.assert_allclose(plan, expected, atol=1e-5)
    told = json.loads(session.get_modelmeta().custom_metadata_map["l1flow_agents"])
    assert {one.name for one in session.get_inputs()} == set(told["inputs"])
    assert told["inputs"]["pos"] == {"shape": ["batch", 2, 3], "dtype": "float32"}
    assert (told["n_obs_steps"], told["n_action_steps"], told["env_id"]) == (2, 4, None)
    assert told["action_low"] == [-0.5, 0]


def test_torch(make_agent, tmp_path):
    agent = make_agent(space=OBSERVATION, method="l1_regression")  # one evaluation: it is traced the sooner
    agent.export(tmp_path / "agent.bin", format="torch")
    extra = {"l1flow_agents.json": ""}
    module = torch.export.load(tmp_path / "agent.bin", extra_files=extra).module()
    history, noise = exporting.inputs(agent, BATCH)
    plan = module({key: torch.from_numpy(array) for key, array in history.items()}, torch.from_numpy(noise))
    np.testing.assert_allclose(plan.numpy(force=True), agent.plan(history, noise), atol=1e-5)
    told = json.loads(extra["l1flow_agents.json"])
    assert told["output"]["plan"]["shape"] == ["batch", 15, 2]
    assert told["inputs"]["image"] == {"shape": ["batch", 2, 24, 20, 3], "dtype": "uint8"}


def test_whole_actions_are_rounded(make_agent):
    bounds = spaces.Box(np.array([0, -3]), np.array([9, 3]), dtype=np.int64)
    agent = make_agent(action_space=bounds)
    history, noise = exporting.inputs(agent, 4)
    tensors = {key: torch.from_numpy(array) for key, array in history.items()}
    plan = exporting.ExportedPlan(agent)(tensors, torch.from_numpy(noise))
    np.testing.assert_array_equal(plan.numpy(), agent.plan(history, noise))


def test_noise_on_the_way_is_one_line(make_agent, tmp_path):
    with pytest.raises(ConfigError, match=r"method 'ddpm' with {} makes no graph; those that draw noise") as caught:
        make_agent(method="ddpm").export(tmp_path / "agent.pt2")
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_file_that_plans_otherwise_is_not_left(make_agent, monkeypatch, tmp_path):
    agent = make_agent()
    monkeypatch.setattr(exporting, "traced", lambda actor: None)
    monkeypatch.setitem(exporting.WRITERS, "torch", lambda *_: lambda history, noise: agent.plan(history, noise) + 1e-3)
    with pytest.raises(ConfigError, match="plans differ"):
        agent.export(tmp_path / "agent.pt2")
    assert not list(tmp_path.iterdir())


def test_other_formats_are_refused(make_agent, tmp_path, capsys):
    with pytest.raises(ConfigError, match=r"expected a file .onnx or .pt2"):
        make_agent().export(tmp_path / "agent.tflite")
    assert main(["export", "pusht-state", "-o", str(tmp_path / "agent.txt")]) == 2
    assert "expected a file .onnx or .pt2" in capsys.readouterr().err
