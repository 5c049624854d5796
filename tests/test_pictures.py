"""Promise: ``fast`` pictures look like those of every triangle, and depend on the state alone."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from textwrap import dedent

import gymnasium as gym
import mujoco
import numpy as np
import pytest

import l1flow_agents  # noqa: F401  registers the environments
from l1flow_agents.envs import level_of_detail
from l1flow_agents.envs.rendering import Renderer, gl_context_class
from l1flow_agents.errors import ConfigError

pytest.importorskip("robosuite", reason="the simulator of these tasks is not installed")
try:
    gl_context_class()
except ConfigError as error:
    pytest.skip(str(error), allow_module_level=True)

DRAWN = np.array([0, 1, 1, 0, 0, 0], np.uint8)


def made(env_id: str, **kwargs) -> gym.Env:
    return gym.make(env_id, obs_type="state", **kwargs).unwrapped


def models(env: gym.Env):
    return env.simulator.sim.model._model, env.simulator.sim.data._data


def every_triangle(model, data, cameras: tuple[str, ...], size: int = 84) -> list[np.ndarray]:
    """Accurate pictures without reflections and shadows."""
    window = gl_context_class()(size, size)
    window.make_current()
    context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
    scene, option, view = mujoco.MjvScene(model, 10_000), mujoco.MjvOption(), mujoco.MjvCamera()
    for flag in (mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_SHADOW):
        scene.flags[flag] = False
    option.geomgroup[0] = 0
    view.type = mujoco.mjtCamera.mjCAMERA_FIXED
    pictures, area = [], mujoco.MjrRect(0, 0, size, size)
    for camera in cameras:
        view.fixedcamid = model.camera(camera).id
        mujoco.mjv_updateScene(model, data, option, None, view, mujoco.mjtCatBit.mjCAT_ALL, scene)
        picture = np.empty((size, size, 3), np.uint8)
        mujoco.mjr_render(area, scene, context)
        mujoco.mjr_readPixels(picture, None, area, context)
        pictures.append(picture[::-1])
    context.free()
    window.free()
    return pictures


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio."""
    return 10 * np.log10(255**2 / max(1e-9, np.mean((one.astype(float) - other) ** 2)))


# ---- in the tasks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", ["Square-v0", "Transport-v0", "Coffee_D0-v0"])
def test_fast_looks_like_every_triangle(env_id):
    """84 x 84, at an episode's start and later; 30 dB is a root mean square difference of 8 of 255."""
    env, renderer = made(env_id), Renderer("fast")
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(2):
        model, data = models(env)
        for camera, expected in zip(env.task.cameras, every_triangle(model, data, env.task.cameras), strict=True):
            assert decibels(renderer.render(model, data, camera, 84), expected) > 30, camera
        for _ in range(8):
            env.step(rng.uniform(-1, 1, env.action_space.shape))
    drawn = model.mesh_facenum[model.geom_dataid[(model.geom_type == 7) & (model.geom_group == 1)]].sum()
    assert level_of_detail.reduced(model, DRAWN).mesh_facenum.sum() < drawn / 4
    renderer.close()
    env.close()


def test_physics_is_the_same_with_fast_pictures():
    with_pictures = gym.make("Square-v0", obs_type="image_state", render_quality="fast").unwrapped
    without = made("Square-v0")
    for env in (with_pictures, without):
        env.reset(seed=3)
    for action in np.random.default_rng(0).uniform(-1, 1, (10, 7)):
        states = []
        for env in (with_pictures, without):
            env.step(action)
            states.append(env.get_state()["states"])
        np.testing.assert_array_equal(*states)
    one, other = (models(env)[0] for env in (with_pictures, without))
    arrays = [name for name in dir(one) if isinstance(getattr(one, name), np.ndarray)]
    assert len(arrays) > 300
    for name in arrays:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    with_pictures.close()
    without.close()


