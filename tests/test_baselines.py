"""The methods that L1 Flow is compared with, held against something outside themselves."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from test_methods import SHAPES, Counted, batch, toy
from torch import nn

from l1flow_agents.errors import ConfigError
from l1flow_agents.methods import (
    DDPM,
    EDM,
    METHODS,
    MIP,
    Consistency,
    FlowMatching,
    L1Regression,
    OneDP,
    Shortcut,
    consistency,
    edm,
)
from l1flow_agents.methods.ddpm import noises

N = 20_000


def normal(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 1, 1, generator=torch.Generator().manual_seed(seed))


# ---- DDPM against diffusers -----------------------------------------------------------------------------------------


def schedulers(sampler: str, n_steps: int):
    """diffusers' scheduler with Diffusion Policy's settings."""
    diffusers = pytest.importorskip("diffusers")
    settings = {"num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2", "clip_sample": True}
    if sampler == "ddim":
        made = diffusers.DDIMScheduler(**settings)
    else:
        made = diffusers.DDPMScheduler(**settings, variance_type="fixed_small")
    made.set_timesteps(n_steps)
    return made


@pytest.mark.parametrize("sampler, n_steps", [("ddpm", 100), ("ddim", 10), ("ddim", 8), ("ddim", 100)])
def test_diffusion_samplers_are_those_of_diffusers(sampler, n_steps, monkeypatch):
    _, x0, cond, _ = batch((4, 5, 3))
    ours = DDPM(sampler=sampler, n_steps=n_steps)
    network = Counted(toy)
    sampled = ours.sample(network, x0, cond)
    assert len(network.calls) == ours.network_evaluations == n_steps

    theirs, fresh = schedulers(sampler, n_steps), noises(x0)
    ours_next = [*[x for x, _ in network.calls[1:]], sampled]
    for (x, t), level, after in zip(network.calls, theirs.timesteps, ours_next, strict=True):
        assert torch.equal(t, torch.full((4,), level.item() / 100))
        monkeypatch.setattr(sys.modules[type(theirs).__module__], "randn_tensor", lambda *_, k=level, **__: fresh[k])
        expected = theirs.step(toy(x, t, cond), level, x, return_dict=False)[0]
        torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-4)


def test_noise_is_added_as_diffusers_adds_it():
    x1, noise, _, _ = batch((100, 5, 3))
    level = torch.arange(100)
    torch.testing.assert_close(
        DDPM().add_noise(x1, noise, level), schedulers("ddpm", 100).add_noise(x1, noise, level), rtol=1e-5, atol=1e-5
    )


def test_diffusion_loss_by_hand():
    x1, _, cond, valid = batch((6, 4, 2))
    network, method = Counted(toy), DDPM()
    torch.manual_seed(3)
    value = method.loss(network, x1, cond, valid)
    [(x, t)] = network.calls
    kept = method.kept[(t * 100).round().long()][:, None, None]
    noise = (x - kept.sqrt() * x1) / (1 - kept).sqrt()
    assert value.item() == pytest.approx((toy(x, t, cond) - noise).square().mean().item(), rel=1e-3)


def best_noise(method: DDPM, mean: float, std: float):
    """E[eps | x_k] for data N(mean, std^2): what a perfect network would say."""

    def network(x, t, cond):
        kept = method.kept[(t * 100).round().long()][:, None, None]
        variance = kept * std**2 + 1 - kept
        return (1 - kept).sqrt() * (x - kept.sqrt() * mean) / variance

    return network


@pytest.mark.parametrize("sampler, n_steps, tolerance", [("ddpm", 100, 0.02), ("ddim", 100, 0.01), ("ddim", 10, 0.05)])
def test_diffusion_turns_noise_into_a_gaussian(sampler, n_steps, tolerance):
    method, x0 = DDPM(sampler=sampler, n_steps=n_steps), normal(N)
    sampled = method.sample(best_noise(method, 0.3, 0.1), x0, x0[:, 0])
    assert sampled.mean().item() == pytest.approx(0.3, abs=tolerance)
    assert sampled.std().item() == pytest.approx(0.1, abs=tolerance)


def test_a_row_of_diffusion_does_not_depend_on_the_batch():
    _, x0, cond, _ = batch((5, 4, 3))
    method = DDPM()
    together = method.sample(toy, x0, cond)
    assert torch.equal(noises(x0[3:4])[:, 0], noises(x0)[:, 3])
    for i in range(5):
        assert torch.equal(method.sample(toy, x0[i : i + 1], cond[i : i + 1])[0], together[i])
    assert not torch.equal(noises(x0)[:, 0], noises(x0)[:, 1])  # another start, other noise


# ---- Flow Matching against closed forms -----------------------------------------------------------------------------


def test_flow_matching_loss_by_hand():
    x1, _, cond, valid = batch((6, 4, 2))
    network = Counted(toy)
    torch.manual_seed(3)
    value = FlowMatching().loss(network, x1, cond, valid)
    [(x, t)] = network.calls
    away = (1 - t)[:, None, None]
    x0 = (x - t[:, None, None] * x1) / away
    assert value.item() == pytest.approx((toy(x, t, cond) - (x1 - x0)).square().mean().item(), rel=1e-3)


def test_flow_matching_times():
    torch.manual_seed(0)
    t = FlowMatching().training_times(200_000, torch.device("cpu"))
    quantiles = torch.tensor([0.01, 0.1, 0.5, 0.9, 0.99])
    at_quantiles = 1 - (1 - torch.quantile(t, quantiles) / 0.999) ** 1.5  # Beta(1.5, 1) has distribution u^1.5
    torch.testing.assert_close(at_quantiles, quantiles, rtol=0, atol=0.005)


def velocity_of_two_points(place: float):
    """E[x1 - x0 | x_t] when data are +place or -place, evenly: the posterior of two points is a tanh."""

    def network(x, t, cond):
        t = t[:, None, None]
        x1 = place * torch.tanh(t * place * x / (1 - t) ** 2)
        return (x1 - x) / (1 - t)

    return network


@pytest.mark.parametrize("n_steps", [10, 100])
def test_flow_matching_reaches_two_points(n_steps):
    x0 = normal(N)
    sampled = FlowMatching(n_steps=n_steps).sample(velocity_of_two_points(0.6), x0, x0[:, 0])
    assert (sampled.abs() - 0.6).abs().mean() < 0.02
    assert torch.equal(sampled > 0, x0 > 0)  # the flow cannot cross the middle


def test_flow_matching_turns_noise_into_a_gaussian():
    mean, std = 0.5, 0.3

    def best(x, t, cond):
        t = t[:, None, None]
        x1 = mean + t * std**2 / (t**2 * std**2 + (1 - t) ** 2) * (x - t * mean)
        return (x1 - x) / (1 - t)

    x0 = normal(N)
    sampled = FlowMatching(n_steps=400).sample(best, x0, x0[:, 0])
    torch.testing.assert_close(sampled, mean + std * x0, rtol=0, atol=0.02)


# ---- L1 regression --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_regression_asks_once_and_ignores_the_noise(shape):
    x1, x0, cond, valid = batch(shape)
    network, method = Counted(toy), L1Regression()
    method.fit_to(*shape[1:], cond.shape[1])
    first = method.sample(network, x0, cond)
    assert torch.equal(first, method.sample(toy, x1, cond))
    [(x, t)] = network.calls
    assert method.network_evaluations == 1 and torch.equal(t, torch.ones(shape[0]))
    assert torch.equal(x, method.query.expand_as(x0))
    assert method.loss(toy, x1, cond, valid).item() == pytest.approx((first - x1).abs().mean().item(), rel=1e-5)


def test_regression_learns_the_median():
    """Of two modes it takes the larger one, of even ones anything between: what L1 Flow does not do."""
    method = L1Regression()
    method.fit_to(1, 1, 1)
    x1 = torch.tensor([-0.5] * 60 + [0.5] * 40)[:, None, None]
    cond, valid = torch.zeros(100, 1), torch.ones(100, 1, dtype=torch.bool)
    optimizer = torch.optim.Adam(method.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        method.loss(lambda x, t, c: x, x1, cond, valid).backward()
        optimizer.step()
    assert method.query.item() == pytest.approx(-0.5, abs=0.05)


# ---- MIP and shortcuts against closed forms --------------------------------------------------------------------------


def test_mip_by_hand():
    x1, x0, cond, valid = batch((6, 4, 2))
    network, method = Counted(toy), MIP()
    torch.manual_seed(3)
    value = method.loss(network, x1, cond, valid)
    torch.manual_seed(3)
    given, late = 0.9 * x1 + 0.1 * torch.randn_like(x1), torch.full((6,), 0.9)
    first, second = toy(torch.zeros_like(x1), torch.zeros(6), cond), toy(given, late, cond)
    expected = (first - x1).square().mean() + (second - x1).square().mean()
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)

    network.calls.clear()
    torch.testing.assert_close(method.sample(network, x0, cond), toy(0.9 * first, late, cond))
    assert len(network.calls) == method.network_evaluations == 2
    assert torch.equal(method.sample(toy, x0, cond), method.sample(toy, x1, cond)), "there is no noise in it"


@pytest.mark.parametrize("share, plan", [(0.5, 0.0), (0.6, 0.6), (0.4, -0.6)])
def test_mip_ends_at_the_larger_of_two_points(share, plan):
    """Data are 0.6 in this share of the cases, else -0.6: the first answer is their mean, the second leaves it."""

    def best(x, t, cond):  # E[x1 | 0.9 x1 + 0.1 z = x], and E[x1] at t = 0
        odds = math.log(share / (1 - share)) / 2
        return 0.6 * torch.tanh(torch.where(t[:, None, None] == 0, 0, 0.9 * 0.6 * x / 0.1**2) + odds)

    x0 = normal(5)
    assert MIP().sample(best, x0, x0[:, 0]).flatten().tolist() == pytest.approx([plan] * 5, abs=0.01)


class GaussianShortcut(nn.Module):
    """The mean velocity over any step of the flow from N(0, 1) to N(0.3, std^2): its one weight."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = nn.Parameter(torch.tensor(std))

    def forward(self, x, t, cond):
        size = 2 ** (-7 * torch.atan2(cond[:, 1], cond[:, 9]).abs() / math.pi)[:, None, None]
        t = t[:, None, None]
        now, after = (((1 - at) ** 2 + at**2 * self.std**2).sqrt() for at in (t, t + size))
        variance = now**2
        velocity = MEAN + (t * self.std**2 - (1 - t)) / variance * (x - t * MEAN)
        return torch.where(size < 0.01, velocity, (MEAN * size + (x - t * MEAN) * (after / now - 1)) / size)


