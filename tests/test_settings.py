"""Promise: settings and provenance are records. What is saved is what acts, and only `with_settings` differs."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, fields, replace

import numpy as np
import pytest
import torch
import yaml
from conftest import ACTION, STATE, TINY, new_agent, random_episodes, random_observation
from hypothesis import given
from hypothesis import strategies as st

from l1flow_agents import ChunkAgent, L1FlowAgent, checkpoint, zoo
from l1flow_agents.env_description import EnvDescription
from l1flow_agents.errors import ConfigError
from l1flow_agents.frozen import FrozenDict, frozen
from l1flow_agents.methods import METHODS
from l1flow_agents.names import plain
from l1flow_agents.provenance import Provenance
from l1flow_agents.settings import AgentSettings
from l1flow_agents.versions import versions

OTHER_SAMPLERS = {
    "l1flow": {"t_mid": 0.3},
    "flow_matching": {"n_steps": 2},
    "ddpm": {"sampler": "ddim", "n_steps": 5},
    "edm": {"n_steps": 3},
}
SHORT = {"batch_size": 8, "warmup_steps": 1}


@pytest.fixture
def trained() -> ChunkAgent:
    return new_agent(method_kwargs={"time": "beta"}).learn(random_episodes(), 3, **SHORT)


def plan(agent, seed: int = 0) -> np.ndarray:
    return agent.predict_chunk(random_observation(STATE, 3, seed), deterministic=True)


# ---- frozen -------------------------------------------------------------------------------------------------------


@given(st.recursive(st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_what_is_frozen_says_the_same(value):
    assert plain(frozen(value)) == value
    assert frozen(frozen(value)) == frozen(value)
    assert pickle.loads(pickle.dumps(frozen(value))) == copy.deepcopy(frozen(value)) == frozen(value)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.update(a=2),
        lambda one: one.__setitem__("a", 2),
        lambda one: one.__delitem__("a"),
        lambda one: one.__ior__({"a": 2}),
        lambda one: one.setdefault("c", 3),
        lambda one: one.pop("a"),
        lambda one: one.popitem(),
        lambda one: one.clear(),
        lambda one: one["b"][0].update(a=2),
    ],
)
def test_a_frozen_mapping_refuses_changes_and_a_copy_takes_them(change):
    one = frozen({"a": 1, "b": [{"a": 1}]})
    with pytest.raises(ConfigError, match="cannot be changed"):
        change(one)
    assert one == {"a": 1, "b": ({"a": 1},)} and isinstance(one, FrozenDict)
    assert {**one, "a": 2} == dict(one) | {"a": 2}


# ---- settings -----------------------------------------------------------------------------------------------------


def test_nothing_reaches_the_settings_from_outside(trained):
    given_kwargs = {"dims": [16, 32], "time_dim": np.int64(16)}
    agent = new_agent("unet", network_kwargs=given_kwargs)
    given_kwargs["dims"].append(64)
    given_kwargs["time_dim"] = 1
    assert agent.config()["agent"]["network_kwargs"] == {"dims": [16, 32], "time_dim": 16}
    agent.config()["agent"]["network_kwargs"]["dims"].append(64)
    assert agent.settings.network_kwargs == {"dims": (16, 32), "time_dim": 16}
    with pytest.raises(FrozenInstanceError):
        agent.settings.horizon = 3
    trained.env_kwargs["a"] = 1
    assert trained.env_kwargs == {}


def test_settings_and_provenance_survive_copies(trained):
    for record in (trained.settings, trained.provenance):
        assert pickle.loads(pickle.dumps(record)) == copy.deepcopy(record) == record
        assert type(record)(**asdict(record)) == record
    assert AgentSettings(**trained.settings.to_dict()) == trained.settings


@pytest.mark.parametrize(
    "given, reason",
    [
        ({"horizon": "long"}, "horizon must be a whole number, got 'long'"),
        ({"horizon": True}, "horizon must be a number, not true or false, got True"),
        ({"n_obs_steps": None}, "n_obs_steps must be a whole number, got None"),
        ({"n_action_steps": 4.5}, "n_action_steps must be a whole number, got 4.5"),
        ({"network": 3}, "network must be text, got 3"),
        ({"method": None}, "method must be text, got None"),
        ({"method_kwargs": [1]}, r"method_kwargs must be a mapping, got \[1\]"),
    ],
)
def test_settings_of_another_kind(given, reason):
    with pytest.raises(ConfigError, match=reason):
        AgentSettings(**{"network": "mlp", **given})


@pytest.mark.parametrize("name", [one.name for one in fields(AgentSettings)] + ["settings"])
def test_settings_cannot_be_assigned(trained, name):
    before = trained.config()
    with pytest.raises(ConfigError, match=f"^{name} (is|are) .*agent.with_settings") as caught:
        setattr(trained, name, 4)
    assert "\n" not in str(caught.value)
    assert trained.config() == before


def test_the_explicit_way_is_named(trained):
    with pytest.raises(ConfigError, match=r"agent.with_settings\(n_action_steps=4\) gives an agent with it"):
        trained.n_action_steps = 4


# ---- other settings for the same weights --------------------------------------------------------------------------


def test_changed_steps_act_and_are_saved(trained, tmp_path):
    """What was lost before: an agent that executed 4 actions was saved as one of 8."""
    other = trained.with_settings(n_action_steps=4)
    assert (other.n_action_steps, trained.n_action_steps) == (4, 8)
    other.save(tmp_path / "other")
    loaded = L1FlowAgent.load(tmp_path / "other")
    assert loaded.n_action_steps == 4 and loaded.settings == other.settings
    replans, state = [], None
    for _ in range(9):
        _, state = loaded.predict(random_observation(STATE), state)
        replans.append(int(state[0][0, 0] == 1))
    assert replans == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    np.testing.assert_array_equal(plan(loaded), plan(trained))


@pytest.mark.parametrize("method", OTHER_SAMPLERS)
def test_changed_samplers_act_and_are_saved(method, tmp_path):
    agent = new_agent(method=method)
    other = agent.with_settings(method_kwargs=OTHER_SAMPLERS[method], device="cpu")
    assert np.abs(plan(other) - plan(agent)).max() > 1e-5
    other.save(tmp_path / "other")
    np.testing.assert_array_equal(plan(L1FlowAgent.load(tmp_path / "other")), plan(other))
    back = {name: METHODS[method]().__dict__[name] for name in OTHER_SAMPLERS[method]}
    np.testing.assert_array_equal(plan(other.with_settings(method_kwargs=back)), plan(agent))


def test_unnamed_settings_of_the_method_stay(trained):
    other = trained.with_settings(method_kwargs={"sampler": "euler"}).with_settings(method_kwargs={"n_steps": 3})
    assert other.settings.method_kwargs == {"time": "beta", "sampler": "euler", "n_steps": 3}


def test_the_weights_are_a_copy(trained):
    before, other = plan(trained), trained.with_settings(n_action_steps=4)
    other.learn(random_episodes(seed=3), 3, learning_rate=0.1, **SHORT)
    np.testing.assert_array_equal(plan(trained), before)
    assert np.abs(plan(other) - before).max() > 1e-4


def test_provenance_goes_along_and_a_score_only_with_what_it_was_measured_on(trained):
    trained.provenance = replace(
        trained.provenance, score={"mean": 1}, env=EnvDescription("PushT-v0"), versions={"torch": "0.1"}
    )
    assert trained.with_settings(device="cpu").provenance == trained.provenance
    other = trained.with_settings(n_action_steps=4).provenance
    assert other == replace(trained.provenance, score={})


@pytest.mark.parametrize("name", ["network", "method", "horizon", "n_obs_steps", "network_kwargs", "encoder_kwargs"])
def test_what_the_weights_depend_on_is_refused(trained, name):
    with pytest.raises(
        ConfigError, match=rf"^{name} is .* the weights depend on it; what may change is n_action_steps"
    ):
        trained.with_settings(**{name: 4})
    assert trained.with_settings(**{name: getattr(trained.settings, name)}).settings == trained.settings


@pytest.mark.parametrize(
    "method, kwargs, reason",
    [
        ("l1flow", {"loss": "mse"}, r"loss is 'l1' in the training .*\['sampler', 't_mid', 'n_steps'\]"),
        ("l1flow", {"n_stesp": 4}, "no setting 'n_stesp'.*did you mean 'n_steps'"),
        ("l1flow", {"n_steps": 0}, "n_steps must be at least 1, got 0"),
        ("l1flow", 4, "method_kwargs must be a mapping, got 4"),
        ("l1_regression", {"n_steps": 4}, "no setting 'n_steps'"),
    ],
)
def test_what_is_no_setting_of_the_sampler_is_refused(method, kwargs, reason):
    with pytest.raises(ConfigError, match=reason):
        new_agent(method=method).with_settings(method_kwargs=kwargs)


def test_a_distilled_generator_stays_what_it_was_distilled_as():
    student = ChunkAgent.from_teacher(new_agent(method="ddpm"), "onedp", {"stochastic": False})
    assert student.with_settings(method_kwargs={"stochastic": False}).settings == student.settings
    with pytest.raises(ConfigError, match="stochastic is False in the training that made the weights"):
        student.with_settings(method_kwargs={"stochastic": True})


def test_steps_that_do_not_fit(trained):
    for changes, reason in [({"n_action_steps": 40}, "most horizon = 16"), ({"n_acton_steps": 4}, "'n_action_steps'")]:
        with pytest.raises(ConfigError, match=reason):
            trained.with_settings(**changes)


# ---- provenance ---------------------------------------------------------------------------------------------------


def test_a_student_knows_its_teacher_and_environment(trained, tmp_path):
    teacher = new_agent(method="ddpm")
    teacher.provenance = replace(
        teacher.provenance, env=EnvDescription("PushT-v0", {"obs_type": "state"}), score={"a": 1}
    )
    teacher.learn(random_episodes(), 3, **SHORT)
    student = ChunkAgent.from_teacher(teacher, "onedp").learn(random_episodes(), 2, **SHORT)
    student.save(tmp_path / "student")
    loaded = L1FlowAgent.load(tmp_path / "student").provenance
    assert loaded == student.provenance
    assert (loaded.env, loaded.steps_done) == (EnvDescription("PushT-v0", {"obs_type": "state"}), 2)
    assert (loaded.teacher["method"], loaded.teacher["steps_done"], loaded.teacher["batch_size"]) == ("ddpm", 3, 8)
    assert loaded.score == {}


def test_versions_are_those_of_the_training(trained, tmp_path, monkeypatch):
    """Saving an agent elsewhere, in half precision for instance, does not make its weights that machine's."""
    assert trained.provenance.versions == versions()
    assert {"torch", "numpy", "gymnasium", "robosuite", "mujoco", "pymunk", "gym-pusht"} <= versions().keys()
    trained.save(tmp_path / "here")
    monkeypatch.setattr(checkpoint, "versions", lambda: {"torch": "9.9"})
    L1FlowAgent.load(tmp_path / "here").save(tmp_path / "there", half=True)
    config = yaml.safe_load((tmp_path / "there" / "config.yaml").read_text())
    assert config["versions"] == versions() and config["saved_with"] == {"torch": "9.9"}
    assert L1FlowAgent.load(tmp_path / "there").provenance == trained.provenance


