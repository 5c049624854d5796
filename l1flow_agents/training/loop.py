"""Offline behaviour cloning: one loop for every method, network and data set."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from torch import Tensor, nn
from tqdm import tqdm

from l1flow_agents.data import ChunkSampler, Episodes
from l1flow_agents.data.actions import within
from l1flow_agents.data.hindsight import HINDSIGHT
from l1flow_agents.data.idle import without_idle
from l1flow_agents.data.normalizer import ACTION, is_image
from l1flow_agents.data.symmetry import SYMMETRIES
from l1flow_agents.errors import DatasetError, TrainingError
from l1flow_agents.policy import ChunkPolicy
from l1flow_agents.training.batches import batches, to_tensors
from l1flow_agents.training.config import TrainingConfig
from l1flow_agents.training.moving_average import MovingAverage
from l1flow_agents.training.precision import PRECISIONS, decide
from l1flow_agents.training.step import GraphedStep, same_kernels

AfterStep = Callable[[dict[str, Any]], bool]
"""Told ``step`` (from 0), ``loss`` and the like after every gradient step; False stops the training."""


class Step(NamedTuple):
    """What one gradient step came to."""

    loss: Tensor
    grad_norm: Tensor
    learning_rate: float


class Training:
    """A training between two of its steps; ``step`` of them are done.

    ``policy`` always holds the moving average of the weights: what is scored is what is saved. Step k is a function of
    the settings and of k alone (order of windows and random draws come from (seed, k)), so a killed and continued run
    ends with the same bits as one that was never interrupted, given the same machine and number of threads.

    On a GPU the data lie where the step is computed, and the step is a graph (`step.GraphedStep`); what changes from
    one step to the next, the windows and the learning rate, lies in tensors that it reads. The moving average, one
    kernel, follows behind.

    Args:
        policy: what is trained, in place.
        dataset: what it looks at; see `fitting`.
        total_steps: of the whole training, on which the learning rate depends.
        config: all other settings.
        keep_scale: True for weights that learned something: they keep the normalisation that they learned with.
    """

    def __init__(
        self, policy: ChunkPolicy, dataset: Episodes, total_steps: int, config: TrainingConfig, keep_scale: bool = False
    ) -> None:
        if config.symmetry:
            arrays = {**dataset.observations, ACTION: dataset.actions}
            SYMMETRIES[config.symmetry].check({key: array.shape[1:] for key, array in arrays.items()})
        train_ids, val_ids = dataset.split(config.val_fraction)
        lengths = (policy.settings.horizon, policy.settings.n_obs_steps, policy.settings.n_action_steps)
        self.windows = ChunkSampler(dataset, *lengths, episode_ids=train_ids)
        self.held_out = ChunkSampler(dataset, *lengths, episode_ids=val_ids) if len(val_ids) else None
        if not keep_scale:
            policy.normalizer.fit(dataset)
        self.policy, self.total_steps, self.config, self.step = policy, total_steps, config, 0
        self.precision = PRECISIONS[decide(config.precision, policy.device)[0]]
        self.model = copy.deepcopy(policy).train().requires_grad_(True)
        self.model.encoder.requires_grad_(not policy.method.teachers)  # a student keeps its teacher's
        self.ema = MovingAverage(self.model, policy, config.ema_power)
        rate, decay = config.learning_rate, config.weight_decay
        groups = by_rate(self.model)
        on_gpu = policy.device.type == "cuda"
        for group in groups:
            group["lr"] = torch.tensor(rate, device=policy.device) if on_gpu else rate
        betas = config.betas or self.model.method.betas
        self.optimizer = torch.optim.AdamW(
            groups, lr=rate, betas=betas, weight_decay=decay, fused=True, capturable=on_gpu
        )
        self.batches = batches(self.windows, config, policy.device)
        self._learn = GraphedStep(self._gradient_step, policy.device) if on_gpu else self._gradient_step

    def run(
        self,
        logger: Logger,
        after_step: AfterStep = lambda told: True,
        save: Callable[[Training], None] | None = None,
        progress_bar: bool = False,
    ) -> None:
        """Do the steps that are left, logging every ``log_every`` and saving every ``checkpoint_every`` of them."""
        first, started, device = self.step, time.perf_counter(), self.policy.device
        bar = tqdm(total=self.total_steps, initial=first, unit="step", disable=not progress_bar)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), same_kernels(), bar:
            while self.step < self.total_steps:
                made = self.advance()
                bar.update()
                if self._due(self.config.log_every):
                    loss = check_finite(made.loss, self.step)  # waits for a GPU, which the time is to include
                    self._log(logger, loss, made, (self.step - first) / (time.perf_counter() - started))
                paused = time.perf_counter()
                proceed = after_step({"step": self.step - 1, **made._asdict()})
                started += time.perf_counter() - paused  # an evaluation is no training
                if save and (self._due(self.config.checkpoint_every) or not proceed):
                    check_finite(made.loss, self.step)
                    save(self)
                if not proceed:
                    break

    def advance(self) -> Step:
        """One gradient step. The caller's random state is not kept; `run` sees to that."""
        torch.manual_seed(seed_of_step(self.config.seed, self.step))
        self.batches.place(self.step)
        learning_rate = cosine_with_warmup(self.step, self.total_steps, self.config)
        for group in self.optimizer.param_groups:
            set_rate(group, learning_rate * group["rate"])
        loss, grad_norm = self._learn()
        self.ema.update(self.step)
        self.step += 1
        return Step(loss, grad_norm, learning_rate)

    def _gradient_step(self) -> tuple[Tensor, Tensor]:
        """Loss and norm of the gradient; on a GPU nothing here waits for it, or depends on the step but by tensors."""
        config = self.config
        observations, actions, valid = self.batches.read()
        observations = drop_history(observations, config.history_dropout)
        # no cache of casts: one made without a gradient, as a teacher's targets are, would be taken where one is needed
        lower = {"enabled": self.precision is not torch.float32, "cache_enabled": False}
        with torch.autocast(self.policy.device.type, self.precision, **lower):
            loss = self.model.loss(observations, actions, valid, config.noise_samples)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch says no types here
        grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_clip or math.inf)
        self.optimizer.step()
        return loss.detach(), grad_norm

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.total_steps

    def _log(self, logger: Logger, loss: float, made: Step, fps: float) -> None:
        logger.record("train/loss", loss)
        logger.record("train/grad_norm", made.grad_norm.item())
        logger.record("train/learning_rate", made.learning_rate)
        logger.record("time/total_timesteps", self.step)
        logger.record("time/fps", fps)
        if self.held_out is not None and self._due(self.config.validate_every):
            for name, value in validate(self.policy, self.held_out).items():
                logger.record(f"val/{name}", value)
        logger.dump(self.step)