@pytest.mark.parametrize("n_steps", [1, 4, 64])
def test_shortcuts_of_any_length_lead_where_the_flow_does(n_steps):
    x0, network = normal(2000), Counted(GaussianShortcut(STD))
    sampled = Shortcut(n_steps=n_steps).sample(network, x0, x0[:, 0])
    torch.testing.assert_close(sampled, MEAN + STD * x0, rtol=0, atol=1e-3)
    assert len(network.calls) == n_steps


def test_a_shortcut_that_knows_has_nothing_to_learn_but_the_noise():
    """What is left of the loss is the variance of x1 - x0 given x_t."""
    torch.manual_seed(0)
    x1, cond, valid = MEAN + STD * torch.randn(N, 1, 1), torch.zeros(N, 1), torch.ones(N, 1, dtype=torch.bool)
    t = torch.linspace(0, 1, 1001)
    left = (STD**2 / ((1 - t) ** 2 + t**2 * STD**2)).mean()  # of a bivariate Gaussian
    assert Shortcut().loss(GaussianShortcut(STD), x1, cond, valid).item() == pytest.approx(left.item(), rel=0.05)


def test_a_shortcut_learns_the_flow():
    torch.manual_seed(0)
    network = GaussianShortcut(0.8)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        x1 = MEAN + STD * torch.randn(512, 1, 1)
        Shortcut().loss(network, x1, torch.zeros(512, 1), torch.ones(512, 1, dtype=torch.bool)).backward()
        optimizer.step()
    assert network.std.item() == pytest.approx(STD, abs=0.05)


