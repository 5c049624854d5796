"""A training described by one YAML file, such as those of `l1flow_agents.configs`."""

from l1flow_agents.experiments.experiment import EvaluationSettings, Experiment, TrainingSettings
from l1flow_agents.experiments.reading import config_names, read_experiment
from l1flow_agents.experiments.run import new_agent, run_experiment

__all__ = [
    "EvaluationSettings",
    "Experiment",
    "TrainingSettings",
    "config_names",
    "new_agent",
    "read_experiment",
    "run_experiment",
]
