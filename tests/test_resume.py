"""Training: a killed run ends with the same bits, and the loop does what its settings say."""

from __future__ import annotations

import csv
import math
import signal
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import ACTION, BARE, OBSERVATION, STATE, TINY, new_agent, random_episodes
from gymnasium import spaces
from safetensors.torch import load_file
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor

from l1flow_agents import Episodes, L1FlowAgent
from l1flow_agents.errors import ConfigError, DatasetError, TrainingError
from l1flow_agents.training import TrainingConfig
from l1flow_agents.training.loop import cosine_with_warmup, drop_history

SMALL = {"batch_size": 8, "learning_rate": 1e-3, "warmup_steps": 5, "checkpoint_every": 4, "log_every": 10, "seed": 1}


def train_small(run_dir=None, total_steps=40, images=False, callback=None, data_seed=0, agent=None, **settings):
    """Everything random in training is used: noise, time, order, dropped history and, with images, the crop."""
    agent = agent or new_agent("mlp", OBSERVATION if images else STATE)
    demos = random_episodes((30, 7, 25), data_seed, images)
    return agent.learn(demos, total_steps, callback, run_dir=run_dir, **{**SMALL, **settings})


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def weights(agent: L1FlowAgent) -> dict[str, torch.Tensor]:
    return agent.policy.state_dict()


def progress(run_dir: Path) -> list[dict[str, str]]:
    with open(run_dir / "progress.csv") as file:
        return list(csv.DictReader(file))


class Each(BaseCallback):
    """Calls ``function(agent)`` after every step."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def _on_step(self) -> bool:
        return self.function(self.model) is not False


# ---- killed and continued -----------------------------------------------------------------------------------------


def train_and_tell(run_dir: str) -> None:
    """What the process to be killed does."""
    train_small(Path(run_dir), images=True, callback=Each(lambda agent: print(agent.num_timesteps, flush=True)))


def start(run_dir: Path) -> subprocess.Popen:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    code += f"from test_resume import train_and_tell; train_and_tell({str(run_dir)!r})"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_a_run_killed_at_any_moment_ends_with_the_same_bits(tmp_path):
    train_small(tmp_path / "whole", images=True)
    first_steps = []
    for last_step in (6, 17, 29, None):  # between checkpoints, which come every 4 steps
        process = start(tmp_path / "killed")
        steps = []
        for line in process.stdout:
            steps.append(int(line))
            if steps[-1] == last_step:
                process.send_signal(signal.SIGKILL)
        assert process.wait() == (0 if last_step is None else -signal.SIGKILL)
        first_steps.append(steps[0])
    assert first_steps[0] == 1
    for killed_at, first in zip((6, 17, 29), first_steps[1:], strict=True):  # it did go on, from a checkpoint
        assert first > killed_at - 3 and (first - 1) % 4 == 0

    for name in ("model.safetensors", "training.safetensors"):
        whole, killed = (load_file(tmp_path / run / "checkpoints" / "00000040" / name) for run in ("whole", "killed"))
        assert equal(whole, killed), name
    assert any(name.startswith("optimizer.exp_avg.") for name in whole)


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    trained = train_small(tmp_path / "run")
    again = train_small(tmp_path / "run", callback=Each(lambda agent: pytest.fail("a step was made")))
    assert equal(weights(again), weights(trained))
    assert again.num_timesteps == 40


def test_a_stopped_run_goes_on(tmp_path):
    train_small(tmp_path / "run", callback=Each(lambda agent: agent.num_timesteps < 13))
    resumed = train_small(tmp_path / "run")
    assert equal(weights(resumed), weights(train_small()))


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    train_small(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["00000036", "00000040"]
    loaded = L1FlowAgent.load(tmp_path / "run" / "checkpoints" / "00000036")
    assert loaded.num_timesteps == 36


def test_a_run_on_real_settings_can_be_resumed(tmp_path):
    """Tuples and NumPy's numbers compare equal to what YAML made of them."""
    for _ in range(2):
        agent = new_agent("unet", network_kwargs={"dims": (16, 32), "time_dim": np.int64(16)})
        train_small(tmp_path / "run", total_steps=2, agent=agent, learning_rate=np.float64(1e-3))


