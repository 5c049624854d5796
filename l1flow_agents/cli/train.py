"""``l1flow train``, ``distill`` and ``compare``."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from l1flow_agents.zoo import RUNS


def run_train(arguments: argparse.Namespace) -> int:
    from l1flow_agents.experiments import read_experiment, run_experiment

    experiment = read_experiment(arguments.config, arguments.overrides).changed(**data_of(arguments))
    run_dir = Path(arguments.run_dir or RUNS / Path(arguments.config).stem)
    settings = yaml.safe_dump(experiment.to_dict(), sort_keys=False)
    run_experiment(experiment, run_dir, arguments.device, on_start=lambda: print(settings, end="", flush=True))
    print(f"agent: {run_dir / 'agent'}")
    return 0


def run_distill(arguments: argparse.Namespace) -> int:
    from l1flow_agents.experiments import read_experiment, run_experiment

    overrides = [*arguments.overrides, f"agent.method={arguments.method}"]
    experiment = read_experiment(arguments.config, overrides)
    experiment = experiment.changed(teacher=arguments.teacher, **data_of(arguments))
    run_dir = Path(arguments.run_dir or RUNS / arguments.method)
    agent = run_experiment(experiment, run_dir, arguments.device)
    print(f"agent: {run_dir / 'agent'}")
    taught = agent.provenance.teacher["steps_done"]
    print(f"extra training: {agent.num_timesteps} steps beside the {taught} of its teacher")
    return 0


def data_of(arguments: argparse.Namespace) -> dict[str, str | None]:
    """What the flags say of the demonstrations, instead of the configuration."""
    given = {"dataset": arguments.dataset, "filter_key": arguments.filter_key}
    changes = {name: value for name, value in given.items() if value is not None}
    return {**changes, "data": None} if arguments.dataset else changes  # a file of one's own is not made


def settings_help() -> str:
    """Every setting of a configuration."""
    from l1flow_agents.experiments.describe import described_settings

    return (
        f"\nsettings of a configuration, each also an override such as training.batch_size=64:\n{described_settings()}"
    )


def run_compare(arguments: argparse.Namespace) -> int:
    from l1flow_agents.comparison import compare, read_systems

    output = Path(arguments.output or Path("runs") / "compare" / arguments.env.split(":")[-1])
    compare(
        arguments.env,
        arguments.methods or list(read_systems(arguments.systems)),
        arguments.seeds,
        output,
        config=arguments.config,
        overrides=arguments.overrides,
        systems=arguments.systems,
        steps=arguments.steps,
        seconds=arguments.seconds,
        n_episodes=arguments.episodes,
        n_curve=arguments.curve,
        n_workers=arguments.workers,
        cluster=arguments.cluster,
        device=arguments.device,
        command=arguments.command_line,
        progress_bar=True,
    )
    print((output / "compare.md").read_text(), end="")
    print(output / "compare.html")
    return 0
