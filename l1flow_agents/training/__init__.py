"""Train: `config` has the settings, `loop` the gradient steps, `moving_average` the weights that act."""

from l1flow_agents.training.config import TrainingConfig
from l1flow_agents.training.loop import Callback, train

__all__ = ["Callback", "TrainingConfig", "train"]
