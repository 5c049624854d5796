"""Small agents, demonstrations and data sets on disk, shared by all tests."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

# Numpy 1's OpenBLAS does not know the newest processors and takes its oldest kernels there, which do not give
# robosuite's bits; read when numpy is loaded, and by the tests' processes.
os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")

import gymnasium as gym
import numpy as np
import pytest
import torch
import zarr
from gymnasium import spaces
from hypothesis import settings

from l1flow_agents import Episodes, L1FlowAgent
from l1flow_agents.env_description import EnvDescription
from l1flow_agents.provenance import Provenance

torch.set_num_threads(1)
settings.register_profile("busy", deadline=None)  # a test of milliseconds may wait for a second on a busy machine
settings.load_profile("busy")

REAL_DATA = Path(__file__).parents[2] / "shared" / "data" / "pusht_cchi_v7_replay.zarr"
TINY = {
    "mlp": {"width": 32, "depth": 1, "time_dim": 16},
    "unet": {"dims": (16, 32), "time_dim": 16},
    "transformer": {"width": 32, "depth": 1, "n_heads": 2},
}
OBSERVATION = spaces.Dict(
    {
        "pos": spaces.Box(-np.inf, np.inf, (3,), np.float32),
        "image": spaces.Box(0, 255, (24, 20, 3), np.uint8),
    }
)
STATE = spaces.Dict({"pos": OBSERVATION["pos"]})
BARE = spaces.Box(-1, 1, (5,), np.float32)
ACTION = spaces.Box(np.float32([-0.5, 0]), np.float32([0.5, 2]), dtype=np.float32)


@pytest.fixture(autouse=True, scope="module")
def simulators_end_with_their_file():
    yield
    if "simulators" in sys.modules:
        sys.modules["simulators"].let_go()


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same global seed."""
    torch.manual_seed(0)


def new_agent(network: str = "mlp", space: spaces.Space = STATE, action_space: spaces.Box = ACTION, **kwargs):
    """An untrained agent of a few thousand weights.

    Weights are shaken (the transformer starts with closed gates) and actions scaled to fall inside their bounds, so
    that everything matters and clipping hides nothing.
    """
    encoder = {"channels": (8, 8, 16, 16), "n_keypoints": 4, "feature_dim": 6}
    given = {"network_kwargs": TINY[network], "encoder_kwargs": encoder, **kwargs}
    agent = L1FlowAgent(network, (space, action_space), device="cpu", **given)
    generator = torch.Generator().manual_seed(1)
    for parameter in agent.policy.network.parameters():
        parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    half, centre = (action_space.high - action_space.low) / 2, (action_space.high + action_space.low) / 2
    if "action" in agent.policy.normalizer.affine:
        affine = agent.policy.normalizer.affine["action"]
        affine.scale.copy_(torch.from_numpy(3 / half))
        affine.offset.copy_(torch.from_numpy(-3 / half * centre))
    return agent


def random_episodes(lengths=(30, 7, 25), seed: int = 0, images: bool = False) -> Episodes:
    """Random demonstrations with the keys of `OBSERVATION`."""
    rng, n = np.random.default_rng(seed), sum(lengths)
    observations = {"pos": rng.normal(size=(n, 3)).astype(np.float32)}
    if images:
        observations["image"] = rng.integers(256, size=(n, 24, 20, 3), dtype=np.uint8)
    actions = rng.uniform(ACTION.low, ACTION.high, (n, 2)).astype(np.float32)
    return Episodes(observations, actions, np.cumsum(lengths))


@pytest.fixture(scope="session")
def make_agent():
    return new_agent


@pytest.fixture(scope="module")
def pushing(make_agent):
    """An untrained agent of PushT from state."""
    with gym.make("PushT-v0", obs_type="state") as env:
        agent = make_agent(space=env.observation_space, action_space=env.action_space)
        agent.provenance = Provenance(env=EnvDescription("PushT-v0", {"obs_type": "state"}))
    return agent


@pytest.fixture(scope="session")
def make_episodes():
    return random_episodes


@pytest.fixture(scope="session")
def checkout(tmp_path_factory) -> Path:
    """Another checkout of this repository: its files as they are now, without what was built or trained."""
    root, copy = Path(__file__).parents[1], tmp_path_factory.mktemp("checkout") / "copy"
    copy.mkdir()
    for name in ("l1flow_agents", "envs", "wrappers"):
        shutil.copytree(root / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for path in root.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    return copy


@pytest.fixture
def replay(tmp_path, monkeypatch) -> Path:
    """A replay-buffer Zarr of three episodes, 41 rows in chunks of 16, as Diffusion Policy writes them."""
    rng = np.random.default_rng(0)
    arrays = {
        "data/action": rng.uniform(1, 511, (41, 2)).astype(np.float32),
        "data/img": rng.integers(1, 256, (41, 8, 8, 3)).astype(np.float32),
        "data/state": rng.uniform(1, 511, (41, 5)).astype(np.float32),
        "meta/episode_ends": np.array([12, 21, 41]),
    }
    path = tmp_path / "toy.zarr"
    root = zarr.open_group(str(path), mode="w", zarr_format=2)
    for name, array in arrays.items():
        root.create_array(name, data=array, chunks=(16, *array.shape[1:]))
    monkeypatch.setenv("L1FLOW_CACHE", str(tmp_path / "cache"))
    return path


@pytest.fixture(scope="session")
def human_demos() -> Path:
    """The first 5 human PushT demonstrations, 738 rows."""
    return Path(__file__).parent / "data" / "pusht_sample.zarr"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """All 206 human PushT demonstrations, for what fewer cannot show."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"the PushT data set is not at {REAL_DATA}")
    return REAL_DATA


def random_observation(space: spaces.Space, n: int | None = None, seed: int = 0):
    """One observation of ``space``, or a batch of ``n`` different ones."""
    space.seed(seed)
    if n is None:
        return space.sample()
    rows = [space.sample() for _ in range(n)]
    if isinstance(space, spaces.Dict):
        return {key: np.stack([row[key] for row in rows]) for key in space.spaces}
    return np.stack(rows)
