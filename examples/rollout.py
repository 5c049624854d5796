"""Film an agent in its environment.

    python examples/rollout.py --env Square-v0

Prints the success rate with its interval, and leaves videos and results.json in rollouts/.
"""

import argparse
from pathlib import Path

from l1flow_agents import L1FlowAgent, evaluate
from l1flow_agents.evaluation import default_agent
from l1flow_agents.video import VideoRecorder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="Square-v0")
    parser.add_argument("--agent", help="checkpoint folder, published name or Hub id (default: the published one)")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=100_000)
    parser.add_argument("--output", type=Path, default=Path("rollouts"))
    parser.add_argument("--overlay", action="store_true", help="draw the plan (PushT)")
    args = parser.parse_args()

    agent = L1FlowAgent.load(args.agent or default_agent(args.env))
    film = VideoRecorder(args.output, episodes=range(4), grid=True, overlay=args.overlay)
    result = evaluate(agent, args.env, args.episodes, args.seed, video=film, progress_bar=True)
    result.save(args.output / "results.json")

    print(result)
    print("video:  ", *result.videos)
    print("results:", args.output / "results.json")


if __name__ == "__main__":  # workers are spawned and import this file
    main()
