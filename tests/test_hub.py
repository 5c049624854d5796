"""The Hub: what was pushed is loaded again at its commit, by the Hub's own client, and no answer is told at once.

The client talks to `hub_server` on this machine.
"""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
import sys

import hub_server
import pytest

from l1flow_agents import L1FlowAgent, hub
from l1flow_agents.card import Notes
from l1flow_agents.cli import main
from l1flow_agents.errors import CheckpointError, ConfigError, DownloadError

constants = pytest.importorskip("huggingface_hub.constants")


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # which needs a server of another kind
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    monkeypatch.chdir(tmp_path)
    with hub_server.serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def weights(agent: L1FlowAgent) -> str:
    tensors = agent.policy.state_dict()
    return hashlib.sha256(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))).hexdigest()


def load_error(name: str, **kwargs) -> str:
    with pytest.raises(CheckpointError) as caught:
        L1FlowAgent.load(name, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pushed_and_loaded_again(server, make_agent):
    agent = make_agent()
    commit = agent.push_to_hub("somebody/toy", notes=Notes(license="mit"))
    files = server.commits[commit]
    assert {"README.md", "config.yaml", "model.safetensors"} <= set(files)
    card = files["README.md"].decode()
    assert "license: mit" in card and 'load("somebody/toy")' in card
    assert weights(L1FlowAgent.load("somebody/toy", device="cpu")) == weights(agent)


def test_a_commit_stays_what_it_is(server, make_agent):
    first, second = make_agent(), make_agent(seed=1)
    commit = first.push_to_hub("somebody/toy")
    second.push_to_hub("somebody/toy")
    third = make_agent(seed=2)
    third.push_to_hub("somebody/toy", revision="trial")
    found = {name: weights(L1FlowAgent.load("somebody/toy", revision=name)) for name in (commit, "main", "trial")}
    assert found == {commit: weights(first), "main": weights(second), "trial": weights(third)}
    assert weights(L1FlowAgent.load("somebody/toy")) == weights(second)
    assert "Revision Not Found" in load_error("somebody/toy", revision="v9")


def test_what_was_fetched_is_there_without_network(server, make_agent, monkeypatch):
    commit = make_agent().push_to_hub("somebody/toy")
    before = weights(L1FlowAgent.load("somebody/toy"))
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    assert weights(L1FlowAgent.load("somebody/toy", revision=commit)) == before
    assert "cannot be asked" in load_error("somebody/other")


def test_a_path_is_never_asked_for(server, tmp_path, make_agent):
    make_agent().save(tmp_path / "runs" / "toy")
    L1FlowAgent.load("runs/toy")
    assert "no checkpoint folder" in load_error("runs/tyo"), "beside a folder `runs` this is a typo"
    assert "only what is on the Hub has a revision" in load_error("runs/toy", revision="main")
    assert "published" in load_error("pusht-stat")
    assert server.requests == []
    assert "Repository Not Found" in load_error("nobody/toy") and server.requests


def altered(name: str, change):
    def damage(server: hub_server.Hub) -> None:
        files = server.commits[server.branches["somebody/toy"]["main"]]
        if (content := change(files[name])) is None:
            del files[name]
        else:
            files[name] = content

    return damage


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


DAMAGE = {
    "other weights": (altered("model.safetensors", flipped), "SHA-256 differs"),
    "no weights": (altered("model.safetensors", lambda old: None), r"\['model.safetensors'\] missing"),
    "no agent": (altered("config.yaml", lambda old: None), "no agent of this library"),
    "a huge configuration": (altered("config.yaml", lambda old: bytes(2 << 20)), "config.yaml has 2097152 bytes"),
    "no configuration": (altered("config.yaml", lambda old: b"- a"), "expected a mapping"),
}


@pytest.mark.parametrize("damage, reason", DAMAGE.values(), ids=DAMAGE)
def test_what_is_not_right_is_refused(server, make_agent, damage, reason):
    make_agent().push_to_hub("somebody/toy")
    damage(server)
    with pytest.raises(CheckpointError, match=reason):
        L1FlowAgent.load("somebody/toy")


@pytest.mark.parametrize("name", ["toy", "a/b/c", "../toy", "-a/b", "", None, "a b/c", "http://x/y"])
def test_names_that_are_no_ids(server, make_agent, name):
    with pytest.raises(ConfigError, match="expected a Hub id owner/name"):
        make_agent().push_to_hub(name)
    assert server.requests == []


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_nobody_answers(tmp_path, make_agent, monkeypatch, capsys):
    """At once where the way is closed, after `PATIENCE` where it leads nowhere."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    assert main(["eval", "somebody/toy"]) == 2
    error = capsys.readouterr().err
    assert "the Hub cannot be asked" in error and "refused" in error and error.count("\n") == 1
    with pytest.raises(DownloadError, match="cannot be asked"):
        make_agent().push_to_hub("somebody/toy")
    monkeypatch.setattr(hub, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert re.search("no answer in time|timed out", load_error("somebody/toy"))


def test_the_client_is_not_imported_to_say_so(tmp_path):
    asking = "import sys, l1flow_agents.hub as hub\ntry:\n hub.fetch_agent('a/b', None, {})\nexcept Exception as error:"
    asking += "\n print(type(error).__name__, 'huggingface_hub' in sys.modules)"
    env = {"HF_ENDPOINT": f"http://127.0.0.1:{closed_port()}", "HF_HUB_CACHE": str(tmp_path)}
    told = subprocess.run([sys.executable, "-c", asking], env=env, capture_output=True, text=True, check=True).stdout
    assert told == "CheckpointError False\n"
