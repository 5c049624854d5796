"""Draw many plans for one observation: where people went left or right, the agent keeps both ways.

    python examples/multimodality.py --output modes.png

Left: plans of the full two-step sampler. Right: what the first network evaluation alone predicts, before the one
integration step; it lies between the modes.
"""

import argparse
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from PIL import Image, ImageDraw

from l1flow_agents import L1FlowAgent
from l1flow_agents.data.normalizer import ACTION

# The finger stands at the foot of the T, which must come back along its own axis: one can go around either side.
SYMMETRIC_STATE = [213.0, 287.0, 300.0, 216.0, np.pi / 4]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", default="pusht-state")
    parser.add_argument("--plans", type=int, default=64)
    parser.add_argument("--state", type=float, nargs=5, default=SYMMETRIC_STATE, metavar="X")
    parser.add_argument("--output", type=Path, default=Path("modes.png"))
    args = parser.parse_args()

    agent = L1FlowAgent.load(args.agent)
    env = gym.make("PushT-v0", **agent.env_kwargs, render_mode="rgb_array")
    observation, _ = env.reset(seed=0, options={"reset_to_state": args.state})
    picture = np.asarray(env.render())

    plans = agent.sample(observation, args.plans)
    pictures = [draw(picture, plans), draw(picture, first_prediction(agent, observation, args.plans))]
    Image.fromarray(np.concatenate(pictures, axis=1)).save(args.output)
    spread = plans[:, -1].std(axis=0)
    print(f"{args.plans} plans, spread of their ends {spread[0]:.0f} x {spread[1]:.0f} pixels: {args.output}")


def first_prediction(agent: L1FlowAgent, observation: dict, n: int) -> np.ndarray:
    """What the network says of pure noise at t = 0: the first of the sampler's two evaluations."""
    history = {
        key: torch.from_numpy(np.stack([value] * agent.n_obs_steps)[None]).repeat_interleave(n, dim=0)
        for key, value in observation.items()
    }
    noise = torch.from_numpy(agent.noise(np.zeros(n, int), np.arange(n)))
    with torch.inference_mode():
        chunk = agent.policy.network(noise, torch.zeros(n), agent.policy.encode(history))
        return agent.policy.normalizer.unnormalize(ACTION, chunk).numpy()[:, agent.n_obs_steps - 1 :]


def draw(picture: np.ndarray, plans: np.ndarray) -> np.ndarray:
    """The picture with every plan as a line, coloured by the direction that it takes first."""
    canvas = Image.fromarray(picture)
    pen = ImageDraw.Draw(canvas)
    for plan in plans:
        dx, dy = plan[len(plan) // 2] - plan[0]
        hue = int(255 * (np.arctan2(dy, dx) / (2 * np.pi) % 1))
        colour = Image.new("HSV", (1, 1), (hue, 220, 200)).convert("RGB").getpixel((0, 0))
        pen.line([tuple(map(float, point)) for point in plan], fill=colour, width=2)
    return np.asarray(canvas)


if __name__ == "__main__":
    main()
