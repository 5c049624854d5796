"""Saving and loading: equal to the bit, or one clear line; never code, never half a checkpoint."""

from __future__ import annotations

import hashlib
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from conftest import ACTION, BARE, OBSERVATION, STATE, TINY, random_observation
from gymnasium import spaces
from safetensors.torch import load_file, save_file

from l1flow_agents import L1FlowAgent, checkpoint, files, hub, zoo
from l1flow_agents.cli.describe import describe
from l1flow_agents.env_description import EnvDescription
from l1flow_agents.errors import CheckpointError, ConfigError, DatasetError

ODD = spaces.Dict(
    {
        "any": spaces.Box(-np.inf, np.inf, (2,), np.float32),
        "half_open": spaces.Box(np.float32([0, -np.inf]), np.float32([np.inf, 3]), dtype=np.float32),
        "matrix": spaces.Box(np.arange(6).reshape(2, 3) * 0.1, np.arange(6).reshape(2, 3) + 0.7, dtype=np.float64),
        "pixels": spaces.Box(0, 255, (24, 20, 3), np.uint8),
    }
)
SPACES = {"dict": STATE, "image": OBSERVATION, "bare": BARE, "odd": ODD}


@pytest.fixture
def saved(make_agent, tmp_path) -> Path:
    path = tmp_path / "agent"
    make_agent().save(path)
    return path


