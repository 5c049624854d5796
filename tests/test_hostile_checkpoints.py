"""What somebody may have made to hurt: refused in one line, before it costs time or memory."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import ACTION, OBSERVATION, STATE, TINY
from torch import nn

from l1flow_agents import L1FlowAgent, checkpoint, limits
from l1flow_agents.building import materialize, outlined
from l1flow_agents.cli import main
from l1flow_agents.errors import CheckpointError, ConfigError
from l1flow_agents.policy import ChunkPolicy
from l1flow_agents.weights import check_fits, fill

CAMPAIGN = Path(__file__).parents[1] / "benchmarks" / "campaigns" / "checkpoints.py"


@pytest.fixture
def saved(make_agent, tmp_path) -> Path:
    path = tmp_path / "agent"
    make_agent().save(path)
    return path


def refusal(name: object) -> str:
    with pytest.raises(CheckpointError) as caught:
        L1FlowAgent.load(name, device="cpu")  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.strip() and "\n" not in message and len(message) < 2000
    return message


def edit(folder: Path, **changes) -> None:
    """``part__setting=value`` in the configuration."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for name, value in changes.items():
        *parents, last = name.split("__")
        place = config
        for parent in parents:
            place = place[parent]
        place[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def test_two_hundred_mutations(tmp_path):
    """The campaign of benchmarks/campaigns, with a seed of its own: every case in a watched process."""
    output = tmp_path / "result.json"
    command = [sys.executable, str(CAMPAIGN), "test", "--cases", "200", "--seed", "3", "--output", str(output)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    result = json.loads(output.read_text())["test"]
    assert result["bad cases"] == [] and result["cases"] == 200
    assert result["ended"]["refused"] > 100 and result["ended"]["loaded"] > 10


NO_TEXT = [None, 0, 10**5000, 1.5, True, [], {}, b"pusht-state", "", "a\0b", Path("a\0b"), object()]


@pytest.mark.parametrize("name", NO_TEXT, ids=range(len(NO_TEXT)))
def test_names_that_are_no_text(name):
    assert "expected a folder, a published agent or a Hub id owner/name, got" in refusal(name)


@pytest.mark.parametrize("name", ["x" * 5000, "é" * 300 + ".zip", "x" * 254], ids=range(3))
def test_names_that_are_too_long(name):
    assert "name too long" in refusal(name).lower()


@pytest.mark.parametrize(
    "name", ["../../etc", "/", "..", "/dev/zero", "/etc/passwd", "../bundled/pusht-state", " ", "~"]
)
def test_names_of_something_else(name):
    refusal(name)


@pytest.mark.parametrize("name", ["", "x" * 5000, "/dev/zero", "../../etc", "..", "a\nb"])
def test_info_of_such_names(name, capsys):
    assert main(["info", name]) == 2
    said = capsys.readouterr().err
    assert said.startswith("l1flow: error: ") and said.count("\n") == 1


@pytest.mark.parametrize("file", ["config.yaml", "model.safetensors"])
@pytest.mark.parametrize(
    "kind", ["pipe", "folder", "/dev/zero", "/dev/tty", "/proc/kmsg", "loop", "sparse", "dangling"]
)
def test_kinds_of_file(saved, file, kind):
    path = saved / file
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "sparse":
        path.touch()
        os.truncate(path, 100 << 30)
    else:
        path.symlink_to({"loop": path, "dangling": saved / "nothing"}.get(kind, kind))
    started = time.process_time()
    assert file in refusal(saved)
    assert time.process_time() - started < 2


def test_links_to_regular_files_are_followed(saved):
    """As in the cache of the Hub."""
    for file in list(saved.iterdir()):
        file.rename(saved.parent / f"{file.name}.blob")
        file.symlink_to(saved.parent / f"{file.name}.blob")
    L1FlowAgent.load(saved)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"agent__horizon": 100_000}, "horizon must be at most 1024"),
        ({"agent__horizon": True}, "horizon must be a number, not true"),
        ({"agent__network_kwargs": {"depth": 10**9}}, "depth must be at most 1024"),
        ({"agent__network_kwargs": {"width": 60_000, "depth": 1000}}, "a network of more than"),
        ({"agent__network_kwargs": {"width": 10**60}}, "config.yaml"),
        ({"agent__network_kwargs": {"time_dim": 10**9}}, "time_dim must be at most 65536"),
        ({"agent__network_kwargs": {"width": "%99999999999d"}}, "width must be a whole number"),
        ({"agent__network_kwargs": {"expansion": "x"}}, "expansion must be a whole number"),
        ({"agent__network_kwargs": {"dropout": float("nan")}}, "must hold finite numbers"),
        ({"agent__network_kwargs": [1]}, "config.yaml"),
        (
            {"agent__network": "unet", "agent__network_kwargs": {"dims": ["%99999999999d"]}},
            "dims.0 must be a whole number",
        ),
        ({"agent__network": "transformer", "agent__network_kwargs": {"width": "%9d"}}, "width must be a whole"),
        ({"agent__encoder_kwargs": {"fourier": 10**9}}, "fourier must be at most 24"),
        ({"agent__method_kwargs": {"n_steps": 10**9}}, "n_steps must be at most 1024"),
        ({"agent__method_kwargs": {"t_mid": "half"}}, "t_mid must be a number"),
        ({"agent__network": ["mlp"]}, "network must be"),
        ({"observation_space__pos__shape": [10**9]}, "more than 10000000 numbers"),
        ({"observation_space__pos__shape": [0]}, "positive numbers"),
        ({"observation_space__pos__shape": [1] * 9}, "up to 8 positive numbers"),
        ({"observation_space__pos__dtype": "S1000000000"}, "expected a dtype of"),
        ({"observation_space__pos__dtype": ["float32"]}, "expected a dtype of"),
        ({"observation_space__pos__low": float("nan")}, "nan"),
        ({"observation_space__pos": None}, "expected spaces by name"),
        ({"observation_space": {str(k): None for k in range(1001)}}, "at most 1000 spaces"),
        ({"action_space": {"shape": [2]}}, "expected spaces by name"),
        ({"env": {"kwargs": {}}}, "expected env with an id and kwargs"),
        ({"env": {"id": ["x"], "kwargs": {}}}, "expected env with an id and kwargs"),
        ({"env__id": "some_module:Some-v0"}, "expected the id of an environment"),
        ({"training__steps_done": float("inf")}, "config.yaml"),
        ({"score": [1]}, "expected score as a mapping"),
    ],
    ids=str,
)
def test_settings_that_would_hurt(saved, changes, reason):
    started = time.process_time()
    edit(saved, **changes)
    assert reason in refusal(saved)
    assert time.process_time() - started < 3