def fitting(
    dataset: Episodes, boxes: Mapping[str, spaces.Box], actions: spaces.Box, config: TrainingConfig
) -> Episodes:
    """The part of ``dataset`` that an agent with the observations ``boxes`` looks at, prepared as ``config`` says.

    Pictures are uint8. Every other number may have any whole or floating dtype; it becomes float32 a batch at a time.

    Raises:
        ConfigError: hindsight of another task.
        DatasetError: a key is missing, a shape is not that of the spaces, or a dtype or an action cannot be used.
    """
    dataset = dataset.select(boxes)
    expected = {**boxes, ACTION: actions}
    for key, array in {**dataset.observations, ACTION: dataset.actions}.items():
        space = expected[key]
        usable = array.dtype == np.uint8 if is_image(space) else array.dtype.kind in "fiu"
        if array.shape[1:] != space.shape or not usable:
            raise DatasetError(
                f"{dataset.source}: key {key!r} is {array.dtype} of shape {array.shape[1:]} a step, "
                f"expected {space.dtype} of shape {space.shape}"
            )
        largest = max(abs(float(array.min())), abs(float(array.max()))) if array.dtype.itemsize > 4 else 0.0
        if largest > np.finfo(np.float32).max:
            raise DatasetError(f"{dataset.source}: key {key!r} holds {largest}, which float32 cannot")
    dataset = within(dataset, actions, config.actions)
    if config.hindsight:
        dataset = within(HINDSIGHT[config.hindsight](dataset), actions, "clip")
    return without_idle(dataset, config.idle) if config.idle else dataset


def training_record(dataset: Episodes, total_steps: int, config: TrainingConfig) -> dict[str, Any]:
    """What a checkpoint says of a training: settings and data."""
    return {
        **{"total_steps": total_steps, **asdict(config)},
        "dataset": {"source": Path(dataset.source).name, "episodes": len(dataset), "steps": dataset.n_steps},
        "fingerprint": dataset.fingerprint,
    }


def by_rate(model: ChunkPolicy) -> list[dict[str, Any]]:
    """Groups of parameters with the factor of their learning rate."""
    helper = model.method.helper
    fast = [] if helper is None else list(helper.parameters())
    known = {id(parameter) for parameter in fast}
    slow = [one for one in model.parameters() if one.requires_grad and id(one) not in known]
    groups = [{"params": slow, "rate": 1.0}, {"params": fast, "rate": model.method.helper_rate}]
    return [group for group in groups if group["params"]]


def cosine_with_warmup(step: int, total_steps: int, config: TrainingConfig) -> float:
    """Learning rate of gradient step ``step``."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(total_steps - config.warmup_steps, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def seed_of_step(seed: int, step: int) -> int:
    """A 64-bit seed for the random draws of one gradient step."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0]) >> 1


def set_rate(group: dict[str, Any], rate: float) -> None:
    """The learning rate of a group of parameters, a tensor where a graph reads it."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def drop_history(observations: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """For a random ``share`` of rows, repeat the newest observation over the whole history."""
    first = next(iter(observations.values()))
    if share == 0 or first.shape[1] == 1:
        return observations
    dropped = torch.rand(len(first), device=first.device) < share
    return {
        key: torch.where(dropped.view(-1, *[1] * (value.ndim - 1)), value[:, -1:], value)
        for key, value in observations.items()
    }


@torch.no_grad()
def validate(policy: ChunkPolicy, held_out: ChunkSampler, n_windows: int = 512) -> dict[str, float]:
    """Loss and action error of the averaged weights on held-out windows, with fixed noise.

    ``action_error`` is the mean absolute difference between executed and demonstrated actions, in their units.
    """
    picked = np.unique(np.linspace(0, len(held_out) - 1, min(n_windows, len(held_out))).astype(int))
    observations, actions, valid = to_tensors(held_out[picked], policy.device)
    torch.manual_seed(0)  # inside the training's fork_rng; the next step seeds again
    loss = policy.loss(observations, actions, valid).item()
    predicted = policy.plan(observations, torch.randn(actions.shape).to(policy.device))
    used = slice(held_out.n_obs_steps - 1, held_out.n_obs_steps - 1 + held_out.n_action_steps)
    error = (predicted - actions).abs().mean(dim=-1)[:, used][valid[:, used]]
    return {"loss": loss, "action_error": error.mean().item()}


def check_finite(loss: Tensor, step: int) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise TrainingError(f"the loss is {value} at step {step}; lower learning_rate or look at the data")
    return value