def weights(agent: L1FlowAgent) -> dict[str, torch.Tensor]:
    return agent.policy.state_dict()


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def load_error(path: str | Path, **kwargs) -> str:
    """The message with which loading is refused."""
    with pytest.raises(CheckpointError) as caught:
        L1FlowAgent.load(path, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and message.strip(), message
    return message


def edit_config(path: Path, **changes) -> None:
    config = yaml.safe_load((path / "config.yaml").read_text())
    (path / "config.yaml").write_text(yaml.safe_dump({**config, **changes}))


def reseal(path: Path) -> None:
    """Make the recorded hash that of the weights, as someone who altered them on purpose would."""
    edit_config(path, weights_sha256=hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest())


def header_length(path: Path) -> int:
    with open(path / "model.safetensors", "rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


# ---- round trips --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", TINY)
@pytest.mark.parametrize("kind", SPACES)
def test_round_trip_is_equal_to_the_bit(make_agent, tmp_path, network, kind):
    method = {"sampler": "euler", "n_steps": 3}
    agent = make_agent(network, SPACES[kind], n_obs_steps=3, n_action_steps=4, method_kwargs=method)
    agent.provenance = replace(agent.provenance, score={"mean": 0.5, "seeds": [100000, 100099]})
    agent.save(tmp_path / "agent")
    loaded = L1FlowAgent.load(tmp_path / "agent", device="cpu")

    assert equal(weights(loaded), weights(agent))
    assert loaded.config() == agent.config()
    assert loaded.observation_space == agent.observation_space
    assert loaded.action_space == agent.action_space
    observation = random_observation(SPACES[kind], 3)
    expected = agent.predict(observation, deterministic=True)
    given = loaded.predict(observation, deterministic=True)
    np.testing.assert_array_equal(given[0], expected[0])
    for part, other in zip(given[1][1:], expected[1][1:], strict=True):
        np.testing.assert_array_equal(part, other)


def test_a_folder_of_plain_yaml_and_safetensors(saved):
    assert sorted(file.name for file in saved.iterdir()) == ["config.yaml", "model.safetensors"]
    config = yaml.safe_load((saved / "config.yaml").read_text())
    assert config["agent"]["network"] == "mlp"
    assert {"torch", "numpy", "gymnasium"} <= config["versions"].keys()
    assert config["weights_sha256"] == hashlib.sha256((saved / "model.safetensors").read_bytes()).hexdigest()


def test_half_is_close_and_small_and_keeps_the_normaliser(make_agent, tmp_path):
    agent = make_agent("unet")
    agent.policy.normalizer.affine["action"].offset.fill_(1 / 3)
    agent.save(tmp_path / "full")
    agent.save(tmp_path / "half", half=True)
    loaded = L1FlowAgent.load(tmp_path / "half", device="cpu")

    size = {name: (tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")}
    assert size["half"] < 0.6 * size["full"]
    assert equal(loaded.policy.normalizer.state_dict(), agent.policy.normalizer.state_dict())
    assert all(tensor.dtype == torch.float32 for tensor in weights(loaded).values())
    observation = random_observation(STATE, 4)
    rounded, exact = (a.predict_chunk(observation, deterministic=True) for a in (loaded, agent))
    assert 0 < np.abs(rounded - exact).max() < 5e-3


def test_env_id_and_kwargs_are_kept(tmp_path):
    env = gym.make("PushT-v0", obs_type="state", render_mode="rgb_array")
    agent = L1FlowAgent("mlp", env, network_kwargs=TINY["mlp"])
    agent.save(tmp_path / "agent")
    loaded = L1FlowAgent.load(tmp_path / "agent", env)
    assert (loaded.env_id, loaded.env_kwargs) == ("PushT-v0", {"obs_type": "state"})
    assert gym.make(loaded.env_id, **loaded.env_kwargs).observation_space == loaded.observation_space


def test_settings_of_numpy_are_saved_as_plain_numbers(tmp_path):
    method, env_kwargs = {"t_mid": np.float64(0.25), "n_steps": np.int64(4)}, {"size": np.array([1, 2])}
    agent = L1FlowAgent("mlp", (STATE, ACTION), network_kwargs=TINY["mlp"], method_kwargs=method)
    agent.provenance = replace(agent.provenance, env=EnvDescription("Some-v0", env_kwargs))
    agent.save(tmp_path / "agent")
    loaded = L1FlowAgent.load(tmp_path / "agent")
    assert (loaded.policy.method.t_mid, loaded.policy.method.n_steps) == (0.25, 4)
    assert loaded.env_kwargs == {"size": [1, 2]}


@pytest.mark.parametrize("key", ["action", "half", "keys", "a.b"])
def test_an_observation_key_that_cannot_be_saved(key):
    with pytest.raises(ConfigError, match=f"observation key '{key}' is reserved"):
        L1FlowAgent("mlp", (spaces.Dict({key: BARE}), ACTION))


def test_loading_twice_and_saving_again(saved, tmp_path):
    first = L1FlowAgent.load(saved)
    first.save(tmp_path / "again")
    assert (tmp_path / "again" / "config.yaml").read_text() == (saved / "config.yaml").read_text()


def test_saving_replaces(saved, make_agent):
    (saved / "model.safetensors").write_bytes(b"old")
    agent = make_agent("unet", seed=3)
    agent.save(saved)
    assert equal(weights(L1FlowAgent.load(saved)), weights(agent))
    assert [path.name for path in saved.parent.iterdir()] == ["agent"]


@pytest.mark.parametrize("name", ["rl_model_10_steps.zip", "rl_model_10_steps"])
def test_zip_suffix_of_sb3_callbacks(make_agent, tmp_path, name):
    make_agent().save(tmp_path / name)
    assert (tmp_path / "rl_model_10_steps" / "config.yaml").is_file()
    for spelled in ("rl_model_10_steps.zip", "rl_model_10_steps"):
        L1FlowAgent.load(tmp_path / spelled)
        L1FlowAgent.load(str(tmp_path / spelled))


def test_load_does_not_disturb_the_global_seed(saved):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    L1FlowAgent.load(saved)
    assert torch.equal(torch.rand(1), expected)


# ---- damage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, 1000, -1])
@pytest.mark.parametrize("sealed", [False, True])
def test_truncated_weights(saved, length, sealed):
    whole = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(whole[:length])
    if sealed:
        reseal(saved)
    assert "model.safetensors" in load_error(saved)


def test_any_flipped_byte_is_noticed(saved):
    whole, header = (saved / "model.safetensors").read_bytes(), header_length(saved)
    for position in (0, 8, 40, len(whole) // 2, len(whole) - 1):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        (saved / "model.safetensors").write_bytes(flipped)
        expected = "SHA-256 differs" if position >= header else "model.safetensors"
        assert expected in load_error(saved)


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors"])
def test_missing_file(saved, name):
    (saved / name).unlink()
    assert f"{name} is missing" in load_error(saved)


def test_weights_of_another_network(saved, make_agent, tmp_path):
    for other, reason in [
        (make_agent("unet"), "weights do not fit the network; missing"),
        (make_agent(network_kwargs={**TINY["mlp"], "width": 40}), r"has shape"),
    ]:
        other.save(tmp_path / "other")
        shutil.copy(tmp_path / "other" / "model.safetensors", saved)
        assert reason in load_error(saved)
        reseal(saved)
        assert reason in load_error(saved)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "expected a mapping"),
        ("[1, 2]", "expected a mapping"),
        ("just text", "expected a mapping"),
        ("a: [1", "not readable as plain YAML"),
        ("a: 1", "expected a mapping with 'format'"),
        ("format: 1", "missing"),
        ("format: 99", "format 99, this version reads format 1"),
        ("\x00\x01", "not readable as plain YAML"),
        ("[" * 5000, "config.yaml"),
    ],
)
def test_foreign_config(saved, text, reason):
    (saved / "config.yaml").write_text(text)
    assert reason in load_error(saved)


def test_binary_config(saved):
    (saved / "config.yaml").write_bytes(b"\xff\xfe\x80PK")
    assert "not readable as plain YAML" in load_error(saved)


@pytest.mark.parametrize(
    "payload", ["!!python/object/apply:os.system ['touch {}']", "!!python/object/apply:pathlib.Path.touch [{}]"]
)
def test_code_in_the_config_does_not_run(saved, tmp_path, payload):
    victim = tmp_path / "ran"
    text = (saved / "config.yaml").read_text()
    (saved / "config.yaml").write_text(text + "\nextra: " + payload.format(victim) + "\n")
    assert "not readable as plain YAML" in load_error(saved)
    assert not victim.exists()


def test_pickled_weights_do_not_run(saved, tmp_path):
    victim = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return (Path.touch, (victim,))

    torch.save(Payload(), saved / "model.safetensors")
    victim.unlink(missing_ok=True)
    reseal(saved)
    assert "not a whole safetensors file" in load_error(saved)
    assert not victim.exists()


@pytest.mark.parametrize("key", ["agent", "observation_space", "action_space", "env", "weights_sha256"])
@pytest.mark.parametrize("value", [None, [], "text", 3, {"unknown": 1}])
def test_nonsense_in_the_config(saved, key, value):
    edit_config(saved, **{key: value})
    load_error(saved)


@pytest.mark.parametrize("part", ["training", "teacher"])
@pytest.mark.parametrize("steps", [-1, 2.5, "ten", None, True])
def test_steps_that_cannot_have_been_done(saved, part, steps):
    edit_config(saved, **{part: {"steps_done": steps}})
    assert f"expected {part}.steps_done as a whole number >= 0, found" in load_error(saved)


@pytest.mark.parametrize("key", ["agent", "observation_space", "action_space", "env", "weights_sha256", "format"])
def test_key_missing_in_the_config(saved, key):
    config = yaml.safe_load((saved / "config.yaml").read_text())
    del config[key]
    (saved / "config.yaml").write_text(yaml.safe_dump(config))
    assert key in load_error(saved)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"network": "resnet"}, "unknown network 'resnet'"),
        ({"method": "magic"}, "unknown method 'magic'"),
        ({"horizon": "long"}, "horizon must be a whole number, got 'long'"),
        ({"network_kwargs": 3}, "network_kwargs must be a mapping, got 3"),
        ({"horizon": 0}, "horizon"),
        ({"horizon": 1e9}, "config.yaml"),
        ({"network": "transformer", "network_kwargs": {"n_heads": 0}}, "config.yaml"),
        ({"network_kwargs": {"width": -3}}, "config.yaml"),
        ({"network_kwargs": {"width": "wide"}}, "config.yaml"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_agent_settings_that_cannot_be(saved, changes, reason):
    agent = yaml.safe_load((saved / "config.yaml").read_text())["agent"]
    edit_config(saved, agent={**agent, **changes})
    assert reason in load_error(saved)


@pytest.mark.parametrize(
    "space",
    [{"shape": [-3]}, {"shape": [3], "dtype": "object"}, {"low": [0, 1]}, {"dtype": "flaot32"}, {"shape": "wide"}],
)
def test_spaces_that_cannot_be(saved, space):
    whole = yaml.safe_load((saved / "config.yaml").read_text())["observation_space"]["pos"]
    edit_config(saved, observation_space={"pos": {**whole, **space}})
    load_error(saved)


# ---- names and spaces ---------------------------------------------------------------------------------------------


@pytest.fixture
def bundled(saved, monkeypatch) -> Path:
    """The saved agent in the place of the bundled ones."""
    monkeypatch.setattr(zoo, "BUNDLED", saved.parent)
    return saved


def test_bundled_name(bundled):
    assert equal(weights(L1FlowAgent.load("agent")), load_file(bundled / "model.safetensors"))


def test_unknown_name_suggests(bundled):
    message = load_error("agnet")
    assert "published agents are ['agent', " in message and "did you mean 'agent'?" in message


@pytest.mark.parametrize("path", ["./agnet", "runs/x/agent", "agent.hdf5", "~agnet", "runs\\agent"])
def test_a_path_gets_no_suggestion_of_a_name(bundled, path):
    message = load_error(path)
    assert "no checkpoint folder" in message and "did you mean" not in message


def test_the_folder_of_a_training_points_to_its_agent(saved):
    assert load_error(saved.parent).endswith(f"config.yaml is missing; did you mean {str(saved)!r}?")
    with pytest.raises(DatasetError) as caught:
        describe(str(saved.parent))
    assert str(caught.value).endswith(f"nor a checkpoint folder; did you mean {str(saved)!r}?")


def test_a_path_that_is_not_there(tmp_path):
    assert "no checkpoint folder" in load_error(tmp_path / "nothing")


def test_a_file_is_no_checkpoint(tmp_path):
    (tmp_path / "model.zip").write_bytes(b"PK")
    assert "expected a checkpoint folder, found a file" in load_error(tmp_path / "model.zip")
    assert "expected a checkpoint folder, found a file" in load_error(str(tmp_path / "model.zip"))


def test_an_empty_folder(tmp_path):
    assert "not a checkpoint, config.yaml is missing" in load_error(tmp_path)


def test_hub_client_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setattr(hub, "unreachable", lambda url: None)
    assert "pip install 'l1flow-agents[hub]'" in load_error("somebody/their-agent")


@pytest.mark.parametrize(
    "observation_space, action_space, reason",
    [
        (spaces.Dict({"pos": spaces.Box(-1, 1, (4,))}), ACTION, "'pos'"),
        (spaces.Dict({"position": STATE["pos"]}), ACTION, r"'pos'.*offers only \['position'\]"),
        (spaces.Box(-1, 1, (3,)), ACTION, r"'pos'.*offers only \['observation'\]"),
        (STATE, spaces.Box(-1, 1, (2,)), "actions"),
        (STATE, spaces.Box(-1, 1, (3,)), "actions"),
    ],
)
def test_an_environment_with_other_spaces(saved, observation_space, action_space, reason):
    assert re.search(reason, load_error(saved, env=(observation_space, action_space)))


def test_an_environment_may_offer_more(saved):
    L1FlowAgent.load(saved, env=(OBSERVATION, ACTION))


# ---- interruptions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["save_file", "sync", "versions"])
def test_a_save_that_fails_changes_nothing(saved, make_agent, monkeypatch, broken):
    before = weights(L1FlowAgent.load(saved))

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(files if broken == "sync" else checkpoint, broken, fail)
    with pytest.raises(OSError, match="disk full"):
        make_agent(seed=9).save(saved)
    monkeypatch.undo()
    assert equal(weights(L1FlowAgent.load(saved)), before)
    assert [path.name for path in saved.parent.iterdir()] == ["agent"]


def test_a_save_that_fails_halfway_through_the_file(saved, make_agent, monkeypatch):
    def fail(tensors, path, *args):
        save_file(tensors, path)
        path.write_bytes(path.read_bytes()[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(KeyboardInterrupt):
        make_agent(seed=9).save(saved)
    L1FlowAgent.load(saved)
    assert [path.name for path in saved.parent.iterdir()] == ["agent"]


def test_killed_while_saving_over_and_over(tmp_path):
    """Whenever SIGKILL comes, what lies there is one of the two agents, whole."""
    script = f"""
import torch
torch.set_num_threads(1)
from gymnasium import spaces
from l1flow_agents import L1FlowAgent
box = spaces.Box(-1, 1, (3,), "float32")
agents = [L1FlowAgent("mlp", (box, box), network_kwargs={{"width": 64}}, seed=seed) for seed in (0, 1)]
agents[0].save({str(tmp_path / "agent")!r})
print("saving", flush=True)
while True:
    for agent in agents:
        agent.save({str(tmp_path / "agent")!r})
"""
    rng = np.random.default_rng(0)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "saving\n"
        time.sleep(rng.uniform(0.01, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        box = spaces.Box(-1, 1, (3,), np.float32)
        loaded = L1FlowAgent.load(tmp_path / "agent")
        made = [L1FlowAgent("mlp", (box, box), network_kwargs={"width": 64}, seed=seed) for seed in (0, 1)]
        assert any(equal(weights(loaded), weights(agent)) for agent in made)


@pytest.mark.parametrize("moment", ["before the new one is in place", "before the old one is removed"])
def test_killed_between_the_renames(saved, make_agent, moment):
    """The two instants that random kills would hardly hit."""
    old, new = saved.with_name("agent.old"), make_agent(seed=9)
    expected = weights(L1FlowAgent.load(saved))
    saved.rename(old)
    if moment == "before the old one is removed":
        new.save(saved.with_name("new"))
        saved.with_name("new").rename(saved)
        expected = weights(new)
    assert equal(weights(L1FlowAgent.load(saved)), expected)
    make_agent(seed=10).save(saved)
    assert [path.name for path in saved.parent.iterdir()] == ["agent"]


# ---- saving replaces checkpoints alone ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target, reason",
    [
        (
            "thesis",
            r"expected a new name, an empty folder or a checkpoint to replace, found a folder with \['notes.txt'\]",
        ),
        ("thesis/notes.txt", "expected the path of a folder to write, found a file"),
        (".", r"a new name, an empty folder or a checkpoint to replace, found a folder with \['thesis'\]"),
    ],
)
def test_saving_never_deletes_what_is_no_checkpoint(make_agent, tmp_path, monkeypatch, target, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "notes.txt").write_text("ten years")
    with pytest.raises((CheckpointError, ConfigError), match=reason):
        make_agent("mlp").save(target)
    assert (tmp_path / "thesis" / "notes.txt").read_text() == "ten years"


def test_saving_never_deletes_a_folder_that_is_called_old(make_agent, tmp_path):
    (tmp_path / "agent.old").mkdir()
    (tmp_path / "agent.old" / "notes.txt").write_text("ten years")
    with pytest.raises(CheckpointError, match=r"agent\.old: expected a new name"):
        make_agent("mlp").save(tmp_path / "agent")


def test_saving_into_an_empty_folder_and_over_a_checkpoint(make_agent, tmp_path):
    (tmp_path / "agent").mkdir()
    for _ in range(2):
        make_agent("mlp").save(tmp_path / "agent")
    weights = tmp_path / "agent" / "model.safetensors"
    assert weights.stat().st_mode & 0o777 == 0o644