# ---- weights ------------------------------------------------------------------------------------------------------


def write_tensors(path: Path, header: dict | bytes, data: bytes = b"", length: int | None = None) -> None:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded) if length is None else length) + encoded + data)


ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
TARGET = {"one": torch.zeros(2)}


@pytest.mark.parametrize(
    "header, data, reason",
    [
        ({"one": {**ONE, "dtype": "I64", "shape": [1]}}, 8, "has shape"),
        ({"one": {**ONE, "dtype": "I32"}}, 8, "holds I32, expected torch.float32"),
        ({"one": {**ONE, "dtype": "F8_E4M3", "shape": [8]}}, 8, "has shape"),
        ({"one": {**ONE, "shape": [2**62, 2**62]}}, 8, "not a whole safetensors file"),
        ({"one": {**ONE, "data_offsets": [0, 2**63]}}, 8, "not a whole safetensors file"),
        ({"one": ONE}, 7, "not a whole safetensors file"),
        ({"one": ONE}, 9, "not a whole safetensors file"),
        ({"one": ONE, "two": ONE}, 8, "not a whole safetensors file"),
        ({"one": ONE, "two": {**ONE, "data_offsets": [8, 16]}}, 16, "unknown ['two']"),
        ({}, 0, "missing ['one']"),
        ({"one": ONE, "x" * 100_000: {**ONE, "data_offsets": [8, 16]}}, 16, "unknown ['xxx"),
        (b"[" * 100_000, 0, "not a whole safetensors file"),
        (b"{}", limits.HEADER_BYTES + 1000, "but the network has only 2 weights"),
    ],
    ids=range(13),
)
def test_headers(tmp_path, header, data, reason):
    write_tensors(tmp_path / "file", header, b"\0" * data)
    with pytest.raises(CheckpointError) as caught:
        check_fits(tmp_path / "file", TARGET)
    assert reason in str(caught.value) and len(str(caught.value)) < 2000


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, limits.HEADER_BYTES + 1, 3])
def test_lengths_of_a_header(tmp_path, length):
    write_tensors(tmp_path / "file", {"one": ONE}, b"\0" * 8, length)
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        check_fits(tmp_path / "file", TARGET)


def test_filling_takes_half_precision_and_refuses_what_is_not_finite(tmp_path):
    half = {"one": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}
    write_tensors(tmp_path / "file", half, np.float16([0.5, 2]).tobytes())
    target = {"one": torch.zeros(2)}
    fill(tmp_path / "file", target)
    assert target["one"].tolist() == [0.5, 2]
    write_tensors(tmp_path / "file", half, np.float16([0.5, np.nan]).tobytes())
    with pytest.raises(CheckpointError, match="'one' holds numbers that are not finite"):
        fill(tmp_path / "file", target)


