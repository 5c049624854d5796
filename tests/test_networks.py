"""Networks and encoders: shapes, independence of rows, and what each must react to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import TINY
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import nn

from l1flow_agents.data import Episodes
from l1flow_agents.errors import ConfigError
from l1flow_agents.networks import NETWORKS, ObservationEncoder
from l1flow_agents.networks.encoders import ImageEncoder, rotations_6d, spatial_softmax, turns_between
from l1flow_agents.policy import ChunkPolicy
from l1flow_agents.rotations import matrix_to_rotation_6d, quaternion_to_matrix
from l1flow_agents.settings import AgentSettings
from l1flow_agents.training.moving_average import MovingAverage

HORIZON, ACTION_DIM, COND_DIM, BATCH = 12, 3, 7, 5  # all different: no axis can be mistaken for another


def inputs(batch: int = BATCH):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, HORIZON, ACTION_DIM, generator=generator)
    return x, torch.rand(batch, generator=generator), torch.randn(batch, COND_DIM, generator=generator)


@pytest.fixture(params=[*NETWORKS, "mlp that carries"])
def network(request):
    """Each network with shaken weights: the transformer starts with its gates closed."""
    torch.manual_seed(0)
    name, _, carries = request.param.partition(" ")
    kwargs = TINY[name] | ({"carry": True} if carries else {})
    net = NETWORKS[name](HORIZON, ACTION_DIM, COND_DIM, **kwargs).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def test_shape(network):
    x, t, cond = inputs()
    assert network(x, t, cond).shape == (BATCH, HORIZON, ACTION_DIM)


def test_rows_do_not_see_each_other(network):
    x, t, cond = inputs()
    together = network(x, t, cond)
    alone = torch.cat([network(x[i : i + 1], t[i : i + 1], cond[i : i + 1]) for i in range(BATCH)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("changed", range(3), ids=["chunk", "time", "condition"])
def test_every_input_matters(network, changed):
    given = list(inputs())
    before = network(*given)
    given[changed] = given[changed].flip(0)
    assert (network(*given)[0] - before[0]).abs().max() > 1e-3


def test_steps_of_a_chunk_see_each_other(network):
    x, t, cond = inputs()
    before = network(x, t, cond)
    x[:, 0] += 1
    assert (network(x, t, cond) - before)[:, 3].abs().max() > 1e-4


def test_gradients_reach_every_weight(network):
    network(*inputs()).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_no_batchnorm(name):
    encoder = ObservationEncoder({"image": (24, 24, 3)}, 2)
    modules = [*NETWORKS[name](16, 2, 4).modules(), *encoder.modules()]
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in modules)


@pytest.mark.parametrize(
    "name, sizes, settings, reason",
    [
        ("unet", (10, 2, 4), {"dims": (16, 32, 64)}, "horizon must be divisible by 4.*got 10"),
        ("unet", (16, 2, 4), {"dims": (20, 32)}, r"divisible by n_groups = 8, got \[20, 32\]"),
        ("transformer", (16, 2, 4), {"width": 30, "n_heads": 4}, "width must be divisible by n_heads = 4, got 30"),
    ],
)
def test_sizes_that_do_not_fit(name, sizes, settings, reason):
    with pytest.raises(ConfigError, match=reason):
        NETWORKS[name](*sizes, **settings)


def test_what_is_carried():
    """Nothing at first; with open gates what comes in is added as it is, whatever the layers make of it."""
    torch.manual_seed(0)
    net = NETWORKS["mlp"](HORIZON, ACTION_DIM, COND_DIM, **TINY["mlp"], carry=True).eval()
    torch.manual_seed(0)
    plain = NETWORKS["mlp"](HORIZON, ACTION_DIM, COND_DIM, **TINY["mlp"]).eval()
    x, t, cond = inputs()
    torch.testing.assert_close(net(x, t, cond), plain(x, t, cond), rtol=0, atol=0)
    nn.init.ones_(net.gate.bias)
    torch.testing.assert_close(net(x, t, cond), plain(x, t, cond) + x)


def test_published_unet_size():
    with torch.device("meta"):
        net = NETWORKS["unet"](16, 2, 40, dims=(256, 512, 1024))
        out = net(torch.empty(3, 16, 2), torch.empty(3), torch.empty(3, 40))
    assert out.shape == (3, 16, 2)
    assert 60e6 < sum(p.numel() for p in net.parameters()) < 70e6  # Diffusion Policy's has 65 million


# ---- moving average -----------------------------------------------------------------------------------------------


def test_moving_average_copies_buffers():
    live = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    average = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    ema = MovingAverage(live, average, power=0.75)
    for step in range(3):
        live(10 * torch.randn(8, 3))
        ema.update(step)
    assert live[1].num_batches_tracked == average[1].num_batches_tracked == 3
    torch.testing.assert_close(average[1].running_mean, live[1].running_mean, rtol=0, atol=0)
    assert (average[1].running_var > 5).all()  # it started at 1


def test_moving_average_by_hand():
    live, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    ema, expected = MovingAverage(live, average, power=0.75), average.weight.item()
    for step, value in enumerate([3.0, -1.0, 4.0]):
        live.weight.data.fill_(value)
        ema.update(step)
        decay = 1 - (1 + step) ** -0.75
        expected = decay * expected + (1 - decay) * value
        assert average.weight.item() == pytest.approx(expected, rel=1e-6)


def test_moving_average_is_slow_in_the_end():
    live, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    live.weight.data.fill_(1.0)
    average.weight.data.fill_(0.0)
    MovingAverage(live, average, power=0.75).update(10**9)
    assert average.weight.item() == pytest.approx(1e-4, rel=1e-3)


# ---- encoder ------------------------------------------------------------------------------------------------------


def image_encoder(**settings) -> ImageEncoder:
    torch.manual_seed(0)
    sizes = {"channels": (8, 8, 16, 16), "n_keypoints": 4, "feature_dim": 6, "crop": 0.75, **settings}
    return ImageEncoder((24, 20, 3), **sizes)


def coordinates(batch: int) -> torch.Tensor:
    """Pictures whose first two channels hold row and column."""
    rows = torch.arange(24.0)[:, None].expand(24, 20)
    cols = torch.arange(20.0)[None].expand(24, 20)
    return torch.stack([rows, cols, torch.zeros(24, 20)], dim=-1).repeat(batch, 1, 1, 1)


def test_eval_crops_the_centre():
    cropped = image_encoder().eval()._cropped(coordinates(2))
    assert cropped.shape == (2, 18, 15, 3)
    assert cropped[0, 0, 0, :2].tolist() == [3, 2]
    assert cropped[1, -1, -1, :2].tolist() == [20, 16]


def test_training_crops_anywhere():
    encoder = image_encoder().train()
    torch.manual_seed(0)
    cropped = encoder._cropped(coordinates(400))
    corners = cropped[:, 0, 0, :2]
    assert {tuple(corner) for corner in corners.int().tolist()} == {(r, c) for r in range(7) for c in range(6)}
    torch.testing.assert_close(
        cropped - corners[:, None, None, :].repeat(1, 1, 1, 2)[..., :3] * torch.tensor([1, 1, 0]),
        coordinates(400)[:, :18, :15],
    )


def test_eval_is_deterministic_and_training_is_not():
    image, encoder = torch.rand(4, 24, 20, 3), image_encoder()
    encoder.eval()
    torch.testing.assert_close(encoder(image), encoder(image), rtol=0, atol=0)
    encoder.train()
    assert (encoder(image) - encoder(image)).abs().max() > 1e-6


def test_resnet_is_eighteen_layers_deep():
    encoder = image_encoder(channels=(64, 128, 256, 512))
    main = [m for name, m in encoder.resnet.named_modules() if isinstance(m, nn.Conv2d) and ".skip." not in name]
    assert len(main) + 1 == 18  # with the layer that reads out
    assert [conv.out_channels for conv in main] == [64] * 5 + [128] * 4 + [256] * 4 + [512] * 4
    assert sum(p.numel() for p in encoder.resnet.parameters()) == 11_176_512  # torchvision's, without its last layer


@pytest.mark.parametrize("row, col", [(0, 0), (4, 6), (2, 3), (0, 6)])
def test_spatial_softmax_finds_the_peak(row, col):
    maps = torch.zeros(1, 2, 5, 7)
    maps[0, 1, row, col] = 100
    x_flat, x_peak, y_flat, y_peak = spatial_softmax(maps)[0].tolist()
    assert (x_peak, y_peak) == pytest.approx((col / 3 - 1, row / 2 - 1), abs=1e-5)
    assert (x_flat, y_flat) == pytest.approx((0, 0), abs=1e-5)


def test_observation_encoder_joins_all_keys_and_steps():
    shapes = {"pos": (3,), "grip": (2,), "image": (24, 20, 3)}
    encoder = ObservationEncoder(shapes, 2, fourier=2, channels=(8, 8, 16, 16), n_keypoints=4, feature_dim=6).eval()
    batch = {key: torch.rand(5, 2, *shape) for key, shape in shapes.items()}
    before = encoder(batch)
    assert before.shape == (5, encoder.cond_dim) == (5, 2 * (5 * (1 + 2 * 2) + 6))
    for key in shapes:
        for step in range(2):
            changed = {**batch, key: batch[key].clone()}
            changed[key][:, step] += 0.1 + torch.rand(shapes[key])
            difference = (encoder(changed) - before).abs()
            assert (difference.amax(dim=1) > 1e-4).all(), (key, step)


def test_quaternions_of_either_sign_are_one_rotation():
    x = torch.randn(5, 2, 14)
    x[..., 3:7] /= x[..., 3:7].norm(dim=-1, keepdim=True)
    seen = rotations_6d(x, [3, 10])
    expected = matrix_to_rotation_6d(quaternion_to_matrix(x[..., 3:7].numpy()))
    np.testing.assert_allclose(seen[..., 3:9].numpy(), expected, atol=1e-6)
    torch.testing.assert_close(seen[..., [0, 1, 2, 9, 10, 11]], x[..., [0, 1, 2, 7, 8, 9]])
    x[..., 3:7] *= -1
    torch.testing.assert_close(rotations_6d(x, [3, 10]), seen)


@settings(deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.integers(1, 4), st.integers(0, 3), st.booleans())
def test_turns_of_upright_parts_that_look_alike(a, b, n, k, upside_down):
    frame, part = (Rotation.from_euler("z", angle) for angle in (a, b + 2 * np.pi * k / n))
    if upside_down:
        frame = frame * Rotation.from_euler("x", np.pi)
    x = torch.tensor([0, 0, 0, *frame.as_quat(), *part.as_quat(), *(frame.inv() * part).as_quat()]).float()
    turn = n * (a - b if upside_down else b - a)
    expected = torch.tensor([np.cos(turn), np.sin(turn)]).float()
    torch.testing.assert_close(turns_between(x, [(3, 7, n)]), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(turns_between(x, [(None, 11, n)]), expected, atol=1e-4, rtol=0)


def test_turns_are_appended_to_the_observation():
    x, quaternions = torch.randn(5, 2, 14), {"object": [3, 10]}
    plain = ObservationEncoder({"object": (14,)}, 2, quaternions=quaternions)
    turns = {"object": [[3, 10, 4], [None, 3, 1]]}
    more = ObservationEncoder({"object": (14,)}, 2, quaternions=quaternions, turns=turns)
    assert more.cond_dim == plain.cond_dim + 8
    seen = more({"object": x}).unflatten(1, (2, -1))
    torch.testing.assert_close(seen[..., :18], plain({"object": x}).unflatten(1, (2, -1)))
    matrix = quaternion_to_matrix(x[..., 3:7].numpy())
    np.testing.assert_allclose(seen[..., 20:].numpy(), matrix[..., :2, 0], atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"object": [[3, 11, 1]]},
        {"object": [[3, 10]]},
        {"object": [[3, 10, 0]]},
        {"object": [[3, 10, 0.5]]},
        {"other": [[3, 10, 1]]},
    ],
)
def test_turns_of_what_is_no_quaternion(wrong):
    with pytest.raises(ConfigError, match=r"turns .* must be triples .* quaternions .*\[3, 10\]"):
        ObservationEncoder({"object": (14,)}, 1, quaternions={"object": [3, 10]}, turns=wrong)


def test_a_policy_does_not_scale_quaternions():
    box, actions = spaces.Box(-9, 9, (7,), np.float32), spaces.Box(-1, 1, (2,), np.float32)
    kwargs = {"network_kwargs": {"width": 8}, "encoder_kwargs": {"quaternions": {"object": [3]}}}
    settings = AgentSettings(network="mlp", horizon=4, n_obs_steps=1, n_action_steps=4, **kwargs)
    policy = ChunkPolicy({"object": box}, actions, settings).eval()
    rows = np.random.default_rng(0).uniform(-1, 1, (20, 7)).astype(np.float32)
    policy.normalizer.fit(Episodes({"object": rows}, np.zeros((20, 2), np.float32), np.array([20])))
    row = torch.tensor([0.1, 0.2, 0.3, 0.5, 0.5, -0.5, 0.5])
    same = row * torch.tensor([1, 1, 1, -1, -1, -1, -1])
    torch.testing.assert_close(policy.encode({"object": row[None, None]}), policy.encode({"object": same[None, None]}))


@pytest.mark.parametrize(
    "wrong", [{"object": [4]}, {"object": [0, 3]}, {"object": [-1]}, {"object": ["a"]}, {"other": [0]}]
)
def test_quaternions_that_do_not_fit(wrong):
    with pytest.raises(ConfigError, match=r"do not fit observations of shapes .*'object': \(7,\)"):
        ObservationEncoder({"object": (7,)}, 1, quaternions=wrong)


@pytest.mark.parametrize("wrong", [3, {"object": 3}, "object"])
@pytest.mark.parametrize("setting", ["quaternions", "turns"])
def test_what_are_no_lists_of_quaternions(setting, wrong):
    with pytest.raises(ConfigError, match=f"expected {setting} as lists under the names of observations, got"):
        ObservationEncoder({"object": (7,)}, 1, **{setting: wrong})


def test_every_camera_has_an_encoder_of_its_own():
    shapes = {"left_image": (24, 20, 3), "right_image": (24, 20, 3)}
    encoder = ObservationEncoder(shapes, 1, channels=(8, 8, 16, 16), n_keypoints=4, feature_dim=6).eval()
    image = torch.rand(1, 1, 24, 20, 3)
    left, right = encoder({"left_image": image, "right_image": image}).chunk(2, dim=-1)
    assert (left - right).abs().max() > 1e-4
