"""Scores while an agent trains."""

from __future__ import annotations

from stable_baselines3.common.callbacks import BaseCallback

from l1flow_agents.checks import read_as
from l1flow_agents.evaluation.run import evaluate
from l1flow_agents.evaluation.workers import Workers
from l1flow_agents.kinds import Count, Text, Whole
from l1flow_agents.seeds import VALIDATION_SEED


class ScoreCallback(BaseCallback):
    """Evaluates every ``every`` gradient steps on fixed validation seeds and logs ``eval/*`` beside the loss.

    Its workers stay from one evaluation to the next, until the training ends.

    Args:
        every: gradient steps between evaluations.
        n_episodes, n_envs: as in `evaluate`.
        seed: first validation seed; keep away from the test seeds, 1000000 and up.
        success_key: as in `evaluate`; a success that is not told is not logged.
    """

    def __init__(
        self,
        *,
        every: int,
        n_episodes: int = 20,
        seed: int = VALIDATION_SEED,
        n_envs: int | None = None,
        success_key: str = "is_success",
    ) -> None:
        super().__init__()
        self.every = read_as(Count, every, "evaluation", "every")
        kinds = {"n_episodes": Count, "seed": Whole, "n_envs": Count | None, "success_key": Text}
        given = {"n_episodes": n_episodes, "seed": seed, "n_envs": n_envs, "success_key": success_key}
        self.arguments = {name: read_as(kinds[name], value, "evaluation", name) for name, value in given.items()}
        self.workers = Workers()

    def _on_step(self) -> bool:
        if self.num_timesteps % self.every == 0:
            result = evaluate(self.model, workers=self.workers, **self.arguments)  # type: ignore[arg-type]
            self.logger.record("time/total_timesteps", self.num_timesteps)
            if result.success_told:
                self.logger.record("eval/success_rate", result.success_rate)
            self.logger.record("eval/mean_score", result.mean_score)
            self.logger.dump(self.num_timesteps)
        return True

    def _on_training_end(self) -> None:
        self.workers.close()
