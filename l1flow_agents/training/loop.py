"""Offline behaviour cloning: one loop for every method, network and data set."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.logger import Logger, make_output_format
from torch import Tensor, nn
from tqdm import tqdm

from l1flow_agents import checkpoint
from l1flow_agents.data import Chunks, ChunkSampler, Episodes
from l1flow_agents.data.normalizer import ACTION
from l1flow_agents.data.symmetry import SYMMETRIES, mirrored
from l1flow_agents.errors import DatasetError
from l1flow_agents.policy import ChunkPolicy
from l1flow_agents.training.config import TrainingConfig
from l1flow_agents.training.moving_average import MovingAverage
from l1flow_agents.training.precision import PRECISIONS, choose_precision

if TYPE_CHECKING:
    from l1flow_agents.agent import L1FlowAgent

Callback = BaseCallback | list[BaseCallback] | Callable[[dict, dict], bool] | None


def train(
    agent: L1FlowAgent,
    dataset: Episodes,
    total_steps: int,
    config: TrainingConfig,
    callback: Callback = None,
    progress_bar: bool = False,
    run_dir: Path | None = None,
) -> None:
    """Fit ``agent.policy``, which always holds the moving average of the weights: what is scored is what is saved.

    With ``run_dir`` the newest checkpoint there is continued. Step k is a function of the settings and of k alone
    (order of windows and random draws come from (seed, k)), so a killed and continued run ends with the same bits
    as one that was never interrupted, given the same machine and number of threads.

    Raises:
        ConfigError: ``run_dir`` holds a run with other settings or other data.
    """
    dataset = fitting(agent, dataset)
    if config.symmetry:
        arrays = {**dataset.observations, ACTION: dataset.actions}
        SYMMETRIES[config.symmetry].check({key: array.shape[1:] for key, array in arrays.items()})
    train_ids, val_ids = dataset.split(config.val_fraction)
    lengths = (agent.horizon, agent.n_obs_steps, agent.n_action_steps)
    windows = ChunkSampler(dataset, *lengths, episode_ids=train_ids)
    held_out = ChunkSampler(dataset, *lengths, episode_ids=val_ids) if len(val_ids) else None
    if agent.num_timesteps == 0 and not agent.teacher:  # weights that learned something keep the scale they learned
        agent.policy.normalizer.fit(dataset)
    model = copy.deepcopy(agent.policy).train().requires_grad_(True)
    ema = MovingAverage(model, agent.policy, config.ema_power)
    optimizer = torch.optim.AdamW(
        by_rate(model), lr=config.learning_rate, betas=(0.95, 0.999), weight_decay=config.weight_decay, fused=True
    )
    earlier = checkpoint.newest_record(run_dir).get("precision") if run_dir else None
    precision = choose_precision(config.precision, agent.device, earlier)
    agent.training_record = {
        **{"total_steps": total_steps, **asdict(config), "precision": precision},
        "dataset": {"source": Path(dataset.source).name, "episodes": len(dataset), "steps": dataset.n_steps},
        "fingerprint": dataset.fingerprint,
    }
    first_step = checkpoint.resume(run_dir, agent, model, optimizer) if run_dir else 0
    agent.num_timesteps = first_step
    agent.set_logger(agent.logger if run_dir is None else run_logger(run_dir, first_step))
    watcher = as_callback(callback)
    watcher.init_callback(agent)  # type: ignore[arg-type]
    watcher.on_training_start({**locals(), "total_timesteps": total_steps}, globals())  # SB3's name

    started = time.perf_counter()
    bar = tqdm(total=total_steps, initial=first_step, unit="step", disable=not progress_bar)
    with torch.random.fork_rng(devices=[agent.device] if agent.device.type == "cuda" else []), bar:
        for step in range(first_step, total_steps):
            torch.manual_seed(seed_of_step(config.seed, step))
            batch = windows[windows.batch_indices(step, config.batch_size, config.seed)]
            if config.symmetry:
                rows = torch.rand(len(SYMMETRIES[config.symmetry].maps), len(batch.actions)).numpy() < 0.5
                batch = mirrored(batch, config.symmetry, rows)
            observations, actions, valid = to_tensors(batch, agent.device)
            observations = drop_history(observations, config.history_dropout)
            learning_rate = cosine_with_warmup(step, total_steps, config)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * group["rate"]

            with torch.autocast(agent.device.type, PRECISIONS[precision], enabled=precision != "float32"):
                loss = model.loss(observations, actions, valid, config.noise_samples)
            optimizer.zero_grad()
            loss.backward()
            grad_norm = nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip or math.inf)
            optimizer.step()
            ema.update(step)

            agent.num_timesteps = done = step + 1
            bar.update()
            if done % config.log_every == 0 or done == total_steps:
                agent.logger.record("train/loss", check_finite(loss, done))
                agent.logger.record("train/grad_norm", grad_norm.item())
                agent.logger.record("train/learning_rate", learning_rate)
                agent.logger.record("time/total_timesteps", done)
                agent.logger.record("time/fps", (done - first_step) / (time.perf_counter() - started))
                if held_out is not None and (done % config.validate_every == 0 or done == total_steps):
                    for name, value in validate(agent, held_out).items():
                        agent.logger.record(f"val/{name}", value)
                agent.logger.dump(done)
            watcher.update_locals(locals())
            paused = time.perf_counter()
            proceed = watcher.on_step()
            started += time.perf_counter() - paused  # an evaluation is no training
            if run_dir and (done % config.checkpoint_every == 0 or done == total_steps or not proceed):
                checkpoint.save_training(run_dir, agent, model, optimizer)
            if not proceed:
                break
    watcher.on_training_end()


def fitting(agent: L1FlowAgent, dataset: Episodes) -> Episodes:
    """The part of ``dataset`` that the agent looks at.

    Raises:
        DatasetError: a key is missing, or a shape or dtype is not that of the agent's spaces.
    """
    dataset = dataset.select(agent.spaces_by_key)
    expected = {**agent.spaces_by_key, "action": agent.action_space}
    for key, array in {**dataset.observations, "action": dataset.actions}.items():
        space = expected[key]
        if array.shape[1:] != space.shape or (array.dtype == np.uint8) != (space.dtype == np.uint8):
            raise DatasetError(
                f"{dataset.source}: key {key!r} is {array.dtype} of shape {array.shape[1:]} a step, "
                f"expected {space.dtype} of shape {space.shape}"
            )
    return dataset


def by_rate(model: ChunkPolicy) -> list[dict[str, Any]]:
    """Groups of parameters with the factor of their learning rate."""
    helper = model.method.helper
    fast = [] if helper is None else list(helper.parameters())
    known = {id(parameter) for parameter in fast}
    slow = [parameter for parameter in model.parameters() if id(parameter) not in known]
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


def to_tensors(batch: Chunks, device: torch.device) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    observations = {key: torch.from_numpy(array).to(device) for key, array in batch.observations.items()}
    return observations, torch.from_numpy(batch.actions).to(device), torch.from_numpy(batch.valid).to(device)


def drop_history(observations: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """For a random ``share`` of rows, repeat the newest observation over the whole history."""
    first = next(iter(observations.values()))
    if share == 0 or first.shape[1] == 1:
        return observations
    dropped = torch.rand(len(first), device=first.device) < share
    for value in observations.values():
        value[dropped] = value[dropped][:, -1:]
    return observations


@torch.no_grad()
def validate(agent: L1FlowAgent, held_out: ChunkSampler, n_windows: int = 512) -> dict[str, float]:
    """Loss and action error of the averaged weights on held-out windows, with fixed noise.

    ``action_error`` is the mean absolute difference between executed and demonstrated actions, in their units.
    """
    picked = np.unique(np.linspace(0, len(held_out) - 1, min(n_windows, len(held_out))).astype(int))
    observations, actions, valid = to_tensors(held_out[picked], agent.device)
    torch.manual_seed(0)  # inside train's fork_rng; the next step seeds again
    policy: ChunkPolicy = agent.policy
    loss = policy.loss(observations, actions, valid).item()
    predicted = policy.plan(observations, torch.randn(actions.shape).to(agent.device))
    used = slice(agent.n_obs_steps - 1, agent.n_obs_steps - 1 + agent.n_action_steps)
    error = (predicted - actions).abs().mean(dim=-1)[:, used][valid[:, used]]
    return {"loss": loss, "action_error": error.mean().item()}


def check_finite(loss: Tensor, step: int) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(f"the loss is {value} at step {step}; lower learning_rate or look at the data")
    return value


def run_logger(run_dir: Path, first_step: int) -> Logger:
    """SB3's logger to ``progress.csv`` and TensorBoard; a continued run adds ``progress_<step>.csv``."""
    suffix = f"_{first_step}" if first_step else ""
    return Logger(str(run_dir), [make_output_format(kind, str(run_dir), suffix) for kind in ("csv", "tensorboard")])


def as_callback(callback: Callback) -> BaseCallback:
    if isinstance(callback, BaseCallback):
        return callback
    if isinstance(callback, list):
        return CallbackList(callback)
    return CallbackList([]) if callback is None else ConvertCallback(callback)