@pytest.mark.parametrize(
    "name, changes",
    [
        ("total_steps", {"total_steps": 50}),
        ("batch_size", {"batch_size": 9}),
        ("learning_rate", {"learning_rate": 1e-4}),
        ("seed", {"seed": 2}),
        ("fingerprint", {"data_seed": 5}),
        ("network_kwargs", {"agent": {"network_kwargs": {**TINY["mlp"], "depth": 2}}}),
        ("network", {"agent": {"network": "unet"}}),
        ("n_action_steps", {"agent": {"n_action_steps": 4}}),
        ("method_kwargs", {"agent": {"method_kwargs": {"t_mid": 0.3}}}),
    ],
)
def test_another_run_in_the_same_folder_is_refused(tmp_path, name, changes):
    train_small(tmp_path / "run", total_steps=4)
    if "agent" in changes:
        changes = {"agent": new_agent(**changes["agent"])}
    with pytest.raises(ConfigError, match=f"run holds a run with {name} = .*asked for"):
        train_small(tmp_path / "run", **{"total_steps": 4, **changes})


# ---- chance -------------------------------------------------------------------------------------------------------


def test_same_seed_same_bits_and_another_seed_others():
    one, two, other = train_small(), train_small(), train_small(seed=2)
    assert equal(weights(one), weights(two))
    assert not equal(weights(one), weights(other))


def test_global_seed_and_callbacks_do_not_matter():
    expected = weights(train_small())
    torch.manual_seed(77)
    disturbed = train_small(callback=Each(lambda agent: torch.rand(3) is not None))
    assert equal(weights(disturbed), expected)


def test_learn_leaves_the_global_seed_alone():
    torch.manual_seed(5)
    expected, np_state = torch.rand(1), np.random.get_state()[1].copy()
    torch.manual_seed(5)
    train_small(total_steps=20, validate_every=10)
    assert torch.equal(torch.rand(1), expected)
    assert (np.random.get_state()[1] == np_state).all()


def test_agents_differ_by_seed_and_by_nothing_else():
    def first(seed):
        return weights(L1FlowAgent("mlp", (STATE, ACTION), network_kwargs=TINY["mlp"], seed=seed))

    torch.manual_seed(1)
    one = first(0)
    torch.manual_seed(2)
    assert equal(first(0), one)
    assert not equal(first(1), one)


# ---- the loop -----------------------------------------------------------------------------------------------------


def toy_demonstrations(seed: int = 0) -> Episodes:
    """Actions that are a function of the observation: it can be learned."""
    rng = np.random.default_rng(seed)
    pos = np.repeat(rng.normal(size=(12, 3)), 10, axis=0).astype(np.float32)
    actions = np.tanh(pos[:, :2]) * [0.5, 1] + [0, 1]
    return Episodes({"pos": pos}, actions.astype(np.float32), np.arange(10, 121, 10))


@pytest.mark.parametrize("network", TINY)
def test_overfitting(network, tmp_path):
    agent, demos = new_agent(network), toy_demonstrations()
    agent.learn(
        demos, 150, run_dir=tmp_path, val_fraction=0, batch_size=64, learning_rate=1e-2, warmup_steps=10, log_every=5
    )
    losses = [float(row["train/loss"]) for row in progress(tmp_path)]
    assert np.mean(losses[-5:]) < 0.5 * losses[0]
    action, _ = agent.predict({"pos": demos.observations["pos"]}, deterministic=True)
    guess = np.abs(demos.actions - demos.actions.mean(axis=0)).mean()
    assert np.abs(action - demos.actions).mean() < 0.6 * guess  # the averaged weights have learned it, too


def test_progress_is_logged(tmp_path):
    train_small(tmp_path / "run", validate_every=20, log_every=10, val_fraction=0.4)
    rows = progress(tmp_path / "run")
    assert {"train/loss", "train/grad_norm", "train/learning_rate", "time/fps", "val/loss", "val/action_error"} <= rows[
        0
    ].keys()
    assert [bool(row["val/loss"]) for row in rows] == [False, True, False, True]
    assert all(float(row["train/loss"]) > 0 for row in rows)
    assert list((tmp_path / "run").glob("events.out.tfevents*"))


