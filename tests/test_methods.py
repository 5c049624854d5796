"""L1 Flow's formulas, written out again by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import ACTION, STATE

from l1flow_agents import L1FlowAgent
from l1flow_agents.errors import ConfigError
from l1flow_agents.methods import METHODS, L1Flow
from l1flow_agents.methods.base import masked_mean

SHAPES = [(1, 1, 1), (5, 4, 3), (2, 16, 7)]


def batch(shape, seed: int = 0):
    """Data, noise, and a condition for a network of its own."""
    generator = torch.Generator().manual_seed(seed)
    x1, x0 = torch.randn(2, *shape, generator=generator)
    return x1, x0, torch.randn(shape[0], 2, generator=generator), torch.ones(shape[:2], dtype=torch.bool)


def toy(x, t, cond):
    """Any smooth function of all three inputs will do."""
    return torch.sin(2 * x) + t[:, None, None] * x.flip(1) + cond[:, :1, None] - cond[:, 1:2, None] * x


class Counted:
    """A network that writes down what it was asked."""

    def __init__(self, network):
        self.network, self.calls = network, []

    def __call__(self, x, t, cond):
        self.calls.append((x.clone(), t.clone()))
        return self.network(x, t, cond)


# ---- loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("space", ["sample", "velocity"])
@pytest.mark.parametrize("loss", ["l1", "mse"])
@pytest.mark.parametrize("time", ["mixed", "uniform", "beta"])
def test_loss_by_hand(shape, space, loss, time):
    x1, _, cond, valid = batch(shape)
    network = Counted(toy)
    torch.manual_seed(7)
    value = L1Flow(loss=loss, space=space, time=time).loss(network, x1, cond, valid)

    [(x_t, t)] = network.calls
    torch.manual_seed(7)
    assert torch.equal(t, L1Flow(time=time).training_times(len(x1), x1.device))
    x0 = torch.randn_like(x1)
    total = 0.0
    for b, h, d in np.ndindex(shape):
        tb = t[b].item()
        assert x_t[b, h, d].item() == pytest.approx(tb * x1[b, h, d].item() + (1 - tb) * x0[b, h, d].item(), abs=1e-5)
        error = toy(x_t, t, cond)[b, h, d].item() - x1[b, h, d].item()
        if space == "velocity":
            error /= max(1 - tb, 0.05)
        total += abs(error) if loss == "l1" else error**2
    assert value.item() == pytest.approx(total / math.prod(shape), rel=1e-4)


def test_velocity_loss_is_the_difference_of_velocities():
    x1, _, cond, valid = batch((6, 4, 2))
    network = Counted(toy)
    torch.manual_seed(7)
    value = L1Flow(loss="mse", space="velocity", time="uniform").loss(network, x1, cond, valid)
    [(x_t, t)] = network.calls
    assert (1 - t).min() > 0.05  # the floor is not reached with this seed
    away = (1 - t)[:, None, None]
    x0 = (x_t - t[:, None, None] * x1) / away
    implied = (toy(x_t, t, cond) - x_t) / away
    assert value.item() == pytest.approx((implied - (x1 - x0)).square().mean().item(), rel=1e-4)


def test_velocity_weight_has_a_floor(monkeypatch):
    monkeypatch.setattr(L1Flow, "training_times", lambda self, n, device: torch.full((n,), 0.999))
    x1, _, cond, valid = batch((4, 3, 2))
    losses = {
        space: L1Flow(space=space).loss(lambda x, t, c: x1 + 1, x1, cond, valid).item()
        for space in ("sample", "velocity")
    }
    assert losses["velocity"] / losses["sample"] == pytest.approx(20)


def made(name: str):
    """The method, fitted to chunks of two numbers a step and `batch`'s conditions."""
    torch.manual_seed(0)
    method = METHODS[name]()
    method.fit_to(6, 2, 2)
    return method


