"""Promise: an agent is scored in the environment that it was made for, and no file decides what code runs there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import envs_for_tests
import gymnasium as gym
import numpy as np
import pytest
import yaml
from gymnasium.envs.registration import WrapperSpec
from gymnasium.wrappers import (
    FlattenObservation,
    FrameStackObservation,
    NormalizeObservation,
    RecordEpisodeStatistics,
    RecordVideo,
    RescaleAction,
    TimeLimit,
    TransformObservation,
)
from stable_baselines3.common.monitor import Monitor

from l1flow_agents import L1FlowAgent, evaluate
from l1flow_agents.env_description import EnvDescription
from l1flow_agents.env_maker import maker_of
from l1flow_agents.errors import CheckpointError, ConfigError
from l1flow_agents.wrappers import ActionChunk, FlattenState, RecordVideoByOutcome

TINY = {"network_kwargs": {"width": 32, "depth": 1}, "device": "cpu"}
ONES = np.ones(2, np.float32)


def counter(**kwargs) -> gym.Env:
    return gym.make("Counter-v0", **kwargs)


def through_a_file(described: EnvDescription) -> EnvDescription:
    return EnvDescription.from_dict(yaml.safe_load(yaml.safe_dump(described.to_dict())))


ENVS = {
    "a limit": lambda folder: counter(length=50, max_episode_steps=7),
    "no limit": lambda folder: gym.make("CartPole-v1", max_episode_steps=-1),
    "wrappers": lambda folder: FrameStackObservation(FlattenState(counter()), 3),
    "a limit on chunks": lambda folder: TimeLimit(ActionChunk(counter(max_episode_steps=50), 4), 5),
    "two limits": lambda folder: TimeLimit(counter(max_episode_steps=5), 50),
    "arrays": lambda folder: RescaleAction(counter(), -2 * ONES, 2 * ONES),
    "no arguments": lambda folder: envs_for_tests.Doubled(counter()),
}
WATCHED = {
    "Monitor": lambda env, folder: Monitor(env, str(folder / "log")),
    "RecordEpisodeStatistics": lambda env, folder: RecordEpisodeStatistics(env),
    "RecordVideo": lambda env, folder: RecordVideo(env, str(folder / "films")),
    "RecordVideoByOutcome": lambda env, folder: RecordVideoByOutcome(env, folder / "films"),
}


@pytest.mark.parametrize("make", ENVS.values(), ids=ENVS)
def test_an_environment_is_made_again(make, tmp_path):
    env = make(tmp_path)
    again = through_a_file(EnvDescription.of(env)).maker()()
    assert again.observation_space == env.observation_space and again.action_space == env.action_space
    assert length_of(again) == length_of(env)


def length_of(env: gym.Env) -> int:
    env.reset(seed=0)
    for step in range(1, 600):
        if any(env.step(0 * env.action_space.sample())[2:4]):
            return step
    return 600


@pytest.mark.parametrize("watch", WATCHED.values(), ids=WATCHED)
def test_who_only_watches_is_not_made_again(watch, tmp_path):
    env = FlattenState(watch(counter(render_mode="rgb_array"), tmp_path))
    described = through_a_file(EnvDescription.of(env))
    assert [one.name for one in described.wrappers] == ["FlattenState"]
    assert "render_mode" not in described.kwargs
    assert str(described.maker()()).count("<") == str(counter()).count("<") + 1
    if env.spec:  # Gymnasium gives up where it cannot copy an argument
        assert [kind.__name__ for kind, _ in maker_of(env.spec).wrappers] == ["FlattenState"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """An agent that was made for seven steps under `FlattenState`."""
    path = tmp_path_factory.mktemp("agents") / "flat"
    env = Monitor(FlattenState(counter(length=50, max_episode_steps=7)))
    L1FlowAgent("mlp", env, **TINY).save(path)
    return path


def test_a_loaded_agent_is_scored_under_its_limit_and_wrappers(saved):
    agent = L1FlowAgent.load(saved)
    assert (agent.env_id, agent.env_kwargs) == ("Counter-v0", {"length": 50})
    assert agent.make_env().observation_space == agent.observation_space
    assert agent.make_env(render_mode="rgb_array").render_mode == "rgb_array"
    result = evaluate(agent, n_episodes=2, n_envs=1)
    assert [e.length for e in result.episodes] == [7, 7]
    assert result.to_dict()["env"] == {
        "id": "Counter-v0",
        "kwargs": {"length": 50},
        "max_episode_steps": 7,
        "wrappers": ["FlattenState"],
    }
    own = evaluate(agent, "envs_for_tests:Counter-v0", 1, n_envs=1, env_kwargs={"length": 3})
    assert own.episodes[0].length == 3, "wrappers stay, arguments are replaced"
    assert agent.with_settings(n_action_steps=2).make_env().spec == agent.make_env().spec


def test_the_spec_of_an_environment_that_one_made(saved):
    agent = L1FlowAgent.load(saved)
    env = FlattenState(TransformObservation(counter(length=4), lambda seen: seen, None))
    result = evaluate(agent, env.spec, 1, n_envs=1)
    assert (result.episodes[0].length, result.env_id, result.env_kwargs) == (4, "Counter-v0", {"length": 4})


def test_a_checkpoint_of_before_knows_id_and_kwargs_alone():
    described = EnvDescription.from_dict({"id": "Counter-v0", "kwargs": {"length": 4}})
    assert length_of(described.maker()()) == 4
    assert EnvDescription.from_dict({"id": None, "kwargs": {}}) is None
    pusht = EnvDescription.from_dict({"id": "PushT-v0", "kwargs": {"obs_type": "state"}}).maker()
    assert pusht.spec.max_episode_steps == 300


# ---- what cannot be described ---------------------------------------------------------------------------------------

UNDESCRIBED = {
    "a function": (lambda: TransformObservation(counter(), lambda seen: seen, None), "argument func is no plain value"),
    "statistics": (lambda: NormalizeObservation(FlattenState(counter())), "NormalizeObservation has statistics"),
    "unrecorded": (lambda: Unrecorded(counter(), 3), "wrapper Unrecorded does not record its arguments"),
    "a value": (lambda: counter(how=print), "its argument how is no plain value, but of type builtin"),
}


class Unrecorded(gym.Wrapper):
    def __init__(self, env, n):
        super().__init__(env)


@pytest.mark.parametrize("make, reason", UNDESCRIBED.values(), ids=UNDESCRIBED)
def test_what_cannot_be_described_is_saved_and_named_when_it_is_wanted(make, reason, tmp_path):
    L1FlowAgent("mlp", make(), **TINY).save(tmp_path / "agent")
    agent = L1FlowAgent.load(tmp_path / "agent")
    assert agent.env_id == "Counter-v0"
    for wanted in (agent.make_env, lambda: evaluate(agent, n_episodes=1)):
        with pytest.raises(ConfigError, match=reason) as error:
            wanted()
        assert "\n" not in str(error.value)


def test_an_agent_of_spaces_has_no_environment(make_agent):
    with pytest.raises(ConfigError, match="made from spaces"):
        make_agent().make_env()


# ---- files that somebody else wrote ---------------------------------------------------------------------------------

HOSTILE = [
    ("os:system", {"command": "touch HERE"}, "expected a wrapper class"),
    ("subprocess:Popen", {"args": ["touch", "HERE"]}, "expected a wrapper class"),
    ("this:Zen", {}, "not imported"),
    ("gymnasium.wrappers:RecordVideo", {"video_folder": "HERE"}, "records"),
    ("stable_baselines3.common.monitor:Monitor", {"filename": "HERE"}, "records"),
    ("gymnasium.wrappers_of_mine:X", {}, "not imported"),
    ("gymnasium.wrappers.nothing:X", {}, "cannot be imported"),
    ("gymnasium.wrappers:FlattenObservation", {"x": 1}, "wrapper FlattenObservation cannot be made"),
    ("gymnasium.wrappers:RescaleAction", {"min_action": {"array": 1, "dtype": "object"}}, "no array of numbers"),
    ("", {}, "not imported"),
]


@pytest.mark.parametrize("entry_point, kwargs, reason", HOSTILE)
def test_a_description_runs_no_code_but_trusted_wrappers(entry_point, kwargs, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    wrapper = {"name": "X", "entry_point": entry_point, "kwargs": kwargs}
    described = EnvDescription.from_dict({"id": "CartPole-v1", "additional_wrappers": [wrapper]})
    assert set(sys.modules) == before, "reading imports nothing"
    with pytest.raises(ConfigError, match=reason):
        described.maker()()
    assert "this" not in sys.modules and list(tmp_path.iterdir()) == []


def test_the_entry_point_of_a_file_is_compared_and_never_followed():
    described = EnvDescription("Counter-v0", entry_point="this:Zen")
    described.maker()()
    with pytest.raises(ConfigError, match=r"Nowhere-v0 is not registered here.*perhaps 'this:Nowhere-v0'"):
        EnvDescription("Nowhere-v0", entry_point="this:Zen").maker()
    assert "this" not in sys.modules


@pytest.mark.parametrize(
    "damage",
    [
        {"id": 7},
        {"kwargs": [1]},
        {"kwargs": {1: 2}},
        {"max_episode_steps": "7"},
        {"max_episode_steps": True},
        {"max_episode_steps": 0},
        {"additional_wrappers": 5},
        {"additional_wrappers": [{"name": "x"}]},
        {"additional_wrappers": [{"name": "x", "entry_point": 1, "kwargs": {}}]},
        {"additional_wrappers": [{"name": "x", "entry_point": "x", "kwargs": None}]},
        {"entry_point": ["x"]},
        {"missing": [1]},
    ],
)
def test_damaged_descriptions_are_one_line(damage, saved, tmp_path):
    config = yaml.safe_load((saved / "config.yaml").read_text())
    config["env"].update(damage)
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"config.yaml: .*") as error:
        L1FlowAgent.load(folder)
    assert "\n" not in str(error.value)


def test_wrappers_of_the_program_itself_are_trusted():
    wrapper = WrapperSpec("Doubled", "envs_for_tests:Doubled", {})
    assert "Doubled" in str(EnvDescription("Counter-v0", wrappers=(wrapper,)).maker()())


# ---- ids that another package took ----------------------------------------------------------------------------------

TAKEN = """
    import sys, json, warnings
    warnings.simplefilter("ignore")
    sys.path.insert(0, HERE)
    import gymnasium as gym
    gym.register("PushT-v0", entry_point="envs_for_tests:Counter")
    gym.register("Lift", entry_point="envs_for_tests:Counter")
    import envs_for_tests
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import l1flow_agents
        from l1flow_agents import L1FlowAgent, evaluate
        from l1flow_agents.env_description import EnvDescription
        from l1flow_agents.envs import find_spec
        from l1flow_agents.evaluation import default_agent
        from l1flow_agents.errors import ConfigError
        warned = [str(one.message) for one in caught if "registered" in str(one.message)]
        agent = L1FlowAgent.load("pusht-state")
        agent.env_id
        used = [str(one.message) for one in caught if "taken is" in str(one.message)]
    foreign = EnvDescription.of(gym.make("PushT-v0"))
    try:
        default_agent("envs_for_tests:PushT-v0")
    except ConfigError as error:
        refused = str(error)
    print(json.dumps({
        "warned": warned, "used": used, "theirs": gym.spec("PushT-v0").entry_point, "env_id": agent.env_id,
        "found": [find_spec(one).id for one in ("PushT-v0", "l1flow_agents:PushT-v0", "l1flow/PushT-v0", "Lift-v0")],
        "asked": find_spec("envs_for_tests:PushT-v0").entry_point, "default": default_agent("PushT-v0"),
        "refused": refused, "made": type(agent.make_env().unwrapped).__name__,
        "foreign": type(foreign.maker()().unwrapped).__name__,
        "length": evaluate(agent, "PushT-v0", 1, n_envs=1, env_kwargs={"obs_type": "state", "max_episode_steps": 3})
            .episodes[0].length,
    }))
