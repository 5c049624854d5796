"""Score a trained agent on the test seeds, and keep it under a name with its score, results and curve.

    python benchmarks/bundle.py pusht-state --run runs/pusht-state
    python benchmarks/bundle.py pusht-state      score again what is kept under the name
    python benchmarks/bundle.py                  only renew l1flow_agents/published.yaml and the model cards

Writes agents/NAME (float16; l1flow_agents/bundled/NAME, which comes with the package, where it is one of those),
l1flow_agents/published.yaml, benchmarks/results/NAME*.json and NAME-curve.csv. The float16 agent is the one that is
scored. Model cards are made of the agents, these results and notes.yaml.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from l1flow_agents import L1FlowAgent, evaluate
from l1flow_agents.card import CARD, Notes, model_card
from l1flow_agents.checks import read_as
from l1flow_agents.files import write_atomically
from l1flow_agents.safe_yaml import read_yaml
from l1flow_agents.seeds import TEST_SEED, VALIDATION_SEED
from l1flow_agents.zoo import BUNDLED, TABLE, describe

RESULTS = Path(__file__).parent / "results"
NOTES = Path(__file__).parent / "notes.yaml"
AGENTS = Path(__file__).parents[1] / "agents"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?")
    parser.add_argument("--run", type=Path, help="run directory, with an agent/ in it")
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--stateless-episodes", type=int, default=50)
    args = parser.parse_args()

    if args.name is not None:
        target = (BUNDLED if (BUNDLED / args.name).is_dir() else AGENTS) / args.name
        if args.run is not None:
            L1FlowAgent.load(args.run / "agent").save(target, half=True)
            shutil.copy(args.run / "progress.csv", RESULTS / f"{args.name}-curve.csv")
        score(target, args)
    elif args.run is not None:
        parser.error("expected a name for the run's agent")
    TABLE.write_text(yaml.safe_dump(describe(AGENTS), sort_keys=False))
    for folder in published():
        write_atomically(folder / CARD, card_of(folder))


def score(target: Path, args: argparse.Namespace) -> None:
    """Write the agent's results on the test seeds, chunked and without state, and its score into its record."""
    agent = L1FlowAgent.load(target)
    command = shlex.join(["python", *sys.argv])
    for kind, n in [("", args.episodes), ("-stateless", args.stateless_episodes)]:
        result = evaluate(agent, n_episodes=n, chunked=not kind, progress_bar=True)
        result.agent = args.name
        result.save(RESULTS / f"{args.name}{kind}.json", command=command)
        print(f"{args.name}{kind}: {result}")
        if not kind:
            keep_score(target, result.to_dict())


def keep_score(target: Path, result: dict[str, Any]) -> None:
    names = ("success_rate", "success_interval_95", "mean_score", "mean_score_error_95", "n_episodes", "n_action_steps")
    score = {name: result[name] for name in names} | {"first_seed": result["episodes"][0]["seed"]}
    agent = L1FlowAgent.load(target)
    agent.provenance = replace(agent.provenance, score=score)
    agent.save(target, half=True)


def published() -> list[Path]:
    """The folders of all agents, those that come with the package too."""
    return sorted({config.parent for folder in (AGENTS, BUNDLED) for config in folder.glob("*/config.yaml")})


def card_of(folder: Path) -> str:
    """The model card of a published agent."""
    name = folder.name
    known = {
        "license": "mit",
        "validation": f"Settings were chosen on seeds {VALIDATION_SEED} and up, below {TEST_SEED}; on the test seeds "
        "it was scored once.",
        **latency(name),
        **read_yaml(NOTES).get(name, {}),
    }
    files = [RESULTS / f"{name}{kind}.json" for kind in ("", "-stateless")]
    result, stateless = (json.loads(file.read_text()) if file.exists() else None for file in files)
    notes = read_as(Notes, known, f"{NOTES.name}: {name}")
    return model_card(L1FlowAgent.load(folder, device="cpu"), name, result, stateless, notes)


def latency(name: str) -> dict[str, str]:
    """What `speed.py` measured with this agent, if it did."""
    path = RESULTS / "speed.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    plans = [row for row in rows if row["what"].startswith("replan") and row["of"].endswith(f"({name})")]
    told = "A plan took {:.1f} ms on one CPU thread (`benchmarks/speed.py`)."
    return {"latency": told.format(1e3 * plans[0]["ours_s"])} if plans else {}


if __name__ == "__main__":
    main()
