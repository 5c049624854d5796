"""Plans of an agent beside the demonstrated actions: several draws of noise a step, and their modes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1flow_agents.agent import ChunkAgent
from l1flow_agents.data.episodes import Episodes
from l1flow_agents.training import TrainingConfig, fitting

SAMPLES = 24  # plans a step
STEPS = 8  # an episode
APART = 4.5  # distance of two modes in their width; halves of an even spread have 3.5, of a bell curve 2.7
MOST_MODES = 6
SMALLEST = 0.1  # distance of two modes in standard deviations of the demonstrated actions


@dataclass(frozen=True)
class Sampled:
    """Plans for one step.

    Attributes:
        step: of the episode.
        plans: (SAMPLES, n_rows, action_dim); the first row is the action for ``step``.
        modes: (SAMPLES,) which mode each belongs to, from 0, the largest.
        error: mean distance of plans and demonstrated actions, in standard deviations of these.
    """

    step: int
    plans: np.ndarray
    modes: np.ndarray
    error: float


def checked(agent: ChunkAgent, episodes: Episodes) -> Episodes:
    """What the agent looks at of the episodes; a DatasetError where it cannot."""
    return fitting(episodes, agent.spaces_by_key, agent.action_space, TrainingConfig(actions="clip"))


def sampled(agent: ChunkAgent, seen: Episodes, episode: int, scale: np.ndarray) -> list[Sampled]:
    """Plans at evenly spaced steps of an episode.

    Args:
        seen: what `checked` gives.
        scale: (action_dim,) standard deviations of the demonstrated actions.
    """
    begin, end = int(seen.ends[episode] - seen.lengths[episode]), int(seen.ends[episode])
    found = []
    for row in np.unique(np.linspace(begin, end - 1, STEPS + 1)[:-1].astype(int)).tolist():
        past = np.clip(np.arange(row - agent.n_obs_steps + 1, row + 1), begin, row)
        history = {
            key: np.repeat(np.asarray(seen.observations[key][past])[None], SAMPLES, axis=0).astype(box.dtype)
            for key, box in agent.spaces_by_key.items()
        }
        plans = agent.plan(history, agent.noise(np.zeros(SAMPLES, int), np.arange(SAMPLES)))
        rows = np.minimum(np.arange(row, row + plans.shape[1]), end - 1)
        error = float(np.mean(np.abs(plans - seen.actions[rows]) / scale))
        found.append(Sampled(row - begin, plans, modes(plans / scale), error))
    return found


def modes(plans: np.ndarray) -> np.ndarray:
    """(n,) the mode of each of the plans (n, n_rows, action_dim), which are in standard deviations; 0 is the largest.

    As many modes as there are groups whose centres are all farther apart than the groups are wide, `APART` times.
    """
    from scipy.cluster.hierarchy import fcluster, ward  # late: slow to import

    points = plans.reshape(len(plans), -1).astype(np.float64) / np.sqrt(plans[0].size)
    tree = ward(points)
    for n_groups in range(MOST_MODES, 1, -1):
        labels = _without_outliers(points, fcluster(tree, n_groups, "maxclust"))
        if labels.max() > 0 and _apart(points, labels):
            return labels
    return np.zeros(len(points), int)


def _without_outliers(points: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Labels from 0, the largest group, on; a group of one joins the nearest."""
    names, counts = np.unique(groups, return_counts=True)
    kept = names[counts > 1]
    if not len(kept):
        return np.zeros(len(points), int)
    kept = kept[np.argsort(-counts[counts > 1], kind="stable")]
    centres = np.stack([points[groups == name].mean(axis=0) for name in kept])
    nearest: np.ndarray = np.argmin(np.linalg.norm(points[:, None] - centres, axis=2), axis=1)
    return np.where(np.isin(groups, kept), np.argmax(groups[:, None] == kept, axis=1), nearest)


def _apart(points: np.ndarray, labels: np.ndarray) -> bool:
    centres = np.stack([points[labels == k].mean(axis=0) for k in range(labels.max() + 1)])
    width = np.sqrt(np.sum((points - centres[labels]) ** 2) / max(len(points) - len(centres), 1))
    distances = np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(len(centres), 1)]
    return bool(distances.min() > max(SMALLEST, APART * width))
