"""Promise: a configuration is read whole or refused in one line, and its seed determines everything."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from l1flow_agents import L1FlowAgent
from l1flow_agents.cli import main
from l1flow_agents.errors import ConfigError, DatasetError
from l1flow_agents.experiments import Experiment, config_names, new_agent, read_experiment, run_experiment
from l1flow_agents.experiments.describe import described_settings
from l1flow_agents.networks import ObservationEncoder
from l1flow_agents.networks.trial import made_and_tried
from l1flow_agents.training.precision import decide

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TINY = """
env: PushT-v0
env_kwargs: {obs_type: state, max_episode_steps: 10}
dataset: toy.zarr
agent: {network: mlp, network_kwargs: {width: 16, depth: 1}}
training: {total_steps: 6, batch_size: 8, log_every: 2, checkpoint_every: 2, warmup_steps: 2, learning_rate: 1e-4}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY)
    return tmp_path


def tiny(*overrides: str) -> Experiment:
    return read_experiment("tiny.yaml", overrides)


# ---- wrong values -------------------------------------------------------------------------------------------------


def test_500_wrong_values_are_read_or_refused_in_one_line(tmp_path):
    spec = importlib.util.spec_from_file_location("campaign_configs", BENCHMARKS / "campaigns" / "configs.py")
    campaign = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(campaign)
    assert campaign.attempt(campaign.GOOD, tmp_path) == "accepted", "or nothing below means anything"
    ends = {what: campaign.attempt(config, tmp_path) for what, config in campaign.cases(500)}
    assert {what: end for what, end in ends.items() if end not in ("accepted", "refused")} == {}
    assert list(ends.values()).count("refused") > 300


@pytest.mark.parametrize(
    "override, reason",
    [
        ("evaluation.every=abc", "evaluation.every must be a whole number, got 'abc'"),
        ("agent=0.5", "agent must be a mapping of settings, got 0.5"),
        ("training=null", "training must be a mapping of settings, got None"),
        ("agent.network_kwargs={depth: {1: 2}}", "agent.network_kwargs must have names that are text"),
        ("agent.network_kwargs={depth: {a: 2}}", "mlp: depth must be a whole number, got {'a': 2}"),
        ("agent.network_kwargs={width: -3}", "mlp: width must be at least 1, got -3"),
        ("agent.network_kwargs={width: 1000000000}", "mlp: width must be at most 65536, got 1000000000"),
        ("agent.network_kwargs={dropout: true}", "mlp: dropout must be a number, not true or false, got True"),
        ("agent.encoder_kwargs={channels: 64}", "encoder: channels must be a list, got 64"),
        ("agent.method_kwargs={n_steps: many}", "l1flow: n_steps must be a whole number, got 'many'"),
        ("training.betas=0", "training.betas must be a list, got 0"),
        ("training.betas=[0, 1, 2]", "training.betas must be a list of at most 2"),
        ("env_kwargs=text", "env_kwargs must be a mapping, got 'text'"),
        ("env=3", "env must be text, got 3"),
        ('dataset="a\\0b"', "dataset must be one line of printable text, got 'a\\x00b'"),
        ("training.grad_clip=-1", "training.grad_clip must be at least 0, got -1"),
        ("training.total_steps=-3", "training.total_steps must be at least 1, got -3"),
        ("training.total_steps=2.5", "training.total_steps must be a whole number, got 2.5"),
        ("training.ema_power=-2", "training.ema_power must be greater than 0, got -2"),
        ("training.learning_rate=.nan", "training.learning_rate must be a finite number, got nan"),
        ("training.learning_rate=1e400", "training.learning_rate must be a finite number, got '1e400'"),
        ("training.noise_samples=1000000000", "training.noise_samples must be at most 1024"),
        ("training.seed=true", "training.seed must be a number, not true or false, got True"),
        ("training.precision=half", "training.precision must be one of 'auto', 'float32' or 'bfloat16', got 'half'"),
        ("training.symmetry=push", "training: unknown symmetry 'push'"),
        ("training.batchsize=3", "training has no setting 'batchsize', expected some of"),
        ("agent.horizon=5", "agent: n_obs_steps - 1 + n_action_steps must be at most horizon = 5"),
        ("agent.seed=3", "agent has no setting 'seed'"),
        ("env_kwargs={render_mode: human}", "env_kwargs has no setting 'render_mode'"),
    ],
)
def test_a_wrong_value_is_one_line(folder, override, reason):
    with pytest.raises(ConfigError) as caught:
        tiny(override)
    assert str(caught.value).startswith(f"tiny.yaml: {reason}") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "override, reason",
    [
        ("env_kwargs={obs_tipe: state}", "PushT-v0 has no setting 'obs_tipe'.*did you mean 'obs_type'"),
        ("env_kwargs={obs_type: 3}", "PushT-v0: obs_type must be text, got 3"),
        ("env_kwargs={obs_type: pictures}", "obs_type must be one of"),
        ("env_kwargs={obs_type: state, max_episode_steps: soon}", "PushT-v0: max_episode_steps must be a whole number"),
        ("env_kwargs={obs_type: state, max_episode_steps: -7}", "PushT-v0 cannot be made with .*positive"),
        ("agent.network_kwargs={width: 60000, depth: 900}", "mlp: a network of more than .* weights"),
    ],
)
def test_what_only_building_shows_is_one_line_too(folder, override, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        new_agent(tiny(override), "cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "network, settings, reason",
    [
        ("unet", {"dims": [16, 32], "kernel_size": 4}, "unet: kernel_size must be odd, got 4"),
        ("unet", {"dims": []}, "unet: dims "),
        ("transformer", {"width": 32, "n_heads": 0}, "transformer: n_heads must be at least 1, got 0"),
    ],
)
def test_sizes_that_make_no_network(make_agent, network, settings, reason):
    with pytest.raises(ConfigError, match=reason):
        make_agent(network, network_kwargs=settings)


def test_a_network_is_tried_out_before_anybody_relies_on_it():
    class Deaf(torch.nn.Module):
        def __init__(self, cond_dim: int) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(cond_dim + 1, 4)

        def forward(self, x, t, cond):
            return self.layer(cond)

    def make():
        encoder = ObservationEncoder({"pos": (3,)}, 2)
        return encoder, Deaf(encoder.cond_dim)

    with pytest.raises(ConfigError, match="deaf: these settings make no network: "):
        made_and_tried(make, {"pos": (3,)}, 2, (16, 3), "deaf")


def test_several_mistakes_come_in_one_message(folder):
    with pytest.raises(ConfigError, match=r"batch_size must be .*; training.seed must be .*; .*did you mean 'env'"):
        tiny("training.batch_size=0", "training.seed=-1", "evn=3")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("- 1", "expected a mapping of settings, found list"),
        ("", "expected a mapping of settings, found NoneType"),
        ("env: [", "expected a YAML file"),
        ("env: \x00", "expected a YAML file"),
        ("[" * 3000, "expected a YAML file"),
        ("env: PushT-v0", "dataset is missing; agent is missing; training is missing"),
        (f"env: {'9' * 5000}", "YAML file|env must be text"),
    ],
)
def test_a_file_that_is_no_configuration(folder, text, reason):
    Path("wrong.yaml").write_text(text)
    with pytest.raises(ConfigError, match=reason) as caught:
        read_experiment("wrong.yaml")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


