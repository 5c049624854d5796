"""Train as an experiment says, on demonstrations that are there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from stable_baselines3.common.callbacks import BaseCallback

from l1flow_agents.agent import L1FlowAgent
from l1flow_agents.data import open_dataset
from l1flow_agents.evaluation import ScoreCallback
from l1flow_agents.experiments.environment import make_env
from l1flow_agents.experiments.experiment import Experiment
from l1flow_agents.files import write_atomically
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


def learn(
    agent: L1FlowAgent,
    experiment: Experiment,
    dataset: Path,
    run_dir: Path,
    progress_bar: bool = False,
    on_start: Callable[[], None] | None = None,
) -> None:
    """Train ``agent`` on ``dataset``, continuing what ``run_dir`` holds, and save it as ``run_dir/agent``.

    Args:
        on_start: called when nothing was refused and the training begins.
    """
    evaluation, training = experiment.evaluation, experiment.training
    callbacks: list[BaseCallback] = [Record(run_dir / "experiment.yaml", experiment, on_start)]
    callbacks += [ScoreCallback(**asdict(evaluation))] if evaluation else []
    episodes = open_dataset(dataset, list(agent.spaces_by_key), experiment.filter_key)
    agent.learn(episodes, training.total_steps, callbacks, progress_bar, run_dir=run_dir, **training.config())
    agent.save(run_dir / "agent")


def new_agent(experiment: Experiment, device: str = "auto") -> L1FlowAgent:
    """The agent as it is before its training."""
    settings = experiment.agent
    if experiment.teacher is not None:
        teacher = L1FlowAgent.load(experiment.teacher, device=device)
        return L1FlowAgent.from_teacher(teacher, settings.method, settings.method_kwargs)
    env = make_env(experiment.env, experiment.env_kwargs)
    return L1FlowAgent(env=env, seed=experiment.training.seed, device=device, **settings.to_dict())