@pytest.mark.parametrize("method", [name for name, one in METHODS.items() if not one.teachers])
def test_padding_changes_neither_loss_nor_gradient(method):
    x1, _, cond, valid = batch((3, 6, 2))
    valid[:, 4:] = False
    results = []
    for padding in (0.0, 100.0):
        weight = torch.tensor(0.3, requires_grad=True)
        chunk = x1.masked_fill(~valid[..., None], padding)
        torch.manual_seed(0)
        loss = made(method).loss(lambda x, t, c, w=weight: w * x, chunk, cond, valid)  # each step by itself
        loss.backward()
        results.append((loss.item(), weight.grad.item()))
    assert results[0] == results[1]
    assert results[0][1] != 0


def test_masked_mean_divides_by_what_counts():
    error = torch.arange(12.0).reshape(2, 3, 2)
    valid = torch.tensor([[True, False, False], [True, True, False]])
    assert masked_mean(error, valid).item() == pytest.approx((0 + 1 + 6 + 7 + 8 + 9) / 6)
    assert masked_mean(error, torch.zeros_like(valid)).item() == 0


# ---- times --------------------------------------------------------------------------------------------------------

N = 200_000
QUANTILES = torch.tensor([0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999])


def drawn_times(law: str) -> torch.Tensor:
    torch.manual_seed(0)
    t = L1Flow(time=law).training_times(N, torch.device("cpu"))
    assert t.shape == (N,) and t.min() >= 0 and t.max() <= 1
    return t


@pytest.mark.parametrize(
    "law, cdf",
    [
        ("mixed", lambda t: 0.99 * torch.special.ndtr(torch.logit(t)) + 0.01 * t),
        ("uniform", lambda t: t),
        ("beta", lambda t: 1 - (1 - t) ** 1.5),  # Beta(1, b) has distribution 1 - (1 - t)^b
    ],
)
def test_time_laws(law, cdf):
    at_quantiles = cdf(torch.quantile(drawn_times(law), QUANTILES))
    tolerance = 4 * (QUANTILES * (1 - QUANTILES) / N).sqrt()  # four standard errors
    assert ((at_quantiles - QUANTILES).abs() < tolerance).all(), at_quantiles


def test_mixed_times_have_one_percent_uniform():
    extreme = (drawn_times("mixed") < 0.005).double().mean().item()  # logit-normal alone: 6e-8
    assert extreme == pytest.approx(0.01 * 0.005, rel=0.8)


# ---- samplers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("t_mid", [0.5, 0.2])
def test_two_step_sampler_by_hand(shape, t_mid):
    _, x0, cond, _ = batch(shape)
    network, method = Counted(toy), L1Flow(t_mid=t_mid)
    sampled = method.sample(network, x0, cond)

    x_mid = x0 + t_mid * (toy(x0, torch.zeros(shape[0]), cond) - x0)
    torch.testing.assert_close(sampled, toy(x_mid, torch.full(shape[:1], t_mid), cond))
    assert len(network.calls) == method.network_evaluations == 2


@pytest.mark.parametrize("n", [1, 2, 7])
def test_euler_by_hand(n):
    _, x0, cond, _ = batch((5, 4, 3))
    network, method = Counted(toy), L1Flow(sampler="euler", n_steps=n)
    sampled = method.sample(network, x0, cond)

    x = x0.double()
    for k in range(n):
        t = k / n
        velocity = (toy(x, torch.full((5,), t, dtype=torch.double), cond.double()) - x) / (1 - t)
        x = x + velocity / n
    torch.testing.assert_close(sampled.double(), x, rtol=1e-4, atol=1e-4)
    assert len(network.calls) == method.network_evaluations == n


@pytest.mark.parametrize("sampler", [{"sampler": "euler", "n_steps": 3}, {"sampler": "l1flow"}])
def test_a_network_that_knows_the_answer_is_believed(sampler):
    x1, x0, cond, _ = batch((5, 4, 3))
    assert torch.equal(L1Flow(**sampler).sample(lambda x, t, c: x1, x0, cond), x1)


