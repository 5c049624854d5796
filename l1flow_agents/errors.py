"""What can go wrong by a user's doing. Each message names what was expected and what came."""


class L1FlowError(Exception):
    """Base of every error that this library raises on purpose."""


class ConfigError(L1FlowError, ValueError):
    """A setting that does not exist or cannot have this value."""


class ObservationError(L1FlowError, ValueError):
    """An observation, state or episode_start that does not fit the agent's spaces."""


class DatasetError(L1FlowError, ValueError):
    """A data set that is damaged, truncated or inconsistent."""


class CheckpointError(L1FlowError, ValueError):
    """A checkpoint that is missing, foreign, truncated, altered or made for other spaces."""


class TrainingError(L1FlowError, FloatingPointError):
    """A training that diverged, or weights that are no numbers."""


class DownloadError(L1FlowError, OSError):
    """A download, or an upload, that did not arrive whole."""


class WorkerError(L1FlowError, RuntimeError):
    """A process that died, or an environment that could not even be built in one."""