"""


def test_an_id_that_another_package_took():
    script = dedent(TAKEN).replace("HERE", repr(str(Path(__file__).parent)))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["warned"]) == 1 and "PushT-v0, Lift-v0" in found["warned"][0]
    assert len(found["used"]) == 1 and "l1flow/PushT-v0" in found["used"][0]
    assert found["theirs"] == found["asked"] == "envs_for_tests:Counter", "neither overwritten nor hidden"
    assert found["found"] == ["l1flow/PushT-v0"] * 3 + ["l1flow/Lift-v0"]
    assert (found["env_id"], found["made"], found["default"]) == ("l1flow/PushT-v0", "PushT", "pusht-state")
    assert (found["foreign"], found["length"]) == ("Counter", 3)
    assert "no agent is published" in found["refused"]


def test_an_agent_of_another_packages_environment_is_not_scored_in_ours():
    described = EnvDescription("PushT-v0", entry_point="envs_for_tests:Counter")
    with pytest.raises(ConfigError, match=r"PushT-v0 is another package's \(envs_for_tests:Counter\)"):
        described.maker()


@pytest.mark.parametrize("env_id", ["PushT-v0", "l1flow/PushT-v0", "l1flow_agents:l1flow/PushT-v0"])
def test_namespaced_ids_are_the_same_environment(env_id):
    env = gym.make(env_id, obs_type="state")
    assert EnvDescription.of(env).id == "PushT-v0"
    assert FlattenObservation(env).observation_space.shape == (5,)