def test_euler_turns_noise_into_a_gaussian():
    """With the best possible prediction of a Gaussian's end point, many steps transport N(0, 1) to it."""
    mean, std = 1.5, 0.4

    def best(x, t, cond):  # E[x1 | x_t = x] for x_t = t x1 + (1 - t) x0
        t = t[:, None, None]
        return mean + t * std**2 / (t**2 * std**2 + (1 - t) ** 2) * (x - t * mean)

    torch.manual_seed(0)
    x0 = torch.randn(20_000, 1, 1, dtype=torch.double)
    sampled = L1Flow(sampler="euler", n_steps=400).sample(best, x0, x0[:, 0])
    assert sampled.mean().item() == pytest.approx(mean, abs=0.01)
    assert sampled.std().item() == pytest.approx(std, abs=0.01)
    torch.testing.assert_close(sampled, mean + std * x0, rtol=0, atol=0.03)  # the map itself, not just its moments


def test_one_integration_step_keeps_two_points():
    """Data are +0.6 or -0.6; the best prediction under L1 is the likelier of the two, and anything between at t = 0."""

    def median(x, t, c):
        return torch.where(t[:, None, None] == 0, 0.1, 0.6 * torch.sign(x))

    torch.manual_seed(0)
    x0 = torch.randn(10_000, 1, 1)
    sampled = L1Flow().sample(median, x0, x0[:, 0])
    assert torch.equal(sampled.abs(), torch.full_like(x0, 0.6))  # none between
    assert (sampled > 0).double().mean().item() == pytest.approx(0.5, abs=0.05)  # both, with a slight lean to 0.1
    assert L1Flow(sampler="euler", n_steps=1).sample(median, x0, x0).unique().tolist() == pytest.approx([0.1])


def test_one_step_of_euler_is_regression_to_the_mean():
    x0 = torch.randn(8, 2, 1)
    assert L1Flow(sampler="euler", n_steps=1).sample(lambda x, t, c: torch.zeros_like(x), x0, x0).abs().max() == 0


@pytest.mark.parametrize("method", METHODS)
def test_sampling_is_a_function_of_its_arguments(method):
    _, x0, cond, _ = batch((5, 6, 2))
    one = made(method)
    first = one.sample(toy, x0, cond)
    torch.manual_seed(1)
    assert torch.equal(one.sample(toy, x0, cond), first)


# ---- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, reason",
    [
        ({"loss": "l2"}, "loss must be one of.*got 'l2'"),
        ({"space": "noise"}, "space must be one of.*got 'noise'"),
        ({"time": "normal"}, "time must be one of.*got 'normal'"),
        ({"sampler": "heun"}, "sampler must be one of.*got 'heun'"),
        ({"t_mid": 1.0}, r"t_mid must lie in \(0, 1\), got 1.0"),
        ({"t_mid": 0}, "t_mid"),
        ({"n_steps": 0}, "n_steps must lie in 1..1024, got 0"),
    ],
)
def test_bad_settings(settings, reason):
    with pytest.raises(ConfigError, match=reason):
        L1Flow(**settings)


@pytest.mark.parametrize(
    "given, reason",
    [
        ({"network": "unett"}, "unknown network 'unett'.*did you mean 'unet'"),
        ({"method": "l1flw"}, "unknown method 'l1flw'.*did you mean 'l1flow'"),
        ({"method_kwargs": {"tmid": 0.3}}, "l1flow has no setting 'tmid'.*did you mean 't_mid'"),
        ({"network_kwargs": {"widht": 3}}, "mlp has no setting 'widht'.*did you mean 'width'"),
        ({"encoder_kwargs": {"chanels": 3}}, "encoder has no setting 'chanels'.*did you mean 'channels'"),
        ({"network_kwargs": {"horizon": 3}}, "mlp has no setting 'horizon'"),
    ],
)
def test_a_typo_suggests_the_name_meant(given, reason):
    with pytest.raises(ConfigError, match=reason):
        L1FlowAgent(**{"network": "mlp", "env": (STATE, ACTION), **given})