# ---- right values -------------------------------------------------------------------------------------------------


def test_numbers_that_yaml_reads_as_text_stay_numbers(folder):
    assert tiny().training.learning_rate == 1e-4
    assert tiny("training.batch_size='64'").training.batch_size == 64
    assert tiny("training.total_steps=8.0").training.total_steps == 8


@pytest.mark.parametrize("name", config_names())
def test_an_experiment_comes_back_from_its_plain_values(name):
    experiment = read_experiment(name)
    assert Experiment.from_dict(experiment.to_dict()) == experiment


def test_a_changed_experiment_is_checked_and_leaves_the_first_alone(folder):
    first = tiny()
    assert first.changed(training={"seed": 3}).training.seed == 3 and first.training.seed == 0
    assert first.changed(evaluation={"every": 5}).changed(evaluation=None) == first
    with pytest.raises(ConfigError, match=r"training\.seed"):
        first.changed(training={"seed": -3})


def test_help_shows_every_setting(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    assert described_settings() in shown
    for words in ("training.grad_clip", "evaluation.every", "teacher", "Largest norm of the gradient", "t_mid=0.5"):
        assert words in shown
    for line in (line for line in shown.splitlines() if line.startswith("  training.")):
        assert line.rpartition(". ")[2], f"no text for {line}"


# ---- one seed -----------------------------------------------------------------------------------------------------


def test_the_seed_determines_the_first_weights(folder):
    def weights(seed: int) -> torch.Tensor:
        return new_agent(tiny(f"training.seed={seed}"), "cpu").policy.network.enter.weight

    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))


def test_the_seed_determines_the_last_weights(folder, replay):
    def trained(seed: int, run: str) -> torch.Tensor:
        agent = run_experiment(tiny(f"training.seed={seed}"), run, "cpu", progress_bar=False)
        return agent.policy.network.enter.weight

    assert torch.equal(trained(1, "a"), trained(1, "b")) and not torch.equal(trained(1, "a"), trained(2, "c"))


