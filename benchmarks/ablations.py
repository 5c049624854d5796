"""The ablations as one table: what was trained down, what sampled it across, mean scores.

    l1flow compare --env PushT-v0 --systems benchmarks/ablations.yaml --steps 6000 --output runs/ablations
    python benchmarks/ablations.py runs/ablations/compare.json

Without a name a system's sampler is L1 Flow's own, which goes to t = 0.5.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from l1flow_agents.comparison.report import markdown_table, rows_of


def table(record: dict) -> str:
    scores: dict[str, dict[str, float]] = {}
    for row in rows_of(record):
        system, _, sampler = row.name.partition(":")
        scores.setdefault(system, {})[sampler or "t0.5"] = row.mean
    names = list(next(iter(scores.values())))
    samplers = sorted(name for name in names if name[0] == "t") + [name for name in names if name[0] != "t"]
    rows = [[system, *(f"{by[one]:.2f}" for one in samplers)] for system, by in scores.items()]
    return markdown_table(["loss-space-time", *samplers], rows)


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text())))
