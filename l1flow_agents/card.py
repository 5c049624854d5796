"""The model card of an agent: Markdown that begins with the Hub's YAML, from what the agent knows of itself.

Names and values come from files that anybody may have written: they appear as text, never as Markdown or HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from gymnasium import spaces

from l1flow_agents.checks import DATACLASS, read_as
from l1flow_agents.kinds import Count, Text, Whole
from l1flow_agents.names import plain
from l1flow_agents.policy import ChunkPolicy
from l1flow_agents.provenance import Provenance
from l1flow_agents.safe_yaml import dump_yaml
from l1flow_agents.settings import AgentSettings
from l1flow_agents.zoo import config_names

CARD = "README.md"  # where the Hub looks for it
ABOUT = "Plans chunks of actions. Made with the library L1 Flow agents ([L1 Flow](https://arxiv.org/abs/2511.17898))."
SHOWN = 5  # failed episodes
RECIPE = (
    *("batch_size", "learning_rate", "weight_decay", "warmup_steps", "grad_clip", "ema_power", "history_dropout"),
    *("noise_samples", "precision", "symmetry", "hindsight", "idle", "actions", "val_fraction"),
)


class Described(Protocol):
    """What a card is about: a `ChunkAgent`, which imports this to push itself."""

    policy: ChunkPolicy
    provenance: Provenance
    action_space: spaces.Box

    @property
    def settings(self) -> AgentSettings: ...

    @property
    def spaces_by_key(self) -> Mapping[str, spaces.Box]: ...


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What only people know of an agent, each a line of Markdown and taken as it is."""

    __pydantic_config__ = DATACLASS

    license: Text | None = None
    """As the Hub names it, such as mit."""
    data: Text | None = None
    """Who made the demonstrations, and from which seeds."""
    validation: Text | None = None
    """On which seeds settings were chosen."""
    latency: Text | None = None
    failures: Text | None = None
    """What is seen where it fails."""
    film: Text | None = None
    """A link or picture."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """What an evaluation came to, whoever wrote it down."""

    __pydantic_config__ = DATACLASS

    success_rate: float | None
    success_interval_95: tuple[float, float]
    mean_score: float | None
    mean_score_error_95: float | None
    n_episodes: Count
    first_seed: Whole

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Score:
        """From `EvaluationResult.to_dict`, or from the score that an agent carries.

        Raises:
            ConfigError: it holds something else.
        """
        first = [one.get("seed") for one in result.get("episodes", [])[:1]]
        found = {one.name: result.get(one.name) for one in fields(cls)}
        score: Score = read_as(cls, {**found, **({"first_seed": first[0]} if first else {})}, "score")
        return score


def model_card(
    agent: Described,
    name: str,
    result: Mapping[str, Any] | None = None,
    stateless: Mapping[str, Any] | None = None,
    notes: Notes = Notes(),
) -> str:
    """The agent's card.

    Args:
        name: by which `ChunkAgent.load` finds it: a published name, a Hub id or a folder.
        result: of its evaluation, as `EvaluationResult.to_dict` has it (default: the score that the agent carries).
        stateless: of the same without ``state``, ``evaluate(..., chunked=False)``.

    Raises:
        ConfigError: a result, or the score that the agent carries, is none.
    """
    given = {"with `state`": result or agent.provenance.score, "without `state`": stateless}
    scores = {loop: Score.of(one) for loop, one in given.items() if one}
    parts = [
        f"---\n{dump_yaml(front_matter(agent, name, scores, notes.license))}---",
        f"# {escaped(name)}",
        ABOUT,
        usage(agent, name),
        "## Scores",
        score_table(scores) if scores else "Nobody has scored it yet.",
        notes.validation,
        "## The agent",
        table(["", ""], described(agent)),
        "## Training",
        table(["", ""], trained(agent, name, notes.data)),
        notes.latency and f"## Latency\n\n{notes.latency}",
        *failures(name, result or {}, notes.failures),
        notes.film and f"## Film\n\n{notes.film}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# ---- parts --------------------------------------------------------------------------------------------------------


def front_matter(agent: Described, name: str, scores: Mapping[str, Score], license: str | None) -> dict[str, Any]:
    """What the Hub shows and searches."""
    env = agent.provenance.env
    env_id = one_line(env.id) if env else None
    metrics = []
    for loop, one in scores.items():
        told = f"{loop.replace('`', '')}, {one.n_episodes} episodes"
        values = {"success_rate": one.success_rate, "mean_score": one.mean_score}
        metrics += [
            {"type": kind, "name": f"{kind}, {told}", "value": round(value, 4)}
            for kind, value in values.items()
            if value is not None
        ]
    task = {"type": "robotics", "name": "robotics"}
    results = [{"task": task, "dataset": {"type": env_id, "name": env_id}, "metrics": metrics}]
    tags = ["robotics", "imitation-learning", "gymnasium", one_line(agent.settings.method)]
    return {
        "library_name": "l1flow-agents",
        **({"license": one_line(license)} if license else {}),
        "pipeline_tag": "robotics",
        "tags": [*tags, *([env_id] if env_id else [])],
        "model-index": [{"name": one_line(name), "results": results if env_id and metrics else []}],
    }


def usage(agent: Described, name: str) -> str:
    """How to use it: code, and what to know of it."""
    quoted = ascii(name)
    quoted = quoted if '"' in quoted else f'"{quoted[1:-1]}"'  # as formatters of code have it
    lines = ["import l1flow_agents", "", f"agent = l1flow_agents.L1FlowAgent.load({quoted})"]
    if agent.provenance.env is not None:
        lines += ["env = agent.make_env()", "action, state = agent.predict(env.reset(seed=0)[0])"]
    else:
        lines += ["action, state = agent.predict(observation)"]
    text = "Hand `state` back, `agent.predict(observation, state)`: a plan is made only when the last one is used up."
    return "\n".join(["```python", *lines, "```", "", text])


def score_table(scores: Mapping[str, Score]) -> str:
    rows = []
    for loop, one in scores.items():
        low, high = one.success_interval_95
        told = "not told" if one.success_rate is None else f"{one.success_rate:.2f} ({low:.2f} .. {high:.2f})"
        mean = "" if one.mean_score is None else f"{one.mean_score:.3f}"
        spread = "" if not mean or one.mean_score_error_95 is None else f" ± {one.mean_score_error_95:.3f}"
        last = one.first_seed + one.n_episodes - 1
        rows.append([loop, told, mean + spread, str(one.n_episodes), f"{one.first_seed} .. {last}"])
    note = "95 % intervals: Wilson for success, normal for the mean. A score: an episode's highest reward of a step."
    return table(["", "success", "mean score", "episodes", "test seeds"], rows) + f"\n\n{note}"


def described(agent: Described) -> list[list[str]]:
    """What it is: rows of a table."""
    settings, env = agent.settings, agent.provenance.env
    shapes = {key: " x ".join(map(str, box.shape)) for key, box in agent.spaces_by_key.items()}
    n_actions = int(agent.action_space.shape[0])
    n_weights = sum(weights.numel() for weights in agent.policy.parameters())
    return [
        ["environment", named(env.id, env.kwargs) if env else "not known"],
        ["observations", f"the last {settings.n_obs_steps} of {listed(shapes, ' ')}"],
        ["a plan", f"{settings.horizon} actions of {n_actions} numbers, the first {settings.n_action_steps} executed"],
        ["method", named(settings.method, settings.method_kwargs)],
        ["network evaluations a plan", str(agent.policy.method.network_evaluations)],
        ["network", named(settings.network, settings.network_kwargs)],
        ["encoder", listed(settings.encoder_kwargs) or "as it is by default"],
        ["weights", f"{n_weights:,}"],
    ]


def trained(agent: Described, name: str, data_note: str | None) -> list[list[str]]:
    """How it came to be: rows of a table."""
    past, record = agent.provenance, agent.provenance.training
    if not past.has_learned:
        return [["gradient steps", "none: the weights are as they were drawn"]]
    recipe = {key: record[key] for key in RECIPE if record.get(key) not in (None, "")}
    rows = [
        ["demonstrations", data_note or ""],
        ["as recorded", listed(record["dataset"]) if isinstance(record.get("dataset"), Mapping) else ""],
        ["their fingerprint", code(record["fingerprint"]) if "fingerprint" in record else ""],
        ["gradient steps", code(past.steps_done)],
        ["recipe", listed(recipe)],
        ["seed", code(record["seed"]) if "seed" in record else ""],
        ["teacher", listed(past.teacher)],
        ["made with", listed(past.versions, " ")],
        ["one like it", code(f"l1flow train {name}") if name in config_names() else ""],
    ]
    return [[what, text] for what, text in rows if text]


def failures(name: str, result: Mapping[str, Any], note: str | None) -> list[str]:
    """What a person saw, and which episodes to look at."""
    told = [note] if note else []
    finished = [one for one in result.get("episodes", []) if one["error"] is None]
    if failed := sorted((one["score"], one["seed"]) for one in finished if one["success"] is False):
        lowest = ", ".join(f"{seed} ({score:.2f})" for score, seed in failed[:SHOWN])
        film = code(f"l1flow rollout {name} -n 1 --seed {failed[0][1]}")
        told.append(
            f"{len(failed)} of {len(finished)} test episodes failed; seeds with the lowest scores: {lowest}. "
            f"{film} films the first."
        )
    return ["## Failures", *told] if told else []


# ---- text ---------------------------------------------------------------------------------------------------------


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines)


def listed(values: Mapping[str, Any], sign: str = "=") -> str:
    return ", ".join(code(f"{key}{sign}{plain(value)}") for key, value in values.items())


def named(name: str, settings: Mapping[str, Any]) -> str:
    return ", ".join(part for part in (code(name), listed(settings)) if part)


def code(value: Any) -> str:
    """A value as a code span, whatever it holds."""
    text = one_line(value)
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    pad = " " if not text or "`" in (text[0], text[-1]) else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def escaped(text: str) -> str:
    """Text in which Markdown and HTML mean nothing."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~$&:@])", r"\\\1", one_line(text))


def one_line(value: Any) -> str:
    """Printable text of bearable length, without line breaks."""
    text = " ".join(str(value).split())
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= 1000 else f"{text[:1000]}..."