def test_a_logger_of_the_user_is_used(tmp_path):
    agent = new_agent()
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    train_small(agent=agent)
    assert len(progress(tmp_path)) == 4


def test_validation_does_not_change_training():
    assert equal(weights(train_small(validate_every=5, log_every=5)), weights(train_small(validate_every=1000)))


def test_action_error_is_in_the_units_of_actions(tmp_path):
    agent = new_agent()
    train_small(tmp_path, total_steps=1, log_every=1, validate_every=1, agent=agent, val_fraction=0.4)
    error = float(progress(tmp_path)[-1]["val/action_error"])
    demos = random_episodes()
    _, val = demos.split(0.4)
    begins = np.concatenate([[0], demos.ends])
    rows = np.concatenate([np.arange(begins[k], demos.ends[k]) for k in val])
    action, _ = agent.predict({"pos": demos.observations["pos"][rows]})
    assert error == pytest.approx(np.abs(action - demos.actions[rows]).mean(), rel=0.3)


def test_learning_rate_warms_up_and_falls_as_a_cosine(tmp_path):
    config = TrainingConfig(learning_rate=2.0, warmup_steps=10)
    rates = [cosine_with_warmup(step, 110, config) for step in range(110)]
    np.testing.assert_allclose(rates[:10], 2 * np.arange(1, 11) / 10)
    np.testing.assert_allclose(rates[10:], [1 + math.cos(math.pi * k / 100) for k in range(100)])

    train_small(tmp_path, log_every=1)
    logged = [float(row["train/learning_rate"]) for row in progress(tmp_path)]
    used = TrainingConfig.from_settings(SMALL)
    np.testing.assert_allclose(logged, [cosine_with_warmup(step, 40, used) for step in range(40)], rtol=1e-4)


@pytest.mark.parametrize("name, value", [("warmup_steps", 10**9), ("grad_clip", 1e-4), ("weight_decay", 0.5)])
def test_the_optimiser_gets_its_settings(name, value):
    assert not equal(weights(train_small()), weights(train_small(**{name: value})))


def test_validation_uses_the_same_noise_every_time(tmp_path):
    frozen = {"learning_rate": 1e-30, "weight_decay": 0.0, "val_fraction": 0.4}
    train_small(tmp_path, validate_every=10, **frozen)
    rows = progress(tmp_path)
    for name in ("val/loss", "val/action_error"):
        assert len({row[name] for row in rows}) == 1
    assert len({row["train/loss"] for row in rows}) == len(rows)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_dropped_histories_hold_the_newest_observation(share):
    torch.manual_seed(0)
    before = {"a": torch.randn(4000, 3, 2), "b": torch.arange(4000 * 3).reshape(4000, 3, 1)}
    after = drop_history({key: value.clone() for key, value in before.items()}, share)
    changed = (after["a"] != before["a"]).flatten(1).any(dim=1)
    assert changed.float().mean().item() == pytest.approx(share, abs=0.03)
    for key in before:
        assert torch.equal(after[key][~changed], before[key][~changed])
        assert torch.equal(after[key][changed], before[key][changed][:, -1:].expand(-1, 3, -1))


def test_history_dropout_reaches_training():
    assert not equal(weights(train_small(history_dropout=0.9)), weights(train_small(history_dropout=0.0)))


def test_the_agent_holds_the_average_and_acts_with_it_while_training():
    seen = []
    agent = train_small(total_steps=3, callback=Each(lambda a: seen.append(weights(a)["network.enter.weight"].clone())))
    assert len(seen) == 3
    assert all(not torch.equal(seen[k], seen[k + 1]) for k in range(2))
    assert torch.equal(seen[-1], weights(agent)["network.enter.weight"])
    assert not agent.policy.training
    assert not any(parameter.requires_grad for parameter in agent.policy.parameters())


