"""Put an agent into scripts that were written for stable-baselines3 or for plain Gymnasium.

python examples/evaluate_with_sb3.py --agent pusht-state
"""

import argparse

import gymnasium as gym
import numpy as np
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from l1flow_agents import L1FlowAgent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", default="pusht-state")
    parser.add_argument("--episodes", type=int, default=4)
    args = parser.parse_args()
    agent = L1FlowAgent.load(args.agent)
    if agent.env_id is None:
        parser.error(f"{args.agent} was made from bare spaces and names no environment")

    # stable-baselines3: any evaluation script takes the agent where it took a model
    vec_env = make_vec_env(agent.env_id, n_envs=2, seed=0, env_kwargs=agent.env_kwargs)
    mean, std = evaluate_policy(agent, vec_env, n_eval_episodes=args.episodes)
    print(f"evaluate_policy: return {mean:.1f} +- {std:.1f}")

    # Gymnasium: hand the state back, and a plan is made only when the last one is used up
    env = gym.make(agent.env_id, **agent.env_kwargs)
    successes = []
    for seed in range(args.episodes):
        observation, info = env.reset(seed=seed)
        state, done = None, False
        while not done:
            action, state = agent.predict(observation, state)
            observation, _, terminated, truncated, info = env.step(action)
            done = terminated or truncated
        successes.append(info["is_success"])
    print(f"plain loop: success {np.mean(successes):.2f}")


if __name__ == "__main__":
    main()