# ---- EDM and its student against a score that is known --------------------------------------------------------------

MEAN, STD = 0.3, 0.2


class GaussianDenoiser(nn.Module):
    """The network that makes `denoise` the posterior mean of data N(0.3, 0.2^2)."""

    def forward(self, x, t, cond):
        ends = math.log(edm.SIGMA_MIN), math.log(edm.SIGMA_MAX)
        s = torch.exp(ends[0] + t * (ends[1] - ends[0]))[:, None, None]
        scale, away = (s**2 + edm.DATA_STD**2).sqrt(), s - edm.SIGMA_MIN
        best = MEAN + STD**2 / (STD**2 + s**2) * (x * scale - MEAN)
        rest = best - edm.DATA_STD**2 / (away**2 + edm.DATA_STD**2) * x * scale
        return torch.where(away > 1e-4, rest * scale / (away * edm.DATA_STD).clamp(min=1e-6), 0)


def flow(x: torch.Tensor, sigma: float, stop: float) -> torch.Tensor:
    """Where the probability flow of that Gaussian takes x from one level to another, in closed form."""
    return MEAN + (x - MEAN) * math.sqrt((STD**2 + stop**2) / (STD**2 + sigma**2))


@pytest.mark.parametrize("n_steps, tolerance", [(18, 0.08), (80, 0.02)])
def test_edm_follows_the_flow_of_a_gaussian(n_steps, tolerance):
    x0 = normal(2000).double()
    method, network = EDM(n_steps=n_steps), Counted(GaussianDenoiser())
    sampled = method.sample(network, x0, x0[:, 0])
    torch.testing.assert_close(sampled, flow(80 * x0, 80, 0), rtol=0, atol=tolerance)
    assert len(network.calls) == method.network_evaluations == 2 * n_steps - 1
    near_one_plan = EDM(n_steps=n_steps, start_std=1.0).sample(network, x0, x0[:, 0])
    torch.testing.assert_close(near_one_plan, flow(x0, 80, 0), rtol=0, atol=tolerance)