def test_the_record_of_a_run_is_of_what_was_trained(folder, replay):
    record = Path("run/experiment.yaml")
    with pytest.raises(DatasetError):
        run_experiment(tiny("filter_key=none"), "run", "cpu", progress_bar=False)
    assert not Path("run").exists()
    record.parent.mkdir()
    record.write_text("left by a run that was killed before its first checkpoint")
    run_experiment(tiny("training.batch_size=4"), "run", "cpu", progress_bar=False)
    trained = record.read_text()
    assert read_experiment(record).training.batch_size == 4
    with pytest.raises(ConfigError, match="holds a run with batch_size"):
        run_experiment(tiny(), "run", "cpu", progress_bar=False)
    assert record.read_text() == trained


# ---- filter key ---------------------------------------------------------------------------------------------------


def test_a_filter_key_chooses_demonstrations(folder, capsys):
    with h5py.File("toy.hdf5", "w") as file:
        for k in range(4):
            demo, state = file.create_group(f"data/demo_{k}"), np.full((20, 5), 10.0 * k, np.float32)
            demo.attrs["num_samples"] = 20
            demo["actions"], demo["obs/state"] = state[:, :2], state
        file["mask/train"] = np.array([b"demo_1", b"demo_3"])
    command = ["train", "tiny.yaml", "--dataset", "toy.hdf5", "--filter-key"]
    assert main([*command, "train"]) == 0
    agent = L1FlowAgent.load("runs/tiny/agent")
    assert agent.provenance.training["dataset"]["episodes"] == 2
    assert read_experiment("runs/tiny/experiment.yaml").filter_key == "train"
    assert main([*command, "tain", "--run-dir", "other"]) == 2
    assert "mask/tain" in capsys.readouterr().err


def test_a_filter_key_needs_robomimics_format(folder, replay):
    with pytest.raises(DatasetError, match="no filter keys"):
        run_experiment(tiny("filter_key=train"), "run", "cpu", progress_bar=False)


# ---- precision ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "capabilities, precision",
    [
        ({"amx_bf16": True, "avx512_bf16": True, "cpu_name": "Intel Xeon"}, "bfloat16"),
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC"}, "bfloat16"),
        ({"avx512_bf16": True, "cpu_name": "Intel Xeon"}, "float32"),
        ({"avx512_bf16": True}, "float32"),
        ({}, "float32"),
    ],
)
def test_auto_takes_what_the_processor_multiplies(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, **capabilities})
    cpu = torch.device("cpu")
    assert decide("auto", cpu)[0] == precision
    assert decide("float32", cpu)[0] == "float32" and decide("bfloat16", cpu)[0] == "bfloat16"


def test_the_run_says_records_and_keeps_its_precision(folder, replay, monkeypatch, capsys):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert main(["train", "tiny.yaml"]) == 0
    assert "precision: bfloat16 (this processor has AMX)" in capsys.readouterr().err
    before = Path("runs/tiny/agent/model.safetensors").read_bytes()
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)  # continued on another machine
    assert main(["train", "tiny.yaml"]) == 0
    assert "precision: bfloat16 (as this run began)" in capsys.readouterr().err
    assert L1FlowAgent.load("runs/tiny/agent").provenance.training["precision"] == "bfloat16"
    assert Path("runs/tiny/agent/model.safetensors").read_bytes() == before
    assert main(["train", "tiny.yaml", "training.precision=float32"]) == 2
    assert "precision = 'bfloat16', asked for 'float32'" in capsys.readouterr().err


def test_older_checkpoints_with_an_encoders_bf16_still_load():
    agent = L1FlowAgent.load("pusht-image", device="cpu")
    assert "bf16" not in agent.settings.encoder_kwargs and agent.settings.encoder_kwargs["channels"][0] == 32


# ---- scoring ------------------------------------------------------------------------------------------------------


def test_eval_with_other_chunks_and_a_device(folder, replay, capsys):
    assert main(["train", "tiny.yaml"]) == 0
    command = ["eval", "runs/tiny/agent", "-n", "1", "--n-envs", "1"]
    assert main([*command, "--n-action-steps", "3", "--device", "cpu", "--output", "out"]) == 0
    capsys.readouterr()
    assert main([*command, "--n-action-steps", "99"]) == 2
    assert "n_action_steps" in capsys.readouterr().err
    assert main([*command, "--device", "tpu"]) == 2
    assert "tpu" in capsys.readouterr().err
