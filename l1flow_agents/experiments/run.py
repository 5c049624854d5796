"""Train as an experiment says."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from l1flow_agents.agent import L1FlowAgent
from l1flow_agents.data import open_dataset
from l1flow_agents.data.download import locate
from l1flow_agents.evaluation import ScoreCallback
from l1flow_agents.experiments.environment import make_env
from l1flow_agents.experiments.experiment import Experiment
from l1flow_agents.files import write_atomically
from l1flow_agents.safe_yaml import dump_yaml


def run_experiment(
    experiment: Experiment, run_dir: str | os.PathLike, device: str = "auto", progress_bar: bool = True
) -> L1FlowAgent:
    """Train as ``experiment`` says, continuing what ``run_dir`` holds; the agent is saved as ``run_dir/agent``.

    ``training.seed`` determines everything: initial weights, order of windows and every draw.
    """
    agent = new_agent(experiment, device)
    evaluation = experiment.evaluation
    callback = ScoreCallback(**asdict(evaluation)) if evaluation else None
    dataset = open_dataset(locate(experiment.dataset), list(agent.spaces_by_key), experiment.filter_key)
    record = Path(run_dir) / "experiment.yaml"
    if not record.exists():  # a run that is continued keeps its own; `learn` refuses other settings
        write_atomically(record, dump_yaml(experiment.to_dict()))
    training = experiment.training
    agent.learn(dataset, training.total_steps, callback, progress_bar, run_dir=run_dir, **training.config())
    agent.save(Path(run_dir) / "agent")
    return agent


def new_agent(experiment: Experiment, device: str = "auto") -> L1FlowAgent:
    """The agent as it is before its training."""
    settings = experiment.agent
    if experiment.teacher is not None:
        teacher = L1FlowAgent.load(experiment.teacher, device=device)
        return L1FlowAgent.from_teacher(teacher, settings.method, settings.method_kwargs)
    env = make_env(experiment.env, experiment.env_kwargs)
    return L1FlowAgent(env=env, seed=experiment.training.seed, device=device, **settings.to_dict())