def test_learning_on_keeps_the_scale_that_was_learned():
    agent = train_small()
    before = {name: tensor.clone() for name, tensor in agent.policy.normalizer.state_dict().items()}
    train_small(agent=agent, data_seed=8, total_steps=3)
    assert equal(agent.policy.normalizer.state_dict(), before)


@pytest.mark.parametrize("network", TINY)
def test_noise_samples_use_an_encoding_several_times(network):
    agent = new_agent(network)
    encoded = []
    handle = type(agent.policy.encoder).forward

    def counting(self, observations):
        encoded.append(len(observations["pos"]))
        return handle(self, observations)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(agent.policy.encoder), "forward", counting)
        train_small(agent=agent, total_steps=1, noise_samples=5, val_fraction=0)
    assert encoded == [8]


def test_bfloat16_changes_the_products_and_not_what_is_learned():
    exact, coarse = (train_small(precision=precision).policy for precision in ("float32", "bfloat16"))
    for (name, one), other in zip(exact.named_parameters(), coarse.parameters(), strict=True):
        assert other.dtype == torch.float32
        assert (one - other).norm() < 0.1 * max(one.norm().item(), 1e-2), name
    assert not equal(exact.state_dict(), coarse.state_dict())


def test_an_unknown_precision_names_the_known_ones():
    with pytest.raises(ConfigError, match="precision must be one of 'auto', 'float32' or 'bfloat16', got 'bf16'"):
        train_small(precision="bf16")


def test_a_loss_that_is_not_finite_stops_training():
    with pytest.raises(TrainingError, match=r"the loss is .* at step"):
        train_small(learning_rate=1e30, warmup_steps=0, log_every=1, grad_clip=0)


def break_weights_at(step: int, agent: L1FlowAgent) -> None:
    if agent.num_timesteps == step:
        next(agent.policy.parameters()).fill_(math.nan)


@pytest.mark.parametrize("settings", [{"learning_rate": 1e30, "warmup_steps": 0, "grad_clip": 0}, {}])
def test_no_checkpoint_of_a_diverged_training_is_written(tmp_path, settings):
    """Whether the loss tells, or the weights alone."""
    broken = Each(lambda agent: None if settings else break_weights_at(8, agent))
    with pytest.raises(TrainingError, match=r"the loss is|finite weights"):
        train_small(tmp_path, log_every=1000, callback=broken, **settings)
    kept = list((tmp_path / "checkpoints").glob("*/model.safetensors"))
    assert settings or [path.parent.name for path in kept] == ["00000004"]
    assert all(tensor.isfinite().all() for path in kept for tensor in load_file(path).values())


@pytest.mark.parametrize(("value", "half"), [(math.nan, False), (1e6, True)])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, value, half):
    agent = new_agent()
    agent.save(tmp_path / "agent")
    before = (tmp_path / "agent" / "model.safetensors").read_bytes()
    next(agent.policy.network.parameters()).fill_(value)
    with pytest.raises(TrainingError, match="finite weights"):
        agent.save(tmp_path / "agent", half=half)
    assert (tmp_path / "agent" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"total_steps": 2.5}, "total_steps must be a whole number, got 2.5"),
        ({"total_steps": "x"}, "total_steps must be a whole number, got 'x'"),
        ({"total_steps": True}, "total_steps must be a number"),
        ({"total_steps": 0}, "total_steps must be at least 1, got 0"),
        ({"dataset": "lift.hdf5"}, "expected Episodes.*got 'lift.hdf5'"),
        ({"dataset": None}, "expected Episodes.*got None"),
        ({"run_dir": 5}, "expected a path, got 5"),
        ({"callback": 5}, "callback.*got 5"),
        ({"callback": [print]}, "callback.*got .<built-in"),
    ],
)
def test_arguments_of_another_kind(given, reason):
    with pytest.raises(ConfigError, match=reason):
        new_agent().learn(**{"dataset": random_episodes(), "total_steps": 1, **given})


