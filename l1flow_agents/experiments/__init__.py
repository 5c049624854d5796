"""A training described by one YAML file, such as those of `l1flow_agents.configs`."""

from l1flow_agents.experiments.run import config_names, read_experiment, run_experiment

__all__ = ["config_names", "read_experiment", "run_experiment"]
