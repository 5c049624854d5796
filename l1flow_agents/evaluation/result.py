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
from l1flow_agents.names import plain
from l1flow_agents.versions import versions

FEW_EPISODES = 50  # below this an interval is too wide to compare agents


@dataclass
class EpisodeResult:
    """One episode. ``score`` is the highest reward of a step, as in Diffusion Policy's protocol."""

    index: int
    seed: int
    score: float = 0.0
    success: bool | None = None
    """None: the environment did not say."""
    length: int = 0
    episode_return: float = 0.0
    error: str | None = None
    """Why it could not be finished; such an episode counts in no mean."""

    def add(self, rewards: list[float], success: bool | None) -> None:
        """Book some more steps."""
        if rewards:
            self.score = max(self.score, *rewards) if self.length else max(rewards)
        if success is not None:
            self.success = bool(self.success or success)
        self.episode_return += sum(rewards)
        self.length += len(rewards)


@dataclass
class Timing:
    """Where the seconds of an evaluation went: of a process, on average, and, meanwhile, of planning beside them."""

    n_processes: int
    start: float
    """Import, building and the first reset; nothing for workers that were kept."""
    stepping: float
    waiting: float
    """For a plan, or for the others to finish."""
    planning: float

    def __str__(self) -> str:
        each = f"each of {self.n_processes} processes" if self.n_processes > 1 else "the environments' process"
        return (
            f"{each}: start {self.start:.1f} s, stepping {self.stepping:.1f} s, waiting {self.waiting:.1f} s; "
            f"planning beside them {self.planning:.1f} s"
        )


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
    success_key: str = "is_success"
    info_keys: list[str] = field(default_factory=list)
    """What an info without ``success_key`` had instead."""
    max_episode_steps: int | None = None
    wrappers: list[str] = field(default_factory=list)
    """Names of those around the environment, innermost first."""
    timing: Timing | None = None

    @property
    def finished(self) -> list[EpisodeResult]:
        return [episode for episode in self.episodes if episode.error is None]

    @property
    def failed(self) -> list[EpisodeResult]:
        """Episodes that a crash or a hang took away."""
        return [episode for episode in self.episodes if episode.error is not None]

    @property
    def silent(self) -> list[EpisodeResult]:
        """Finished episodes in which no info had ``success_key``."""
        return [episode for episode in self.finished if episode.success is None]

    @property
    def success_told(self) -> bool:
        """Whether the environment knows success: some episode's info had ``success_key``."""
        return not self.finished or len(self.silent) < len(self.finished)

    @property
    def success_rate(self) -> float:
        """NaN if it was not told; if some episodes told it, those that did not are failures."""
        told = self.finished if self.success_told else []
        return float(np.mean([bool(e.success) for e in told])) if told else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the success rate; (0, 1) if it was not told."""
        told = self.finished if self.success_told else []
        return wilson_interval(sum(bool(e.success) for e in told), len(told))

    @property
    def mean_score(self) -> float:
        return float(np.mean([e.score for e in self.finished])) if self.finished else math.nan

    @property
    def score_error(self) -> float:
        """Half width of the normal 95 % interval of the mean score."""
        scores = [e.score for e in self.finished]
        return float(1.96 * np.std(scores, ddof=1) / math.sqrt(len(scores))) if len(scores) > 1 else math.nan

    def to_dict(self) -> dict[str, Any]:
        """As plain values; what nobody knows, such as the error of a single score, is None."""
        low, high = self.interval
        found = {
            "agent": self.agent,
            "env": {
                "id": self.env_id,
                "kwargs": self.env_kwargs,
                "max_episode_steps": self.env_kwargs.get("max_episode_steps", self.max_episode_steps),
                "wrappers": self.wrappers,
            },
            "n_action_steps": self.n_action_steps,
            "n_episodes": len(self.episodes),
            "n_failed": len(self.failed),
            "success_key": self.success_key,
            "success_rate": self.success_rate,
            "success_interval_95": [low, high],
            "mean_score": self.mean_score,
            "mean_score_error_95": self.score_error,
            "seconds": round(self.seconds, 2),
            "timing": asdict(self.timing) if self.timing else None,
            "n_envs": self.n_envs,
            "videos": self.videos,
            "versions": versions(),
            "episodes": [asdict(episode) for episode in self.episodes],
        }
        known: dict[str, Any] = _known(plain(found))
        return known

    def to_json(self, indent: int | None = None, **extra: Any) -> str:
        """`to_dict` as JSON, which knows no NaN; ``extra`` entries come first."""
        return json.dumps({**extra, **self.to_dict()}, indent=indent, default=str, allow_nan=False)

    def save(self, path: str | os.PathLike, **extra: Any) -> None:
        """Write JSON, whole or not at all; ``extra`` entries come first."""
        write_atomically(Path(path), self.to_json(indent=1, **extra) + "\n")

    def __str__(self) -> str:
        low, high = self.interval
        rate = f"{self.success_rate:.2f} (95 % interval {low:.2f} .. {high:.2f})" if self.success_told else "not told"
        if not self.finished:
            rate = "unknown"
        spread = "" if math.isnan(self.score_error) else f" +- {self.score_error:.3f}"
        score = f"mean score {self.mean_score:.3f}{spread}, " if self.finished else ""
        lines = [
            f"{self.env_id}: success {rate}, {score}{len(self.finished)} episode{'s' * (len(self.finished) != 1)} "
            f"in {self.seconds:.0f} s"
        ]
        if self.timing:
            lines.append(f"({self.timing})")
        if len(self.finished) < FEW_EPISODES:
            lines.append(f"(under {FEW_EPISODES} episodes: too few to compare agents)")
        if self.silent:
            n = f"{len(self.silent)} of them, which count as failures" if self.success_told else "any of them"
            lines.append(f"(info had no {self.success_key!r} in {n}, only {self.info_keys}; choose with success_key)")
        lines += [f"episode of seed {e.seed} was lost: {e.error}" for e in self.failed]
        return "\n".join(lines)


def _known(value: Any) -> Any:
    """``value``, with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _known(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_known(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
