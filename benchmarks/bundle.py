"""Score a trained agent on the test seeds, and keep it under a name with its score, results and curve.

    python benchmarks/bundle.py runs/pusht-state pusht-state
    python benchmarks/bundle.py                                only renew l1flow_agents/published.yaml

Writes agents/NAME (float16; l1flow_agents/bundled/NAME, which comes with the package, where it is one of those),
l1flow_agents/published.yaml, benchmarks/results/NAME*.json and NAME-curve.csv. The float16 agent is the one that is
scored.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import yaml

from l1flow_agents import L1FlowAgent, evaluate
from l1flow_agents.zoo import BUNDLED, TABLE, describe

RESULTS = Path(__file__).parent / "results"
AGENTS = Path(__file__).parents[1] / "agents"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="run directory, with an agent/ in it")
    parser.add_argument("name", nargs="?")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--stateless-episodes", type=int, default=30)
    args = parser.parse_args()

    if (args.run is None) != (args.name is None):
        parser.error("expected a run and a name, or neither")
    if args.run is not None:
        keep(args)
    TABLE.write_text(yaml.safe_dump(describe(AGENTS), sort_keys=False))


def keep(args: argparse.Namespace) -> None:
    target = (BUNDLED if (BUNDLED / args.name).is_dir() else AGENTS) / args.name
    L1FlowAgent.load(args.run / "agent").save(target, half=True)
    agent = L1FlowAgent.load(target)
    command = shlex.join(["python", *sys.argv])
    for kind, n in [("", args.episodes), ("-stateless", args.stateless_episodes)]:
        result = evaluate(agent, n_episodes=n, chunked=not kind, progress_bar=True)
        result.agent = args.name
        result.save(RESULTS / f"{args.name}{kind}.json", command=command)
        print(f"{args.name}{kind}: {result}")
        if not kind:
            summary = result.to_dict()
            names = ("success_rate", "success_interval_95", "mean_score", "mean_score_error_95", "n_episodes")
            score = {name: summary[name] for name in names} | {"first_seed": result.episodes[0].seed}
            agent.provenance = replace(agent.provenance, score=score)
            agent.save(target, half=True)
    shutil.copy(args.run / "progress.csv", RESULTS / f"{args.name}-curve.csv")


if __name__ == "__main__":
    main()