@pytest.mark.parametrize("quality", ["dataset", "fast"])
def test_one_context_serves_the_models_of_a_task(quality):
    """Lift's model is built anew for every episode; its pictures are those of an environment that saw no other."""
    env, renderer, fresh = made("Lift-v0"), Renderer(quality), Renderer(quality)
    contexts = []
    for seed in (1, 2):
        env.reset(seed=seed)
        model, data = models(env)
        picture = renderer.render(model, data, "agentview", 84)
        contexts.append((renderer._context, model))
    assert contexts[0][0] is contexts[1][0] and contexts[0][1] is not contexts[1][1]
    np.testing.assert_array_equal(picture, fresh.render(model, data, "agentview", 84))

    renderer.close()
    fresh.close()
    env.close()


# ---- level of detail ------------------------------------------------------------------------------------------------


def sphere(rings: int = 40) -> str:
    """The vertices and triangles of a sphere of 10 cm, as MJCF has them."""
    turn, tilt = np.meshgrid(np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False), np.linspace(0, np.pi, rings))
    points = 0.1 * np.stack([np.cos(turn) * np.sin(tilt), np.sin(turn) * np.sin(tilt), np.cos(tilt)], -1).reshape(-1, 3)
    row, column = np.divmod(np.arange((rings - 1) * 2 * rings), 2 * rings)
    a, b = row * 2 * rings + column, row * 2 * rings + (column + 1) % (2 * rings)
    faces = np.concatenate([np.stack([a, a + 2 * rings, b], -1), np.stack([b, a + 2 * rings, b + 2 * rings], -1)])
    corners = points[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
    texts = [" ".join(map(str, array.ravel())) for array in (points.round(6), faces[area > 1e-9])]
    texcoord = " ".join(map(str, np.stack([turn / 6.3, tilt / 3.2], -1).round(4).ravel()))
    return f'vertex="{texts[0]}" face="{texts[1]}" texcoord="{texcoord}"'


@pytest.fixture(scope="module")
def model():
    """Meshes plain, textured, hidden, and an open sheet; a visible site."""
    return mujoco.MjModel.from_xml_string(f"""
        <mujoco>
          <asset>
            <texture name="t" type="2d" builtin="checker" rgb1="1 0 0" rgb2="0 0 1" width="64" height="64"/>
            <material name="m" texture="t"/>
            <mesh name="plain" {sphere()}/> <mesh name="textured" {sphere()}/> <mesh name="hidden" {sphere()}/>
            <mesh name="sheet" inertia="shell" vertex="0 0 0  .1 0 0  .1 .1 0  0 .1 0  .05 .05 .001"
              face="0 1 4 1 2 4 2 3 4 3 0 4"/>
          </asset>
          <worldbody>
            <light pos="0 0 3"/> <camera name="c" pos="0 -.6 .3" xyaxes="1 0 0 0 .5 1"/>
            <site pos="0 0 .15" size=".03" rgba="0 1 0 1"/>
            <geom type="mesh" mesh="plain" group="1" pos="-.15 0 0"/>
            <geom type="mesh" mesh="textured" material="m" group="1" pos=".15 0 0"/>
            <geom type="mesh" mesh="hidden" group="0"/> <geom type="mesh" mesh="sheet" group="2"/>
          </worldbody>
        </mujoco>""")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache folder for a process that has simplified nothing yet."""
    monkeypatch.setenv("L1FLOW_CACHE", str(tmp_path))
    monkeypatch.setattr(level_of_detail, "_KEPT", {})
    return tmp_path / "meshes"


def drawing(model) -> np.ndarray:
    data, renderer = mujoco.MjData(model), Renderer("fast")
    mujoco.mj_forward(model, data)
    picture = renderer.render(model, data, "c", 84)
    renderer.close()
    return picture


def test_plain_meshes_become_simpler(model, cache):
    result = level_of_detail.reduced(model, DRAWN)
    plain, textured, hidden, sheet = (model.mesh(name).id for name in ("plain", "textured", "hidden", "sheet"))
    count = result.mesh_facenum
    assert 50 < count[plain] < model.mesh_facenum[plain] / 4
    assert (count[textured], count[hidden], count[sheet]) == (model.mesh_facenum[textured], 0, 4)
    for name in ("mesh_vert", "mesh_normal", "mesh_texcoord"):
        first, end = (getattr(model, f"{name}adr")[textured + k] for k in (0, 1))
        np.testing.assert_array_equal(getattr(result, name)[first:end], getattr(model, name)[first:end])

    first, face = model.mesh_vertadr[plain], slice(model.mesh_faceadr[plain], model.mesh_faceadr[plain] + count[plain])
    points = result.mesh_vert[first:][result.mesh_face[face]]  # (faces, 3, 3)
    assert np.ptp(np.linalg.norm(points.mean(1), axis=-1)) < 0.01
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 0.1, atol=0.0035)  # a hundredth of the diagonal
    normals = result.mesh_normal[model.mesh_normaladr[plain] :][result.mesh_facenormal[face]]
    assert ((normals * points).sum(-1) > 0.095).all()


def test_fast_draws_textures_sheets_and_visible_sites(model, cache):
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    (expected,) = every_triangle(model, data, ("c",))
    assert (expected[..., 1] > 2 * expected[..., 0]).sum() > 20  # the site
    assert decibels(drawing(model), expected) > 30


def test_another_texture_needs_another_context(model, cache):
    data, renderer = mujoco.MjData(model), Renderer("fast")
    mujoco.mj_forward(model, data)
    before = renderer.render(model, data, "c", 84)
    other = copy.copy(model)
    other.tex_data[:] = 255 - model.tex_data
    after = renderer.render(other, data, "c", 84)
    assert (before != after).any()
    np.testing.assert_array_equal(after, drawing(other))
    renderer.close()


# ---- the cache ------------------------------------------------------------------------------------------------------


def forget() -> None:
    level_of_detail._KEPT.clear()


def test_kept_meshes_give_the_same_picture(model, cache):
    picture = drawing(model)
    assert [file.suffix for file in cache.iterdir()] == [".npz"]
    forget()
    np.testing.assert_array_equal(drawing(model), picture)


def out_of_range(content: bytes, file) -> bytes:
    with np.load(file) as arrays:
        changed = {**arrays, "faces": arrays["faces"] + 10_000}
    np.savez(file, **changed)
    return file.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content, file: b"",
        lambda content, file: content[: len(content) // 2],
        lambda content, file: bytes([*content[:2000], *(255 - byte for byte in content[2000:2100]), *content[2100:]]),
        out_of_range,
    ],
    ids=["empty", "short", "other bytes", "out of range"],
)
def test_damaged_cache_is_made_again(damage, model, cache):
    picture = drawing(model)
    (file,) = cache.iterdir()
    whole = level_of_detail._read(file, model)
    file.write_bytes(damage(file.read_bytes(), file))
    assert level_of_detail._read(file, model) is None
    forget()
    np.testing.assert_array_equal(drawing(model), picture)
    np.testing.assert_array_equal(level_of_detail._read(file, model).faces, whole.faces)


def test_cache_folder_that_cannot_be_written(model, cache, monkeypatch, tmp_path):
    picture = drawing(model)
    forget()
    (tmp_path / "file").touch()
    monkeypatch.setenv("L1FLOW_CACHE", str(tmp_path / "file"))
    np.testing.assert_array_equal(drawing(model), picture)
    assert len(level_of_detail._KEPT) == 1, "kept in memory"


def test_processes_at_once(tmp_path):
    """They find an empty cache together; all draw the same picture, and one whole file is left."""
    script = dedent("""
        import hashlib, sys, gymnasium as gym, l1flow_agents
        env = gym.make("Lift-v0", render_quality="fast")
        print("ready", flush=True)
        sys.stdin.readline()
        observation, _ = env.reset(seed=0)
        print(*(hashlib.sha256(observation[f"{camera}_image"]).hexdigest() for camera in env.unwrapped.cameras))
    """)
    start = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    variables = {**os.environ, "L1FLOW_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen([sys.executable, "-c", script], env=variables, **start) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    said = {process.communicate("go\n", timeout=120)[0] for process in processes}
    assert len(said) == 1 and len(said.pop().split()) == 2
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert [file.suffix for file in (tmp_path / "meshes").iterdir()] == [".npz"]
