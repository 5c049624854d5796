"""Train as an experiment says."""

from __future__ import annotations

import os
from collections.abc import Callable

from l1flow_agents.agent import L1FlowAgent
from l1flow_agents.experiments.experiment import Experiment
from l1flow_agents.experiments.learning import learn, new_agent
from l1flow_agents.experiments.making import dataset_of
from l1flow_agents.files import output_path


def run_experiment(
    experiment: Experiment,
    run_dir: str | os.PathLike,
    device: str = "auto",
    progress_bar: bool = True,
    on_start: Callable[[], None] | None = None,
) -> L1FlowAgent:
    """Train as ``experiment`` says, continuing what ``run_dir`` holds; the agent is saved as ``run_dir/agent``.

    Demonstrations that are not there are made first, where the experiment says how.

    ``training.seed`` determines everything: initial weights, order of windows and every draw.

    Args:
        on_start: called when nothing was refused and the training begins.
    """
    run_dir = output_path(run_dir, folder=True)
    agent = new_agent(experiment, device)
    learn(agent, experiment, dataset_of(experiment, progress_bar), run_dir, progress_bar, on_start)
    return agent