def test_learning_makes_an_old_score_void(trained):
    trained.provenance = replace(trained.provenance, score={"mean": 1}, versions={"torch": "0.1"})
    trained.learn(random_episodes(), 2, **SHORT)
    assert trained.provenance.score == {} and trained.provenance.versions == versions()
    assert trained.provenance.training["total_steps"] == trained.num_timesteps == 2


@pytest.mark.parametrize("total_steps", [0, -3])
def test_a_training_that_is_refused_leaves_the_agent_alone(tmp_path, total_steps):
    agent = new_agent()
    before, config = copy.deepcopy(agent.policy.state_dict()), agent.config()
    agent.learn(random_episodes(), 2, run_dir=tmp_path / "run", **SHORT)
    agent = new_agent()
    for refused in ({"total_steps": total_steps}, {"total_steps": 2, "run_dir": tmp_path / "run", "seed": 7}):
        with pytest.raises(ConfigError, match=r"total_steps must be at least 1|holds a run with seed"):
            agent.learn(random_episodes(seed=1), **refused, **SHORT)
        assert agent.config() == config
        assert all(torch.equal(before[name], tensor) for name, tensor in agent.policy.state_dict().items())


def test_bundled_agents_know_where_they_come_from():
    for name in zoo.names():
        config = checkpoint.read_config(checkpoint.find(name))
        record = Provenance.from_config(config)
        assert record.env.id and record.has_learned and record.versions["torch"]
        assert {part: config[part] for part in record.to_config()} == record.to_config()


def test_both_names_are_one_class():
    assert L1FlowAgent is ChunkAgent
    agent = L1FlowAgent("mlp", (STATE, ACTION), network_kwargs=TINY["mlp"])
    assert agent.settings.method == "l1flow"
    assert L1FlowAgent("mlp", (STATE, ACTION), "ddpm", network_kwargs=TINY["mlp"]).settings.method == "ddpm"


def test_the_device_is_fixed(make_agent, tmp_path):
    agent = make_agent("mlp")
    with pytest.raises(ConfigError, match=r"device is fixed; agent.with_settings\(device='cuda'\)"):
        agent.device = "cuda"
    with pytest.raises(ConfigError, match="device 'meta' cannot be used"):
        agent.with_settings(device="meta")
    agent.save(tmp_path / "agent")
    with pytest.raises(ConfigError, match="device 'nothing' cannot be used"):
        type(agent).load(tmp_path / "agent", device="nothing")
