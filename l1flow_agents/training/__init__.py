"""Train: `config` has the settings, `loop` the gradient steps, `moving_average` the weights that act, `run_folder`
what is kept of a run, `callbacks` what is told to others.
"""

from l1flow_agents.training.callbacks import Callback, as_callback
from l1flow_agents.training.config import TrainingConfig
from l1flow_agents.training.loop import Training, fitting, training_record
from l1flow_agents.training.run_folder import RunFolder

__all__ = ["Callback", "RunFolder", "Training", "TrainingConfig", "as_callback", "fitting", "training_record"]
