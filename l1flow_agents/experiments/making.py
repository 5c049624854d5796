"""Demonstrations that an experiment needs and that are not there: fetched, or made as its ``data`` says."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from l1flow_agents.data.download import PUBLISHED, data_dir, download, locate
from l1flow_agents.data.robomimic_hdf5 import demo_names
from l1flow_agents.demonstrations.collection import collect, step_limit
from l1flow_agents.demonstrations.generation import generate, read_task_spec
from l1flow_agents.demonstrations.observing import add_observations
from l1flow_agents.envs import find_spec, is_ours, plain_id
from l1flow_agents.errors import ConfigError, DatasetError
from l1flow_agents.experiments.corrections import novice_of
from l1flow_agents.experiments.experiment import DataSettings, Experiment
from l1flow_agents.experiments.learning import learn, new_agent
from l1flow_agents.files import replacing

MADE = (".hdf5", ".h5")
OBSERVED = ("obs_type", "cameras", "image_size", "render_quality")  # what the states of a file can be observed with
# Seconds of a core for a demonstration and each step of its task's limit, with failed ones: roughly, to say how long
EXPERT, GENERATED, PICTURES = 0.006, 0.01, 0.01
log = logging.getLogger(__name__)


class Step(NamedTuple):
    """One file to make."""

    output: Path
    text: str
    make: Callable[[Path], object]
    """Writes the file; called again after an interruption, it continues."""
    seconds: float
    """On one core, roughly."""


def dataset_of(experiment: Experiment, progress_bar: bool = False) -> Path:
    """The path of the experiment's demonstrations, which are fetched or made if they are not there.

    A file that is there is taken as it is. Those that are being made are called ``*.part.hdf5`` until they are whole;
    after an interruption the next call continues them.

    Raises:
        DatasetError: they are not there and the experiment does not say how they are made, or they cannot be made.
        ConfigError: ``data`` does not fit the rest. DownloadError, WorkerError: what they say.
    """
    name, data, path = experiment.dataset, experiment.data, Path(experiment.dataset)
    if name in PUBLISHED:
        try:
            return locate(name)
        except DatasetError:
            log.info("data set %s is not in %s and is fetched from %s", name, data_dir(), PUBLISHED[name].url)
            return download(name, progress_bar=progress_bar)
    if data is None or path.exists():
        if data is not None and path.suffix in MADE and (found := len(demo_names(path))) != data.episodes:
            log.info("%s has %d demonstrations, not data.episodes=%d; it is taken as it is", path, found, data.episodes)
        return locate(name)
    steps = missing_steps(experiment, data, progress_bar)
    announce(experiment, steps)
    for step in steps:
        part = step.output.with_name(f"{step.output.stem}.part{step.output.suffix}")
        step.make(part)
        if step.output.exists():
            raise DatasetError(f"{step.output}: appeared while it was made; what was made is {part}")
        os.replace(part, step.output)
    return path


def announce(experiment: Experiment, steps: list[Step]) -> None:
    """Say what is going to be made, and how long that takes."""
    log.info("%s is not there and is made; after an interruption the same command continues", experiment.dataset)
    for step in steps:
        log.info("  %s: %s", step.output, step.text)
    minutes = round(sum(step.seconds for step in steps) / _cores() / 60)
    about = f"{minutes} minutes" if minutes > 1 else "a minute"
    log.info("  roughly %s on %d cores; then %d training steps", about, _cores(), experiment.training.total_steps)


def missing_steps(experiment: Experiment, data: DataSettings, progress_bar: bool = False) -> list[Step]:
    """What has to be made, in order; a file that is there needs nothing before it."""
    todo: list[Step] = []
    for step in reversed(all_steps(experiment, data, progress_bar)):
        if step.output.exists():
            break
        todo.insert(0, step)
    return todo


def all_steps(experiment: Experiment, data: DataSettings, progress_bar: bool) -> list[Step]:
    """Sources, demonstrations, a first agent and its corrections, pictures: the files from the first to ``dataset``."""
    path, env_id = Path(experiment.dataset), experiment.env
    kinds = {"obs_type": "image"} if is_ours(find_spec(env_id)) else {}  # what those show unless told otherwise
    observed = {**kinds, **{key: value for key, value in experiment.env_kwargs.items() if key in OBSERVED}}
    in_pictures = observed.get("obs_type", "state") != "state"
    states = path.with_name(file_name(env_id)) if in_pictures else path
    if path.suffix not in MADE or (in_pictures and states == path):
        raise ConfigError(f"data: expected a dataset in .hdf5, pictures in another than {states}; got {str(path)!r}")
    if data.task is not None and data.source is None:
        raise ConfigError("data: a task file is for generation, which needs data.source")
    how: dict[str, Any] = {"n_workers": _cores(), "progress_bar": progress_bar}

    def expert(output: Path, actor: str, n_demos: int, extras: Sequence[str] = ()) -> Step:
        text = f"{n_demos} demonstrations of the expert in {actor}"
        seconds = n_demos * step_limit(actor) * EXPERT
        return Step(output, text, lambda part: collect(actor, n_demos, part, extras=extras, **how), seconds)

    if data.corrections:
        steps = _corrected(experiment, data, states, in_pictures, progress_bar)
    elif data.source is None:
        steps = [expert(states, env_id, data.episodes, experiment.env_kwargs.get("extras", ()))]
    else:
        if data.task is not None:
            read_task_spec(data.task)  # a wrong one is found before the expert acts
        source = path.with_name(file_name(data.source, "_source"))
        text = f"{data.episodes} demonstrations generated from them in {env_id}"
        followed = {"task": data.task, "n_sources": data.n_sources, **how}
        steps = [
            expert(source, data.source, data.n_sources),
            Step(
                states,
                text,
                lambda part: generate(env_id, source, data.episodes, part, **followed),
                data.episodes * step_limit(env_id) * GENERATED,
            ),
        ]
    if in_pictures:
        text = f"the same, observed with {', '.join(f'{key}={value}' for key, value in observed.items())}"
        seconds = data.episodes * step_limit(env_id) * PICTURES
        steps.append(Step(path, text, lambda part: add_observations(states, part, **observed, **how), seconds))
    return steps


def _corrected(
    experiment: Experiment, data: DataSettings, path: Path, in_pictures: bool, progress_bar: bool
) -> list[Step]:
    """Demonstrations from which a first agent learns, this agent, and the same with its mistakes corrected."""
    n_first = data.episodes - data.corrections
    if in_pictures or n_first < 1:
        raise ConfigError(
            "data.corrections: expected fewer than data.episodes, and observations of states; got "
            f"{data.corrections} of {data.episodes}, {'pictures' if in_pictures else 'states'}"
        )
    first = path.with_name(f"{path.stem}_first{path.suffix}")
    folder = path.with_name(f"{path.stem}_first_agent")
    alone = replace(data, episodes=n_first, corrections=0)
    before = replace(experiment, dataset=str(first), data=alone, evaluation=None)

    def train(part: Path) -> None:
        learn(new_agent(before), before, first, part, progress_bar)

    def correct(part: Path) -> None:
        if not part.exists():
            with replacing(part) as scratch:
                shutil.copyfile(first, scratch)
        novice = novice_of(folder / "agent")
        how: dict[str, Any] = {"novice": novice, "extras": experiment.env_kwargs.get("extras", ())}
        collect(experiment.env, data.episodes, part, _cores(), progress_bar=progress_bar, **how)

    seconds = step_limit(experiment.env) * EXPERT
    return [
        *all_steps(before, alone, progress_bar),
        Step(folder, f"an agent that learns them in {experiment.training.total_steps} steps", train, 0),
        Step(path, f"with {data.corrections} in which the expert takes over from it", correct, data.episodes * seconds),
    ]


def file_name(env_id: str, more: str = "") -> str:
    """``Square_D1-v0`` -> ``square_d1.hdf5``."""
    return f"{plain_id(find_spec(env_id)).rpartition('-v')[0].lower()}{more}.hdf5"


def _cores() -> int:
    return os.cpu_count() or 1