def test_a_refused_training_leaves_no_folder(tmp_path):
    with pytest.raises(ConfigError, match="symmetry"):
        train_small(tmp_path / "run", symmetry="nothing")
    with pytest.raises(DatasetError):
        new_agent("mlp", OBSERVATION).learn(random_episodes(), 1, run_dir=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "settings, reason",
    [
        ({"learning_rat": 1}, "training has no setting 'learning_rat'.*did you mean 'learning_rate'"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"learning_rate": 0}, "learning_rate must be greater than 0, got 0"),
        ({"learning_rate": math.nan}, "learning_rate must be .*got nan"),
        ({"history_dropout": 1.0}, "history_dropout must be less than 1, got 1.0"),
        ({"grad_clip": -1}, "grad_clip must be at least 0, got -1"),
        ({"ema_power": -2}, "ema_power must be greater than 0, got -2"),
        ({"val_fraction": -0.1}, "val_fraction must be at least 0, got -0.1"),
    ],
)
def test_bad_settings(settings, reason):
    with pytest.raises(ConfigError, match=reason):
        train_small(**settings)


@pytest.mark.parametrize(
    "space, action_space, reason",
    [
        (OBSERVATION, ACTION, "no observation key.*'image'"),
        (spaces.Dict({"pos": spaces.Box(-1, 1, (4,))}), ACTION, r"'pos' is float32 of shape \(3,\).*expected.*\(4,\)"),
        (STATE, BARE, r"'action' is float32 of shape \(2,\).*expected.*\(5,\)"),
    ],
)
def test_data_that_do_not_fit_the_spaces(space, action_space, reason):
    with pytest.raises(DatasetError, match=reason):
        train_small(agent=new_agent("mlp", space, action_space))


# ---- stable-baselines3's callbacks --------------------------------------------------------------------------------


@pytest.mark.parametrize("as_list", [True, False])
def test_a_callback_that_says_no_stops(as_list, tmp_path):
    callback = Each(lambda agent: agent.num_timesteps < 7)
    agent = train_small(tmp_path, callback=[callback] if as_list else callback)
    assert agent.num_timesteps == 7
    assert L1FlowAgent.load(tmp_path / "checkpoints" / "00000007").num_timesteps == 7


def test_a_function_is_a_callback():
    calls = []
    train_small(total_steps=3, callback=lambda locals_, globals_: calls.append(locals_["step"]) or True)
    assert calls == [0, 1, 2]


def test_eval_and_checkpoint_callbacks_as_they_are(tmp_path):
    env = gym.make("PushT-v0", obs_type="state", max_episode_steps=10)
    agent = L1FlowAgent("mlp", env, network_kwargs=TINY["mlp"])
    rng = np.random.default_rng(0)
    demos = Episodes(
        {"state": rng.uniform(0, 6, (60, 5)).astype(np.float32)},
        rng.uniform(0, 512, (60, 2)).astype(np.float32),
        [30, 60],
    )
    evaluation = EvalCallback(
        Monitor(gym.make("PushT-v0", obs_type="state", max_episode_steps=10)),
        n_eval_episodes=1,
        eval_freq=2,
        best_model_save_path=str(tmp_path / "best"),
        log_path=str(tmp_path / "log"),
        verbose=0,
    )
    snapshots = CheckpointCallback(save_freq=3, save_path=str(tmp_path / "snapshots"), name_prefix="pusht")
    agent.learn(demos, 6, [evaluation, snapshots], batch_size=8)

    log = np.load(tmp_path / "log" / "evaluations.npz")
    assert log["timesteps"].tolist() == [2, 4, 6]
    assert (log["ep_lengths"] == 10).all()
    best = L1FlowAgent.load(tmp_path / "best" / "best_model.zip", env)
    assert best.num_timesteps in (2, 4, 6)
    assert best.env_id == "PushT-v0"
    assert sorted(path.name for path in (tmp_path / "snapshots").iterdir()) == ["pusht_3_steps", "pusht_6_steps"]
    last = L1FlowAgent.load(tmp_path / "snapshots" / "pusht_6_steps")
    assert equal(weights(last), weights(agent))
