"""Attempts in new scenes, and the successes in a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from l1flow_agents.data.robomimic_writer import RobomimicWriter
from l1flow_agents.demonstration import Demonstration
from l1flow_agents.demonstrations.collection import Collected, Run, check_wanted, fill
from l1flow_agents.demonstrations.generation.segments import (
    CHOICES,
    TURNED,
    Situation,
    action_towards,
    interpolate,
    inverse,
)
from l1flow_agents.demonstrations.generation.sources import INFO, Source, StepLog, read_sources
from l1flow_agents.demonstrations.generation.task import TaskSpec, read_task_spec, spec_of
from l1flow_agents.demonstrations.recording import make_env, record_episode
from l1flow_agents.envs import find_spec
from l1flow_agents.envs.robosuite_env import RobosuiteEnv
from l1flow_agents.errors import ConfigError, DatasetError
from l1flow_agents.seeds import GENERATION_SEED

N_INTERPOLATED = 5  # waypoints from one segment to the next, at least
PACE = (0.0125, 0.06)  # metres and radians from one to the next: faster, the arm lags, and runs into things
SETTLING = 10  # steps at the last target: a source that ends with its success shows no moment after it
RECIPE = "recipe"  # attribute of each demonstration: a digest of everything that it follows from but its seed


@dataclass(frozen=True)
class Recipe:
    """What an attempt follows from, but for its seed."""

    env_id: str
    spec: TaskSpec
    sources: tuple[Source, ...]
    noise: float

    @cached_property
    def digest(self) -> str:
        constants = N_INTERPOLATED, PACE, SETTLING, TURNED
        made = hashlib.sha256(repr((self.env_id, self.spec, self.noise, constants)).encode())
        for source in self.sources:
            made.update(repr(source.ends).encode())
            for array in (source.steps.targets, source.steps.gripper, *source.steps.objects.values()):
                made.update(np.ascontiguousarray(array).tobytes())
        return made.hexdigest()[:16]


def generate(
    env_id: str,
    source: str | os.PathLike,
    n_demos: int,
    output: str | os.PathLike,
    task: str | os.PathLike | None = None,
    n_sources: int | None = None,
    filter_key: str | None = None,
    noise: float = 0.05,
    n_workers: int = 1,
    seed: int = GENERATION_SEED,
    progress_bar: bool = False,
    cluster: str | None = None,
) -> Collected:
    """Follow demonstrations of ``source`` in new scenes of ``env_id`` until ``output`` holds ``n_demos`` successes.

    Each subtask of a source is moved to where its object now is, reached by five interpolated waypoints, and followed
    closed loop with action noise (Mandlekar et al. 2023, section 4; settings of its core data sets). An attempt ends
    with its success. Attempt k starts from ``seed + k``, so the file depends neither on who works nor on
    interruptions: run again, it continues after the last seed kept.

    Args:
        env_id: any variant of the source's task.
        source: robomimic file of delta actions of one arm, such as `collect` writes.
        task: a task file (`read_task_spec`); None: what the environment says itself.
        n_sources, filter_key: only the first so many demonstrations, of those under ``mask/<filter_key>``.
        noise: standard deviation on the six pose numbers of an action, in action units; none while interpolating, but
            on the lines that ``near`` asks for.
        n_workers, cluster: processes here, or the address of a Ray cluster, all of whose cores work (`in_order`). It
            is sent the sources; only this machine reads and writes files.

    Raises:
        ConfigError: no such environment or cluster, or the environment knows no subtasks and ``task`` is None.
        WorkerError: a process died.
        DatasetError: ``source`` cannot be cut into the subtasks, ``output`` is damaged or was made otherwise, or no
            attempt of the first 50 succeeded.
    """
    check_wanted(n_demos, n_workers, seed)
    if not noise >= 0:
        raise ConfigError(f"expected noise >= 0, got {noise}")
    if Path(source).resolve() == Path(output).resolve():
        raise ConfigError(f"expected an output other than the source, got {output} twice")
    env_id = find_spec(env_id).id
    env = make_env(env_id).unwrapped
    if not isinstance(env, RobosuiteEnv):
        raise ConfigError(f"{env_id}: expected a robosuite task")
    spec = spec_of(env) if task is None else read_task_spec(task)
    recipe = Recipe(env_id, spec, tuple(read_sources(source, spec, n_sources, filter_key)), noise)
    with RobomimicWriter(output, env.env_args()) as writer:
        check_recipe(writer, recipe.digest)
        run = partial(attempts, recipe)
        return fill(writer, run, n_demos, n_workers, seed, progress_bar, f"{env_id}: generation", cluster)


def check_recipe(writer: RobomimicWriter, digest: str) -> None:
    """All that is in the file already must have been made alike."""
    for k in range(len(writer)):
        if (found := writer.attributes(k).get(RECIPE)) != digest:
            raise DatasetError(
                f"{writer.path}: demo_{k}: expected to continue with recipe {digest}, found {found}: other sources"
            )


@contextmanager
def attempts(recipe: Recipe) -> Iterator[Run]:
    """Runs attempts, in one environment."""
    with closing(make_env(recipe.env_id)) as env:
        yield partial(attempt, recipe, env)


def attempt(recipe: Recipe, env: gym.Env, seed: int) -> Demonstration | None:
    """One attempt from ``reset(seed=seed)``; None if it failed."""
    inner: Any = env.unwrapped
    rng = np.random.default_rng([seed, 1])  # a stream of its own, not the environment's
    chosen: list[int] = []
    log, steps = StepLog(), plan(recipe, inner, rng, chosen)

    def follow(observation: dict[str, np.ndarray]) -> np.ndarray | None:
        if (step := next(steps, None)) is None:
            return None
        target, gripper, noise = step
        pose = np.clip(action_towards(target, inner.eef_pose()) + noise * rng.normal(size=6), -1, 1)
        action = np.array([*pose, gripper], np.float32)
        log.add(inner, recipe.spec, action)
        return action

    demo = record_episode(env, follow, seed)
    if demo is None:
        return None
    info = {**log.steps().info(), "src_demo_inds": np.array(chosen)}
    return replace(demo, extra={INFO: info}, attributes={RECIPE: recipe.digest})


def plan(
    recipe: Recipe, env: RobosuiteEnv, rng: np.random.Generator, chosen: list[int]
) -> Iterator[tuple[np.ndarray, float, float]]:
    """Target pose (4, 4), gripper command and noise of each step; asked for the next one when that has been executed.

    ``chosen`` receives the index of each subtask's source.
    """
    spec = recipe.spec
    by_source = [source.segments(spec, rng) for source in recipe.sources]
    target = env.eef_pose()
    for number, subtask in enumerate(spec.subtasks):
        poses = spec.object_poses(env)
        now = Situation(spec.reference(number, poses), env.eef_pose(), spec.references(poses))
        candidates = [segments[number] for segments in by_source]
        if spec.choose_every_subtask or not number:
            among = CHOICES[subtask.choice](candidates, now, **dict(subtask.choice_kwargs))
            index = int(rng.choice(among))
        chosen.append(index)
        segment = candidates[index].moved_to(now.reference)
        if subtask.carries is not None:
            segment = segment.holding(inverse(now.hand) @ poses[subtask.carries])
        targets, gripper = segment.targets, segment.gripper
        if not number and subtask.near is None:  # from where the source's hand started: no hurried first step
            targets = np.concatenate([segment.start[None], targets])
            gripper = np.concatenate([gripper[:1], gripper])
        # a line in place of a source's way needs the noise that this would have had: pupils learn from it to come back
        noise = 0.0 if subtask.near is None else recipe.noise
        for between in interpolate(target, targets[0], N_INTERPOLATED, PACE):
            yield between, gripper[0], noise
        for target, command in zip(targets, gripper, strict=True):
            yield target, command, recipe.noise
    for _ in range(SETTLING):
        yield target, command, 0.0