def test_edm_loss_asks_for_the_clean_chunk():
    x1, _, cond, valid = batch((6, 4, 2))
    network = Counted(toy)
    torch.manual_seed(3)
    value = EDM().loss(network, x1, cond, valid)
    torch.manual_seed(3)
    sigma = edm.log_normal(6, x1.device)
    x = x1 + sigma[:, None, None] * torch.randn_like(x1)
    error = (edm.denoise(toy, x, sigma, cond) - x1).square().mean(dim=(1, 2))
    expected = (error * (sigma**2 + 0.25) / (0.5 * sigma) ** 2).mean()
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)


class FlowMap(nn.Module):
    """The student that jumps along the flow of data N(0.3, std^2): its one weight."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = nn.Parameter(torch.tensor(std))

    def forward(self, x, t, cond):
        ends = math.log(edm.SIGMA_MIN), math.log(edm.SIGMA_MAX)
        stop_level = torch.atan2(cond[:, 1], cond[:, 9]) / math.pi  # sine and cosine of the lowest frequency
        s, stop = (torch.exp(ends[0] + one * (ends[1] - ends[0]))[:, None, None] for one in (t, stop_level))
        scale, away = (s**2 + edm.DATA_STD**2).sqrt(), s - edm.SIGMA_MIN
        x = x * scale
        jumped = MEAN + (x - MEAN) * ((self.std**2 + stop**2) / (self.std**2 + s**2)).sqrt()
        posterior = MEAN + self.std**2 / (self.std**2 + s**2) * (x - MEAN)
        share = stop / s
        clean = torch.where(share > 0.999, posterior, (jumped - share * x) / (1 - share).clamp(min=1e-3))
        rest = clean - edm.DATA_STD**2 / (away**2 + edm.DATA_STD**2) * x
        return torch.where(away > 1e-4, rest * scale / (away * edm.DATA_STD).clamp(min=1e-6), 0)


def student_of(network: FlowMap, dsm_weight: float) -> Consistency:
    student = Consistency(start_std=80.0, dsm_weight=dsm_weight)
    student.follow(EDM(), GaussianDenoiser())
    return student


def test_jumps_that_agree_end_where_the_teachers_flow_does():
    torch.manual_seed(0)
    network = FlowMap(0.5)  # its teacher's data have 0.2; no term but the agreement of jumps tells it so
    student = student_of(network, dsm_weight=0.0)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    cond, valid = torch.zeros(512, 1), torch.ones(512, 1, dtype=torch.bool)
    for _ in range(200):
        optimizer.zero_grad()
        student.loss(network, MEAN + STD * torch.randn(512, 1, 1), cond, valid).backward()
        optimizer.step()
    assert network.std.item() == pytest.approx(STD, abs=0.03)
    x0 = normal(512)
    with torch.no_grad():
        sampled = student.sample(network, x0, torch.zeros(512, 1))
    torch.testing.assert_close(sampled, flow(80 * x0, 80, edm.SIGMA_MIN).clamp(-1, 1), rtol=0, atol=0.1)


def test_a_student_on_its_teachers_flow_has_nothing_to_learn():
    losses = []
    for std in (STD, 0.4):
        network = FlowMap(std)
        torch.manual_seed(0)
        x1, valid = MEAN + STD * torch.randn(4096, 1, 1), torch.ones(4096, 1, dtype=torch.bool)
        losses.append(student_of(network, 0.0).loss(network, x1, torch.zeros(4096, 1), valid).item())
    assert losses[0] < 0.1 * losses[1]


def test_nothing_is_trained_in_the_second_jump():
    """The gradient is that of the first jump alone, the second being a function that is known."""
    network = FlowMap(0.5)
    weights = consistency.frozen(network)
    x, cond = normal(6), torch.zeros(6, 1)
    sigma, stop, last = (torch.full((6,), value) for value in (5.0, 1.0, edm.SIGMA_MIN))
    jumped = consistency.jump(network, x, sigma, stop, cond)
    [slope] = torch.autograd.grad(consistency.jump(weights, jumped, stop, last, cond).sum(), jumped, retain_graph=True)
    [expected] = torch.autograd.grad((slope.detach() * jumped).sum(), network.std, retain_graph=True)
    [found] = torch.autograd.grad(consistency.jump(weights, jumped, stop, last, cond).sum(), network.std)
    assert found == expected != 0
    alone = consistency.jump(weights, x, stop, last, cond)
    assert not alone.requires_grad, "neither the network nor what it is told of the stop learns from it"


def test_the_loss_of_a_student_by_hand():
    """Per element, Karras' weight outside, on the jump that acts; half of its levels are large."""
    error, valid = torch.tensor([[[0.1, -2.0], [9.0, 9.0]]]), torch.tensor([[True, False]])
    delta = 5.4e-4 * math.sqrt(4)
    by_hand = [7.0 * (math.sqrt(one**4 + delta**2) - delta) for one in (0.1, 2.0)]
    assert consistency.pseudo_huber(error, valid, torch.tensor([7.0])).item() == pytest.approx(sum(by_hand) / 2)

    network = Counted(GaussianDenoiser())
    student = student_of(FlowMap(0.5), dsm_weight=1.0)
    torch.manual_seed(0)
    ones = torch.ones(1000, 1, dtype=torch.bool)
    student.loss(network, torch.zeros(1000, 1, 1), torch.zeros(1000, 1), ones)
    levels = edm.SIGMA_MIN * (edm.SIGMA_MAX / edm.SIGMA_MIN) ** network.calls[-1][1]
    lowest = edm.on_the_way(consistency.LARGEST_PART)
    assert (levels > lowest).double().mean().item() == pytest.approx(0.5 + 0.5 * 0.22, abs=0.05)
    assert levels.max() > 60


