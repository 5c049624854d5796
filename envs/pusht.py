"""PushT on gym-pusht's simulator, with this library's observations and info."""

from __future__ import annotations

import os
import sys
import types
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from l1flow_agents.errors import ConfigError
from l1flow_agents.layouts import LAYOUTS

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

OBS_KEYS = {"image": ("image", "agent_pos"), "state": ("state",), "image_state": ("image", "agent_pos", "state")}
WINDOW = 512  # side of the world, pixels
IMAGE_SIZE = 96
OUTSIDE = 256  # pixels: the finger can squeeze the block through a wall, by about 90 at most when driven to


class PushT(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """Push a T-shaped block onto its mark with a round finger.

    **Observations** (dict): ``image`` (96, 96, 3) uint8; ``agent_pos`` (2,) float32, pixels of a 512 x 512 world;
    ``state`` (5,) float32: agent x, y, block x, y in pixels, block angle in [0, 2 pi] radians. ``obs_type`` chooses:
    ``image`` (image + agent_pos, the default), ``state`` (draws nothing) or ``image_state`` (all three).

    **Actions**: where the finger shall go, (2,) float32 pixels in 0..512 (else clipped), tracked by a PD controller for
    0.1 s.

    **Reward**: coverage of the mark / 0.95, at most 1. An episode is ``terminated`` when coverage exceeds 0.95 and
    truncated after 300 steps. ``info``: ``is_success``, ``coverage``, and ``score``, the highest reward so far, whose
    mean over episodes is what the literature reports.

    **Differences from Diffusion Policy's environment** (Chi et al. 2023): the same simulation, picture and reward,
    but start states come from ``reset(seed=)`` by NumPy's Generator with a uniform block angle (there: RandomState,
    normal angle), so equal seeds are different starts; pass ``options={"reset_to_state": [agent x, agent y, block x,
    block y, angle]}`` to choose one. Block positions follow that code's ``legacy`` order (position before angle).
    Images are uint8 HWC (there: float CHW), actions float32 and bounded.

    No OpenGL is used; pictures are drawn by pygame's software rasteriser.

    Args:
        obs_type: see above.
        render_mode: None or ``rgb_array``, for `render`; observations do not depend on it.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    layouts = {"state": LAYOUTS["PushT-v0"]}

    def __init__(self, obs_type: str = "image", render_mode: str | None = None) -> None:
        if obs_type not in OBS_KEYS:
            raise ConfigError(f"PushT: obs_type must be one of {sorted(OBS_KEYS)}, got {obs_type!r}")
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"PushT: render_mode must be None or 'rgb_array', got {render_mode!r}")
        self.obs_type, self.render_mode = obs_type, render_mode
        # The simulator's own observation is the cheap one; ours is read from its bodies.
        self._simulator = _simulator_class()(obs_type="state", render_mode="rgb_array")
        full_turn = np.float32(2 * np.pi)
        boxes: dict[str, spaces.Space] = {
            "image": spaces.Box(0, 255, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8),
            "agent_pos": spaces.Box(0, WINDOW, (2,), np.float32),
            "state": spaces.Box(
                np.array([0, 0, -OUTSIDE, -OUTSIDE, 0], np.float32),
                np.array([WINDOW, WINDOW, WINDOW + OUTSIDE, WINDOW + OUTSIDE, full_turn], np.float32),
            ),
        }
        self.observation_space: spaces.Dict = spaces.Dict({key: boxes[key] for key in OBS_KEYS[obs_type]})  # type: ignore[assignment]
        self.action_space = spaces.Box(0, WINDOW, (2,), np.float32)
        self._score = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        self._simulator.np_random = self.np_random
        state, _ = self._simulator.reset(options=options)
        self._score = 0.0
        coverage = round(float(self._simulator._get_coverage()), 12)
        return self._observe(state), {"is_success": False, "coverage": coverage, "score": 0.0}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        action = np.asarray(action)
        if action.shape != (2,) or action.dtype.kind not in "fiu" or not np.isfinite(action).all():
            raise ConfigError(f"PushT: expected a finite action of shape (2,), got {action.tolist()}")
        state, reward, success, _, info = self._simulator.step(np.clip(action, 0, WINDOW))
        # the simulator adds two areas in an order that changes from run to run, so the last bit does too
        reward, success = round(float(reward), 12), bool(success)
        self._score = max(self._score, reward)
        return (
            self._observe(state),
            reward,
            success,
            False,
            {"is_success": success, "coverage": round(float(info["coverage"]), 12), "score": self._score},
        )

    def render(self) -> np.ndarray | None:
        """The world as (512, 512, 3) uint8, or None without ``render_mode="rgb_array"``."""
        return self._picture() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        self._simulator.close()

    def action_to_pixel(self, actions: np.ndarray) -> np.ndarray:
        """Where actions (n, 2) lie in the picture of `render`, (n, 2) as x, y; for drawing a plan."""
        return np.asarray(actions)

    def _observe(self, state: np.ndarray) -> dict[str, np.ndarray]:
        state = state.astype(np.float32)
        if self.obs_type == "state":
            return {"state": state}
        observation = {"image": shrink(self._picture(), IMAGE_SIZE), "agent_pos": state[:2]}
        if self.obs_type == "image_state":
            observation["state"] = state
        return observation

    def _picture(self) -> np.ndarray:
        import pygame

        return pygame.surfarray.array3d(self._simulator._draw()).transpose(1, 0, 2)


def shrink(picture: np.ndarray, size: int) -> np.ndarray:
    """(H, W, 3) uint8 -> (size, size, 3) uint8, sampled bilinearly at the new pixels' centres.

    OpenCV's default, which made the published data, within a grey level; no dependence on its wheel, which needs libGL.
    """
    height, width = picture.shape[:2]
    y0, y1, fy = _taps(height, size)
    x0, x1, fx = _taps(width, size)
    top, bottom = picture[y0].astype(np.float32), picture[y1].astype(np.float32)
    rows = top + fy[:, None, None] * (bottom - top)
    return np.asarray(np.rint(rows[:, x0] + fx[:, None] * (rows[:, x1] - rows[:, x0])), np.uint8)


def _taps(length: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    centre = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    low = np.floor(centre).astype(int)
    return low, np.minimum(low + 1, length - 1), (centre - low).astype(np.float32)


def _simulator_class() -> type:
    """gym-pusht's environment. It imports OpenCV for a resize that we do not call; libGL may be missing for that."""
    try:
        import cv2  # noqa: F401
    except ImportError:
        sys.modules["cv2"] = types.ModuleType("cv2")
    from gym_pusht.envs.pusht import PushTEnv

    if not hasattr(sys.modules["cv2"], "resize"):
        del sys.modules["cv2"]
    simulator: type = PushTEnv
    return simulator
