"""Score an agent: `run` is called, `rollouts` gives out episodes, `workers` step them by `runner`, `result` says
what they come to, and `callback` scores in training.
"""

from typing import TYPE_CHECKING

from l1flow_agents.lazy import lazily

if TYPE_CHECKING:
    from l1flow_agents.evaluation.callback import ScoreCallback
    from l1flow_agents.evaluation.result import EpisodeResult, EvaluationResult, wilson_interval
    from l1flow_agents.evaluation.run import default_agent, evaluate
    from l1flow_agents.evaluation.workers import Workers

__all__ = [
    "EpisodeResult",
    "EvaluationResult",
    "ScoreCallback",
    "Workers",
    "default_agent",
    "evaluate",
    "wilson_interval",
]

__getattr__ = lazily(
    __name__,
    {
        "EpisodeResult": f"{__name__}.result",
        "EvaluationResult": f"{__name__}.result",
        "ScoreCallback": f"{__name__}.callback",
        "Workers": f"{__name__}.workers",
        "default_agent": f"{__name__}.run",
        "evaluate": f"{__name__}.run",
        "wilson_interval": f"{__name__}.result",
    },
)
