"""What an evaluation found: episodes, and what they come to."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from l1flow_agents.files import write_atomically
from l1flow_agents.provenance import versions

FEW_EPISODES = 50  # below this an interval is too wide to compare agents


@dataclass
class EpisodeResult:
    """One episode. ``score`` is the highest reward of a step, as in Diffusion Policy's protocol."""

    index: int
    seed: int
    score: float = 0.0
    success: bool = False
    length: int = 0
    episode_return: float = 0.0
    error: str | None = None
    """Why it could not be finished; such an episode counts in no mean."""

    def add(self, rewards: list[float], success: bool) -> None:
        """Book some more steps."""
        if rewards:
            self.score = max(self.score, *rewards) if self.length else max(rewards)
        self.success = self.success or success
        self.episode_return += sum(rewards)
        self.length += len(rewards)


@dataclass
class EvaluationResult:
    """All episodes of an evaluation and what they come to."""

    env_id: str
    env_kwargs: dict[str, Any]
    n_action_steps: int
    episodes: list[EpisodeResult]
    n_envs: int
    seconds: float
    agent: str = ""
    videos: list[str] = field(default_factory=list)

    @property
    def finished(self) -> list[EpisodeResult]:
        return [episode for episode in self.episodes if episode.error is None]

    @property
    def failed(self) -> list[EpisodeResult]:
        """Episodes that a crash or a hang took away."""
        return [episode for episode in self.episodes if episode.error is not None]

    @property
    def success_rate(self) -> float:
        return float(np.mean([e.success for e in self.finished])) if self.finished else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the success rate."""
        return wilson_interval(sum(e.success for e in self.finished), len(self.finished))

    @property
    def mean_score(self) -> float:
        return float(np.mean([e.score for e in self.finished])) if self.finished else math.nan

    @property
    def score_error(self) -> float:
        """Half width of the normal 95 % interval of the mean score."""
        scores = [e.score for e in self.finished]
        return float(1.96 * np.std(scores, ddof=1) / math.sqrt(len(scores))) if len(scores) > 1 else math.nan

    def to_dict(self) -> dict[str, Any]:
        low, high = self.interval
        return {
            "agent": self.agent,
            "env": {"id": self.env_id, "kwargs": self.env_kwargs},
            "n_action_steps": self.n_action_steps,
            "n_episodes": len(self.episodes),
            "n_failed": len(self.failed),
            "success_rate": self.success_rate,
            "success_interval_95": [low, high],
            "mean_score": self.mean_score,
            "mean_score_error_95": self.score_error,
            "seconds": round(self.seconds, 2),
            "n_envs": self.n_envs,
            "videos": self.videos,
            "versions": versions(),
            "episodes": [asdict(episode) for episode in self.episodes],
        }

    def save(self, path: str | os.PathLike, **extra: Any) -> None:
        """Write JSON, whole or not at all; ``extra`` entries come first."""
        write_atomically(Path(path), json.dumps({**extra, **self.to_dict()}, indent=1) + "\n")

    def __str__(self) -> str:
        low, high = self.interval
        lines = [
            f"{self.env_id}: success {self.success_rate:.2f} (95 % interval {low:.2f} .. {high:.2f}), "
            f"mean score {self.mean_score:.3f} +- {self.score_error:.3f}, "
            f"{len(self.finished)} episodes in {self.seconds:.0f} s"
        ]
        if len(self.finished) < FEW_EPISODES:
            lines.append(f"(under {FEW_EPISODES} episodes: too few to compare agents)")
        lines += [f"episode of seed {e.seed} was lost: {e.error}" for e in self.failed]
        return "\n".join(lines)


def wilson_interval(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Interval of a proportion (Wilson 1927), 95 % by default; (0, 1) without any trial.

    Example:
        >>> low, high = wilson_interval(8, 10)
        >>> print(f"{low:.2f} {high:.2f}")
        0.49 0.94
    """
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max((centre - spread) / (1 + z * z / n), 0.0), min((centre + spread) / (1 + z * z / n), 1.0)
