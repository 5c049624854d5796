"""A whole comparison: jobs over cores or machines, latency, report."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from l1flow_agents.agent import L1FlowAgent
from l1flow_agents.comparison.jobs import RESULT, Job, run_job
from l1flow_agents.comparison.latency import latencies
from l1flow_agents.comparison.paired import paired
from l1flow_agents.comparison.report import write_report
from l1flow_agents.comparison.systems import chosen, read_systems
from l1flow_agents.device import pick_device
from l1flow_agents.envs import find_spec, plain_id
from l1flow_agents.errors import ConfigError
from l1flow_agents.experiments import read_experiment
from l1flow_agents.experiments.making import dataset_of
from l1flow_agents.files import output_path, write_atomically
from l1flow_agents.gpu_sharing import shared_gpu
from l1flow_agents.methods import METHODS
from l1flow_agents.parallel import in_order
from l1flow_agents.versions import versions

ON_A_GPU = 5  # trainings at a time that still gain from each other's pauses


def compare(
    env_id: str,
    methods: Iterable[str],
    seeds: Iterable[int],
    output: str | os.PathLike,
    *,
    config: str | os.PathLike | None = None,
    overrides: Iterable[str] = (),
    systems: str | os.PathLike | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    n_episodes: int = 100,
    n_curve: int = 5,
    curve_episodes: int = 20,
    n_workers: int | None = None,
    cluster: str | None = None,
    device: str = "auto",
    command: str = "",
    progress_bar: bool = False,
) -> dict[str, Any]:
    """Train and score ``methods`` with the same data, split, network, seeds and budget; write a report.

    Everything lies under ``output``: ``runs/`` and ``compare.json``, ``.md``, ``.png``, ``.html``. Run again, it
    continues what is there; more methods or seeds add to it.

    Args:
        methods: names of ``systems``; the teachers that they need are trained too.
        config: whose environment settings, data, network and training are used; by default ``<env>-state``.
        systems: a YAML file (`read_systems`), by default the systems of the paper.
        steps, seconds: the budget of a training, one of the two; by default the configuration's ``total_steps``.
        n_episodes: on the test seeds, for every row and seed.
        n_curve, curve_episodes: evaluations on validation seeds during a training.
        n_workers: jobs at a time, one thread each; by default one a core, on a GPU at most 5, which share it by MPS.
        cluster: address of a Ray cluster that sees ``output`` under the same path; ``auto`` finds one. It trains on
            its machines' cores.
        device: where the jobs train and score; latencies are those of the CPU.

    Returns:
        What ``compare.json`` holds.

    Raises:
        ConfigError: a name, a budget, or ``output`` holds another comparison.
    """
    if steps is not None and seconds is not None:
        raise ConfigError("expected a budget of steps or of seconds, got both")
    folder = output_path(output, folder=True).absolute()
    wanted = chosen(read_systems(systems), list(methods))
    spec = find_spec(env_id)
    experiment = read_experiment(config or f"{plain_id(spec).rpartition('-v')[0].lower()}-state", overrides)
    if find_spec(experiment.env).id != spec.id:
        raise ConfigError(f"expected a configuration for {spec.id}, got one for {experiment.env}")
    experiment = experiment.changed(dataset=str(dataset_of(experiment, progress_bar).absolute()), data=None)
    if cluster and device not in ("auto", "cpu"):
        raise ConfigError(f"a cluster trains on its machines' cores: expected device cpu, got {device!r}")
    place = "cpu" if cluster else str(pick_device(device))
    budget = steps if steps is not None or seconds is not None else experiment.training.total_steps
    jobs = [
        Job(system, seed, experiment, folder, budget, seconds, n_curve, curve_episodes, n_episodes, place)
        for system in wanted
        for seed in dict.fromkeys(seeds)
    ]
    on_gpu, cores = place.startswith("cuda"), os.cpu_count() or 1
    n_workers = min(n_workers or (min(cores, ON_A_GPU) if on_gpu else cores), len(jobs))
    with shared_gpu(n_workers if on_gpu else 1):
        run_jobs(jobs, n_workers, cluster, progress_bar)
    results = finished(folder, jobs[0])
    record = {
        "command": command,
        "env": spec.id,
        "budget": jobs[0].budget,
        "n_episodes": n_episodes,
        "device": place,
        "versions": versions(),
        "latency_seconds": latencies(agents_of(folder, results)),
        "paired": [one.to_dict() for one in paired(results)],
        "results": results,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "compare.json", json.dumps(record, indent=1) + "\n")
    write_report(record, folder)
    return record


def run_jobs(jobs: list[Job], n_workers: int, cluster: str | None, progress_bar: bool) -> None:
    """Do the jobs, those of students after all others."""
    waves = [[job for job in jobs if (job.system.teacher is not None) == later] for later in (False, True)]
    with tqdm(total=len(jobs), unit="run", disable=not progress_bar) as bar:
        for wave in filter(None, waves):
            for _ in in_order(run_job, wave, min(n_workers, len(wave)), cluster):
                bar.update()


def finished(folder: Path, like: Job) -> list[dict[str, Any]]:
    """All results under ``folder`` of this budget and number of episodes, also those of earlier calls."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob(f"runs/*/{RESULT}"))]
    order = list(METHODS)
    fitting = [one for one in found if (one["budget"], one["n_episodes"]) == (like.budget, like.n_episodes)]
    return sorted(
        fitting, key=lambda one: (order.index(one["experiment"]["agent"]["method"]), one["system"], one["seed"])
    )


def agents_of(folder: Path, results: list[dict[str, Any]]) -> dict[str, L1FlowAgent]:
    """Row -> an agent; one seed of each will do."""
    agents: dict[str, L1FlowAgent] = {}
    for one in results:
        agent = L1FlowAgent.load(folder / "runs" / f"{one['system']}-seed{one['seed']}" / "agent", device="cpu")
        agents |= {name: agent.with_settings(method_kwargs=row["method_kwargs"]) for name, row in one["rows"].items()}
    return agents
