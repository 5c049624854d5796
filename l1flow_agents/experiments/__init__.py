"""A training described by one YAML file, such as those of `l1flow_agents.configs`."""

from l1flow_agents.experiments.experiment import DataSettings, EvaluationSettings, Experiment, TrainingSettings
from l1flow_agents.experiments.learning import new_agent
from l1flow_agents.experiments.reading import read_experiment
from l1flow_agents.experiments.run import run_experiment
from l1flow_agents.zoo import config_names

__all__ = [
    "DataSettings",
    "EvaluationSettings",
    "Experiment",
    "TrainingSettings",
    "config_names",
    "new_agent",
    "read_experiment",
    "run_experiment",
]
