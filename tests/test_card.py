"""Promise: an agent's card says what the agent and its results say, in Markdown that nobody's names can break."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from l1flow_agents import L1FlowAgent, evaluate, zoo
from l1flow_agents.card import Notes, model_card
from l1flow_agents.cli import main
from l1flow_agents.env_description import EnvDescription
from l1flow_agents.errors import ConfigError
from l1flow_agents.safe_yaml import parse_yaml

ROOT = Path(__file__).parents[1]
HOSTILE = "a`b``|<script>alert(1)</script>\n---\n# [x](javascript:y) ``` \u202e%"


@pytest.fixture(scope="module")
def bundle():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import bundle
    finally:
        sys.path.pop(0)
    return bundle


def front(card: str) -> dict:
    """The YAML that the Hub reads."""
    begin, yaml, body = card.split("---\n", 2)
    assert begin == "" and body.startswith("\n# ")
    return parse_yaml(yaml)


def code(card: str) -> str:
    return re.search(r"```python\n(.*?)\n```", card, re.DOTALL)[1]


def scored(agent: L1FlowAgent, **changes) -> L1FlowAgent:
    score = {"success_rate": 0.5, "success_interval_95": [0.1, 0.9], "mean_score": 0.75, "mean_score_error_95": 0.1}
    score |= {"n_episodes": 4, "first_seed": 100, **changes}
    agent.provenance = replace(agent.provenance, score=score)
    return agent


def test_the_card_of_a_fresh_agent(make_agent):
    card = model_card(make_agent(), "somebody/toy")
    assert front(card)["library_name"] == "l1flow-agents" and "license" not in front(card)
    for words in ("Nobody has scored it yet", "as they were drawn", "`pos 3`", "| environment | not known |", "`mlp`"):
        assert words in card
    assert 'load("somebody/toy")' in code(card) and "make_env" not in code(card)


def test_scores_of_the_agent_and_without_state(make_agent):
    agent = scored(make_agent())
    agent.provenance = replace(agent.provenance, env=EnvDescription("PushT-v0", {"obs_type": "state"}))
    stateless = {**agent.provenance.score, "success_rate": None, "mean_score": 0.25, "first_seed": 7}
    card = model_card(agent, "toy", stateless=stateless, notes=Notes(license="mit", failures="It *falls*."))
    assert "| with `state` | 0.50 (0.10 .. 0.90) | 0.750 ± 0.100 | 4 | 100 .. 103 |" in card
    assert "| without `state` | not told | 0.250 ± 0.100 | 4 | 7 .. 10 |" in card
    assert "## Failures\n\nIt *falls*.\n" in card
    [model] = front(card)["model-index"]
    assert [metric["value"] for metric in model["results"][0]["metrics"]] == [0.5, 0.75, 0.25]
    assert front(card)["license"] == "mit" and "PushT-v0" in front(card)["tags"]


def test_failed_episodes_of_an_evaluation_are_named():
    agent = L1FlowAgent.load("pusht-state", device="cpu")
    result = evaluate(agent, n_episodes=2, seed=50_000, n_envs=1, env_kwargs={"max_episode_steps": 3}).to_dict()
    card = model_card(agent, "pusht-state", result)
    assert "| 2 | 50000 .. 50001 |" in card and "2 of 2 test episodes failed" in card


@pytest.mark.parametrize("change", [{"n_episodes": "<b>"}, {"success_rate": "high"}, {"success_interval_95": None}])
def test_a_score_that_is_none_is_refused(make_agent, change):
    with pytest.raises(ConfigError, match=f"^score.*{next(iter(change))}"):
        model_card(scored(make_agent(), **change), "toy")


def test_names_and_values_are_text_whatever_they_hold(make_agent):
    agent = scored(make_agent())
    training = {"dataset": {"source": HOSTILE, "episodes": HOSTILE}, "seed": HOSTILE, "fingerprint": HOSTILE}
    env = EnvDescription(HOSTILE, {"obs_type": HOSTILE})
    agent.provenance = replace(
        agent.provenance, env=env, training=training, steps_done=1, teacher={HOSTILE: 1}, versions={HOSTILE: "1"}
    )
    card = model_card(agent, HOSTILE)
    [model] = front(card)["model-index"]
    assert model["name"].startswith("a`b") and "\n" not in model["name"] and card.count("\n---\n") == 1
    compile(code(card), "card", "exec")
    body = card.split("---\n", 2)[2].replace(code(card), "")
    text = re.sub(r"(?<!\\)(`+)(?!`).+?(?<!`)\1(?!`)", "", body)  # without code spans and blocks
    text = re.sub(r"\\[!-/:-@[-`{-~]", "", text)
    assert "<" not in text and "[x]" not in text and "\u202e" not in card
    assert [line for line in card.splitlines() if line.startswith("#") and "script" in line] == [
        line for line in card.splitlines() if line.startswith("# ")
    ]
    for line in body.splitlines():
        if line.startswith("| "):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 6), "no cell breaks its row"


# ---- ours ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", zoo.names())
def test_the_card_of_a_published_agent_says_what_is_known_now(bundle, name):
    folder = next(folder for folder in bundle.published() if folder.name == name)
    card = (folder / "README.md").read_text()
    assert card == bundle.card_of(folder), "run `python benchmarks/bundle.py`"
    for target in re.findall(r"\]\((?!https://)([^)]+)\)", card):
        assert (folder / target).exists(), target


def test_every_note_is_of_a_published_agent(bundle):
    assert set(bundle.read_yaml(bundle.NOTES)) <= set(zoo.names())


@pytest.mark.parametrize("name", ["pusht-state", "pusht-image"])
def test_what_a_card_says_runs(bundle, name):
    names: dict = {}
    folder = next(folder for folder in bundle.published() if folder.name == name)
    exec(compile(code((folder / "README.md").read_text()), name, "exec"), names)
    assert names["env"].action_space.contains(names["action"])


def test_the_hub_reads_it(bundle):
    hub = pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")
    card = hub.ModelCard((zoo.BUNDLED / "pusht-state" / "README.md").read_text())
    assert card.data.library_name == "l1flow-agents" and card.data.model_name == "pusht-state"
    assert {result.metric_type for result in card.data.eval_results} == {"success_rate", "mean_score"}


def test_a_card_disturbs_neither_loading_nor_saving(make_agent, tmp_path, capsys):
    folder = tmp_path / "toy"
    make_agent().save(folder)
    (folder / "README.md").write_text(model_card(make_agent(), "toy"))
    assert zoo.describe(tmp_path)["toy"]["files"].keys() == set(zoo.FILES), "it is not fetched"
    L1FlowAgent.load(folder).save(tmp_path / "copy")
    assert main(["info", str(folder)]) == 0 and "README.md" in capsys.readouterr().out
    make_agent().save(folder)
    assert not (folder / "README.md").exists(), "the card of other weights is gone"
