"""Train a PushT agent on the human demonstrations, score it while it learns, and save it.

    l1flow download pusht
    python examples/train_pusht.py --steps 30000

Run the same command again after an interruption: it goes on where it stopped.
"""

import argparse

import gymnasium as gym
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.monitor import Monitor

from l1flow_agents import L1FlowAgent, open_dataset
from l1flow_agents.data.download import locate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="pusht", help="published name or path")
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--eval-every", type=int, default=5_000)
    parser.add_argument("--eval-episodes", type=int, default=10)
    parser.add_argument("--run-dir", default="runs/pusht")
    args = parser.parse_args()

    env = gym.make("PushT-v0", obs_type="state")
    demonstrations = open_dataset(locate(args.dataset), keys=["state"])
    agent = L1FlowAgent("mlp", env, encoder_kwargs={"fourier": 2}, network_kwargs={"width": 384, "depth": 4})

    eval_env = Monitor(gym.make("PushT-v0", obs_type="state"))
    callbacks = [
        EvalCallback(
            eval_env,
            eval_freq=args.eval_every,
            n_eval_episodes=args.eval_episodes,
            best_model_save_path=args.run_dir,
        ),
        CheckpointCallback(save_freq=args.eval_every, save_path=f"{args.run_dir}/snapshots"),
    ]
    agent.learn(
        demonstrations,
        args.steps,
        callbacks,
        progress_bar=True,
        run_dir=args.run_dir,
        learning_rate=3e-4,
        history_dropout=0.2,
    )
    agent.save(f"{args.run_dir}/agent")
    print("agent:", f"{args.run_dir}/agent")


if __name__ == "__main__":
    main()
