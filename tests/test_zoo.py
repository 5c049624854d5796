"""Promise: a published agent is found by its name; what is fetched is what was published, or one line says why not."""

from __future__ import annotations

import http.server
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import yaml

from l1flow_agents import L1FlowAgent, zoo
from l1flow_agents.cli import main
from l1flow_agents.errors import CheckpointError, DownloadError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def published(tmp_path, monkeypatch, make_agent) -> Path:
    """Two agents in a folder of their own, listed as if they were ours; none comes with the package."""
    for name, env_id in [("one", "Counter-v0"), ("two", "Other-v0")]:
        agent = make_agent()
        agent.provenance = replace(agent.provenance, env_id=env_id)
        agent.save(tmp_path / "published" / name)
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(zoo.describe(tmp_path / "published")))
    monkeypatch.setattr(zoo, "TABLE", tmp_path / "table.yaml")
    monkeypatch.setattr(zoo, "BUNDLED", tmp_path / "none")
    monkeypatch.setattr(zoo, "CHECKOUT", None)
    monkeypatch.setenv("L1FLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("L1FLOW_AGENTS", raising=False)
    return tmp_path / "published"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, as a server does that cannot continue a download, and counts."""

    asked: list[str] = []

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(published, monkeypatch):
    Handler.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(published))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setenv("L1FLOW_AGENTS", f"http://127.0.0.1:{running.server_port}/")
        yield Handler
        running.shutdown()


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache" / "agents").iterdir())


def test_fetched_once_by_name(server, tmp_path, capsys):
    assert L1FlowAgent.load("one").env_id == "Counter-v0"
    assert server.asked == ["/one/config.yaml", "/one/model.safetensors"]
    assert main(["info", "one"]) == 0 and "Counter-v0" in capsys.readouterr().out
    assert len(server.asked) == 2
    (name,) = kept(tmp_path)
    assert name.startswith("one-") and (tmp_path / "cache" / "agents" / name / "config.yaml").is_file()


def test_a_damaged_one_is_fetched_again(server, published, tmp_path):
    weights = zoo.find("one") / "model.safetensors"
    weights.write_bytes(b"x" * weights.stat().st_size)
    assert L1FlowAgent.load("one").env_id == "Counter-v0" and len(server.asked) == 4
    assert weights.read_bytes() == (published / "one" / "model.safetensors").read_bytes()


def test_another_file_of_this_size_is_refused(server, published, tmp_path):
    weights = published / "one" / "model.safetensors"
    right = weights.read_bytes()
    weights.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    with pytest.raises(DownloadError, match=r"/one/model\.safetensors: not the published file, its SHA-256 differs"):
        L1FlowAgent.load("one")
    weights.write_bytes(right)
    assert L1FlowAgent.load("one").env_id == "Counter-v0"
    assert server.asked.count("/one/config.yaml") == 2 and len(kept(tmp_path)) == 1


def test_no_more_is_taken_than_was_published(server, published, tmp_path):
    weights = published / "one" / "model.safetensors"
    size = weights.stat().st_size
    with open(weights, "ab") as file:
        file.truncate(50 * size)
    with pytest.raises(DownloadError, match=f"more than the {size} bytes that it should have"):
        L1FlowAgent.load("one")
    assert max(path.stat().st_size for path in tmp_path.glob("cache/agents/.*/*")) <= size


def test_a_server_without_it(server, published):
    (published / "one" / "config.yaml").unlink()
    with pytest.raises(DownloadError, match=r"/one/config.yaml: the server answered 404"):
        L1FlowAgent.load("one")


def test_a_folder_in_place_of_a_server(published, monkeypatch, tmp_path):
    monkeypatch.setenv("L1FLOW_AGENTS", str(published))
    assert zoo.find("two") == published / "two" and not (tmp_path / "cache").exists()
    (published / "two" / "config.yaml").write_text("agent: another\n")
    with pytest.raises(CheckpointError, match=r"two/config.yaml: missing, or not the published file; L1FLOW_AGENTS is"):
        zoo.find("two")


def test_without_an_address_it_says_what_to_do(published, monkeypatch, capsys):
    monkeypatch.setattr(zoo, "metadata", lambda name: {"Version": "0.1.0"})
    assert main(["eval", "one"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        "agent 'one' does not come with the package" in line and "set L1FLOW_AGENTS to an URL, or to a folder" in line
    )


def test_the_address_of_a_release(published, monkeypatch):
    home = "https://127.0.0.1:1/somebody/l1flow-agents"
    monkeypatch.setattr(zoo, "metadata", lambda name: {"Version": "0.1.0", "Home-page": home})
    with pytest.raises(DownloadError, match=f"^{home}/raw/v0.1.0/agents/one/config.yaml: "):
        zoo.find("one")


def test_a_checkout_needs_no_network(published, monkeypatch):
    monkeypatch.setattr(zoo, "CHECKOUT", published)
    assert zoo.find("one") == published / "one"


@pytest.mark.parametrize("name", ["three", "../published/one", "/etc", "", "one/", "."])
def test_only_names_are_found(published, name):
    assert zoo.find(name) is None


def test_the_agents_of_an_environment(published):
    assert zoo.names() == ["one", "two"] and zoo.names_for("Counter-v0") == ["one"] and zoo.names_for("X-v0") == []


# ---- ours ---------------------------------------------------------------------------------------------------------


def test_the_table_lists_what_lies_in_the_repository():
    renewed = "run `python benchmarks/bundle.py` where agents/ changed"
    assert zoo.table() == zoo.describe(ROOT / "agents"), renewed


def test_ours_by_environment():
    assert zoo.names_for("PushT-v0") == ["pusht-state", "pusht-image"]
    assert zoo.names_for("Lift-v0") == ["lift-state", "lift-image"] and zoo.names_for("Can-v0") == ["can-state"]
