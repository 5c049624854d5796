"""Train as an experiment says."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from stable_baselines3.common.callbacks import BaseCallback

from l1flow_agents.agent import L1FlowAgent
from l1flow_agents.data import open_dataset
from l1flow_agents.evaluation import ScoreCallback
from l1flow_agents.experiments.environment import make_env
from l1flow_agents.experiments.experiment import Experiment
from l1flow_agents.experiments.making import dataset_of
from l1flow_agents.files import output_path, write_atomically
from l1flow_agents.safe_yaml import dump_yaml


class Record(BaseCallback):
    """Writes ``experiment`` to ``path`` when its training begins; one that is continued keeps its own.

    Args:
        on_start: called then, too.
    """

    def __init__(self, path: Path, experiment: Experiment, on_start: Callable[[], None] | None) -> None:
        super().__init__()
        self.path, self.experiment, self.on_start = path, experiment, on_start

    def _on_training_start(self) -> None:
        if self.num_timesteps == 0 or not self.path.exists():
            write_atomically(self.path, dump_yaml(self.experiment.to_dict()))
        if self.on_start is not None:
            self.on_start()

    def _on_step(self) -> bool:
        return True


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
    evaluation = experiment.evaluation
    callbacks: list[BaseCallback] = [Record(run_dir / "experiment.yaml", experiment, on_start)]
    callbacks += [ScoreCallback(**asdict(evaluation))] if evaluation else []
    dataset = open_dataset(dataset_of(experiment, progress_bar), list(agent.spaces_by_key), experiment.filter_key)
    training = experiment.training
    agent.learn(dataset, training.total_steps, callbacks, progress_bar, run_dir=run_dir, **training.config())
    agent.save(run_dir / "agent")
    return agent


def new_agent(experiment: Experiment, device: str = "auto") -> L1FlowAgent:
    """The agent as it is before its training."""
    settings = experiment.agent
    if experiment.teacher is not None:
        teacher = L1FlowAgent.load(experiment.teacher, device=device)
        return L1FlowAgent.from_teacher(teacher, settings.method, settings.method_kwargs)
    env = make_env(experiment.env, experiment.env_kwargs)
    return L1FlowAgent(env=env, seed=experiment.training.seed, device=device, **settings.to_dict())