def test_a_large_file_of_another_network_is_not_read(saved, monkeypatch):
    """Its header is enough: neither hashed nor loaded."""
    path = saved / "model.safetensors"
    write_tensors(path, {"one": {"dtype": "F32", "shape": [2**30], "data_offsets": [0, 2**32]}})
    os.truncate(path, path.stat().st_size + 2**32)
    monkeypatch.setattr(checkpoint, "sha256_of", lambda path: pytest.fail("hashed"))
    assert "but the network has only" in refusal(saved)


# ---- building -----------------------------------------------------------------------------------------------------


def test_an_outline_has_names_and_shapes_and_no_memory(make_agent):
    state = torch.get_rng_state()
    real = make_agent("unet", n_obs_steps=1).policy
    torch.set_rng_state(state)
    with outlined():
        policy = make_outline()
        assert nn.Linear(10**4, 9 * 10**4).weight.is_meta
    assert torch.equal(torch.get_rng_state(), state)
    assert all(weight.is_meta for weight in policy.parameters())
    assert {k: v.shape for k, v in policy.kept_state().items()} == {k: v.shape for k, v in real.kept_state().items()}
    constants, expected = dict(policy.named_buffers()), dict(real.named_buffers())
    assert constants.keys() == expected.keys() and not any(one.is_meta for one in constants.values())
    assert torch.equal(constants["network.time.frequencies"], expected["network.time.frequencies"])
    assert not nn.Linear(2, 2).weight.is_meta

    materialize(policy, torch.device("cpu"))
    policy.load_state_dict(real.state_dict())
    for one, other in zip(policy.parameters(), real.parameters(), strict=True):
        assert torch.equal(one, other) and one.stride() == other.stride() and one.requires_grad == other.requires_grad


def make_outline() -> ChunkPolicy:
    agent = L1FlowAgent("unet", (STATE, ACTION), n_obs_steps=1, network_kwargs=TINY["unet"], device="cpu")
    return agent.policy


def test_an_outline_counts_its_own_thread_alone():
    def build(n: int) -> None:
        for _ in range(n):
            nn.Linear(1, 1)

    with outlined():
        other = threading.Thread(target=build, args=(limits.TENSORS,))
        other.start()
        other.join()
        build(10)
        with pytest.raises(ConfigError, match=f"more than {limits.TENSORS} tensors"):
            build(limits.TENSORS)
    build(limits.TENSORS)  # and nothing once it is done


def test_an_outline_has_few_constants():
    with outlined(), pytest.raises(ConfigError, match="constants"):
        nn.Module().register_buffer("table", torch.zeros(limits.BUFFERS + 1), persistent=False)


def test_an_image_encoder_keeps_its_layout_in_memory(make_agent, tmp_path):
    agent = make_agent(space=OBSERVATION)
    agent.save(tmp_path / "agent")
    loaded = L1FlowAgent.load(tmp_path / "agent", device="cpu")
    for one, other in zip(loaded.policy.parameters(), agent.policy.parameters(), strict=True):
        assert one.stride() == other.stride()


def test_a_configuration_that_could_not_be_read_is_not_saved(make_agent, tmp_path, monkeypatch):
    agent = make_agent()
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match="more than 50 values"):
        patch.setattr(limits, "YAML_EVENTS", 50)
        agent.save(tmp_path / "agent")
    with pytest.raises(ConfigError, match="a checkpoint cannot hold these settings"):
        checkpoint.save_agent(tmp_path / "agent", {**agent.config(), "more": print}, agent.policy)
    assert list(tmp_path.iterdir()) == []


def test_training_checkpoints_are_read_with_the_same_bounds(make_agent, make_episodes, tmp_path):
    agent = make_agent()
    agent.learn(make_episodes(), 2, run_dir=tmp_path, batch_size=4)
    (path,) = (tmp_path / "checkpoints").glob("*/training.safetensors")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="expected a regular file"):
        make_agent().learn(make_episodes(), 2, run_dir=tmp_path, batch_size=4)
    path.unlink()
    write_tensors(path, {"one": ONE}, b"\0" * 8)
    with pytest.raises(CheckpointError, match="do not fit the network"):
        make_agent().learn(make_episodes(), 2, run_dir=tmp_path, batch_size=4)


def test_hash_block_by_block(tmp_path):
    content = os.urandom((1 << 20) + 7)
    (tmp_path / "file").write_bytes(content)
    assert checkpoint.sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()