@pytest.mark.parametrize("n_steps", [1, 3])
def test_consistency_sampling_by_hand(n_steps):
    _, x0, cond, _ = batch((4, 6, 2))
    method = Consistency(n_steps=n_steps)
    network = Counted(lambda x, t, c: toy(x, t, c))
    sampled = method.sample(network, x0, cond)
    assert len(network.calls) == method.network_evaluations == n_steps
    torch.testing.assert_close(network.calls[0][0], x0 / math.hypot(80, 0.5))
    torch.testing.assert_close(network.calls[0][1], torch.ones(4))
    alone = torch.cat([method.sample(toy, x0[i : i + 1], cond[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(alone, sampled, rtol=1e-4, atol=1e-4)


# ---- OneDP ----------------------------------------------------------------------------------------------------------


class Noise(nn.Module):
    """The noise that a perfect DDPM network sees in data N(mean, std^2)."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = nn.Parameter(torch.tensor(mean)), std

    def forward(self, x, t, cond):
        return best_noise(DDPM(), self.mean, self.std)(x, t, cond)


class Shift(nn.Module):
    """A generator of N(mean, 1) chunks, whatever noise it is given: one parameter."""

    def __init__(self, mean: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(mean))

    def forward(self, x, t, cond):
        kept = DDPM().kept[65]
        return (x - kept.sqrt() * (self.mean + x)) / (1 - kept).sqrt()


def test_the_gradient_is_that_of_the_kl_of_two_gaussians():
    """Noised, N(m, 1) and N(0.2, 1) are N(sqrt(a) m, 1) and N(sqrt(a) 0.2, 1): d KL/dm = a (m - 0.2)."""
    generator, method, mean = Shift(0.9), OneDP(), 0.9
    method.follow(DDPM(), Noise(0.2, 1.0))
    method.helper = Noise(mean, 1.0)  # a helper that knows
    n = 20_000
    torch.manual_seed(0)
    method.loss(generator, torch.zeros(n, 1, 1), torch.zeros(n, 1), torch.ones(n, 1, dtype=torch.bool)).backward()
    kept = DDPM().kept[2:96]
    expected = (kept * (1 - kept) * (mean - 0.2)).mean()  # w = 1 - a
    assert generator.mean.grad.item() == pytest.approx(expected.item(), rel=0.03)


def test_the_deterministic_gradient_needs_no_helper():
    generator, method = Shift(0.9), OneDP(stochastic=False)
    method.follow(DDPM(), Noise(0.2, 0.5))
    assert method.helper is None
    n = 20_000
    torch.manual_seed(0)
    method.loss(generator, torch.zeros(n, 1, 1), torch.zeros(n, 1), torch.ones(n, 1, dtype=torch.bool)).backward()
    kept = DDPM().kept[2:96]
    expected = (kept * (1 - kept) / (kept * 0.25 + 1 - kept) * (0.9 - 0.2)).mean()  # score of the noised teacher at m
    assert generator.mean.grad.item() == pytest.approx(expected.item(), rel=0.03)


def test_a_generator_comes_to_its_teacher():
    torch.manual_seed(0)
    generator, method = Shift(0.9), OneDP()
    method.follow(DDPM(), Noise(0.2, 1.0))
    slow = torch.optim.Adam(generator.parameters(), lr=0.01)
    fast = torch.optim.Adam(method.helper.parameters(), lr=0.1)
    for _ in range(400):
        slow.zero_grad(), fast.zero_grad()
        ones = torch.ones(256, 1, dtype=torch.bool)
        method.loss(generator, torch.zeros(256, 1, 1), torch.zeros(256, 1), ones).backward()
        slow.step(), fast.step()
    assert generator.mean.item() == pytest.approx(0.2, abs=0.1)


def test_padding_does_not_pull_the_generator():
    results = []
    for rest in (0.0, 100.0):
        generator, method = Shift(0.9), OneDP(stochastic=False)
        method.follow(DDPM(), Noise(0.2, 0.5))
        x1, valid = torch.full((8, 4, 1), rest), torch.tensor([True, True, False, False]).repeat(8, 1)
        torch.manual_seed(0)
        method.loss(generator, x1, torch.zeros(8, 1), valid).backward()
        results.append(generator.mean.grad.item())
    assert results[0] == results[1] != 0


@pytest.mark.parametrize(
    "method, reason", [("consistency", "learns from a teacher"), ("onedp", "learns from a teacher")]
)
def test_a_student_needs_a_teacher(method, reason):
    x1, _, cond, valid = batch((4, 6, 2))
    student = METHODS[method]()
    student.fit_to(6, 2, 2)
    with pytest.raises(ConfigError, match=reason):
        student.loss(toy, x1, cond, valid)


# ---- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method, settings, reason",
    [
        (DDPM, {"sampler": "heun"}, "sampler must be one of.*got 'heun'"),
        (DDPM, {"sampler": "ddim", "n_steps": 101}, r"n_steps must lie in 1..100, got 101"),
        (EDM, {"n_steps": 0}, "n_steps must lie in 1..1024, got 0"),
        (EDM, {"start_std": 0}, "start_std must be positive, got 0"),
        (Shortcut, {"n_steps": 3}, r"n_steps must be one of \[1, 2, 4, 8, 16, 32, 64, 128\], got 3"),
        (Consistency, {"n_steps": 0}, "n_steps must lie in 1..80, got 0"),
        (Consistency, {"start_std": 0}, "start_std must be positive, got 0"),
        (FlowMatching, {"n_steps": 0}, "n_steps must lie in 1..1024, got 0"),
    ],
)
def test_bad_settings(method, settings, reason):
    with pytest.raises(ConfigError, match=reason):
        method(**settings)


def test_squared_cosine_ends_in_noise():
    kept = DDPM().kept
    assert kept[0] > 0.99 and kept[-1] < 1e-4 and (kept.diff() < 0).all()
    assert math.isclose(kept[49].item(), 0.49, abs_tol=0.02)
