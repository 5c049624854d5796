"""The ``l1flow`` command. Exit codes: 0 done, 1 ran and failed, 2 wrong usage."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import yaml

from l1flow_agents.errors import DownloadError, L1FlowError
from l1flow_agents.seeds import COLLECTION_SEED, GENERATION_SEED, TEST_SEED

EXAMPLES = """examples:
  l1flow rollout --env PushT-v0                  film a published agent
  l1flow eval pusht-state -n 100                 score it on the test seeds
  l1flow collect --env Square-v0 -o square.hdf5  make demonstrations with the task's expert
  l1flow generate --env Square_D2-v0 --source square_d0.hdf5   make many from a few, in new scenes
  l1flow replay square.hdf5                      does the simulator repeat them?
  l1flow download pusht                          fetch the human demonstrations
  l1flow train pusht-state training.seed=1       train; run again to continue after an interruption
  l1flow distill runs/ddpm/agent --method onedp --config pusht-state   one pass from a trained DDPM
  l1flow compare --env PushT-v0 --methods l1flow ddpm l1_regression --seeds 0 1 2
  l1flow info                                    versions, environments, agents
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; ``argv`` defaults to the command line."""
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = read(words)
    arguments.command_line = shlex.join(["l1flow", *words])
    try:
        set_threads(getattr(arguments, "threads", None))
        return int(arguments.run(arguments))
    except (L1FlowError, gym.error.Error) as error:
        print(f"l1flow: error: {error}", file=sys.stderr)
        return 1 if isinstance(error, (DownloadError, RuntimeError)) else 2
    except KeyboardInterrupt:
        print("l1flow: interrupted", file=sys.stderr)
        return 130


def read(words: Sequence[str]) -> argparse.Namespace:
    """The command line, taken apart."""
    top = parser()
    arguments, rest = top.parse_known_args(words)
    # argparse takes overrides only where they stand together; the others, behind an option, come back as the rest
    late = [word for word in rest if "=" in word and not word.startswith("-") and hasattr(arguments, "overrides")]
    if unknown := [word for word in rest if word not in late]:
        top.error(f"unrecognized arguments: {' '.join(unknown)}")
    if late:
        arguments.overrides += late
    return arguments


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="l1flow",
        description="Train, evaluate and film L1 Flow agents in Gymnasium environments.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    train = command("train", run_train, "Train an agent from demonstrations; continues what the run directory holds.")
    train.add_argument("config", help="name of a bundled configuration, or a YAML file")
    train.add_argument("overrides", nargs="*", metavar="part.setting=value", help="such as training.batch_size=64")
    train.add_argument("--dataset", help="path or published name, instead of the configuration's")
    train.add_argument("--run-dir", help="logs, checkpoints and the agent (default: runs/CONFIG)")
    train.add_argument("--device", default="auto", help="auto, cpu or cuda")
    train.add_argument("--threads", type=positive, help="CPU threads of torch")

    distill = command("distill", run_distill, "Distil a trained agent into a faster method; continues as train does.")
    distill.add_argument("teacher", help="checkpoint: edm for consistency, ddpm for onedp")
    distill.add_argument("overrides", nargs="*", metavar="part.setting=value", help="such as training.total_steps=2000")
    distill.add_argument("--method", required=True, help="consistency or onedp")
    distill.add_argument("--config", required=True, help="for data and training; name or YAML file")
    distill.add_argument("--dataset", help="path or published name, instead of the configuration's")
    distill.add_argument("--run-dir", help="default: runs/METHOD")
    distill.add_argument("--device", default="auto", help="auto, cpu or cuda")
    distill.add_argument("--threads", type=positive, help="CPU threads of torch")

    comparison = command(
        "compare",
        run_compare,
        "Train and score methods on the same data, network, seeds and budget; adds to what is there.",
    )
    comparison.add_argument("overrides", nargs="*", metavar="part.setting=value", help="of the configuration")
    comparison.add_argument("--env", required=True, help="environment id")
    comparison.add_argument("--methods", nargs="+", metavar="NAME", help="default: all of --systems")
    comparison.add_argument("--seeds", nargs="+", type=int, default=[0], help="default: 0")
    comparison.add_argument("--config", help="for data, network and training (default: ENV-state)")
    comparison.add_argument("--systems", metavar="FILE", help="YAML of what can be compared (default: the paper's)")
    budget = comparison.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=positive, help="of every training (default: the configuration's)")
    budget.add_argument("--seconds", type=float, help="of every training, instead of steps")
    comparison.add_argument("-n", "--episodes", type=positive, default=100, help="a seed (default: %(default)s)")
    comparison.add_argument(
        "--curve", type=int, default=5, metavar="N", help="evaluations while it trains (default: %(default)s)"
    )
    comparison.add_argument("--output", help="folder to continue or to fill (default: runs/compare/ENV)")
    comparison.add_argument("--workers", type=positive, help="trainings at a time (default: one a core)")
    comparison.add_argument("--cluster", nargs="?", const="auto", metavar="ADDRESS", help="spread over a Ray cluster")

    evaluation = command("eval", run_eval, "Score an agent: success rate with its 95 %% interval, mean score.")
    evaluation.add_argument("agent", help="checkpoint folder, published name, or Hub id")
    rollout = command("rollout", run_rollout, "Film an agent, and score it on the way.")
    rollout.add_argument("agent", nargs="?", help="default: the published agent of --env")
    for sub, episodes, out in [(evaluation, 50, None), (rollout, 10, "rollouts")]:
        sub.add_argument("--env", help="environment id (default: the agent's)")
        sub.add_argument("-n", "--episodes", type=positive, default=episodes, help="default: %(default)s")
        sub.add_argument("--seed", type=int, default=TEST_SEED, help="of the first episode (default: %(default)s)")
        sub.add_argument("--n-envs", type=positive, help="processes (default: one a core)")
        sub.add_argument("--replan-every-step", action="store_true", help="no chunks, no state: the plainest loop")
        sub.add_argument("--output", default=out, help="folder for results.json and videos")
        sub.add_argument("--json", action="store_true", help="print results as JSON")
        sub.add_argument("--threads", type=positive, help="CPU threads of torch")
    rollout.add_argument("--films", type=positive, default=4, help="episodes to film (default: %(default)s)")
    rollout.add_argument("--grid", action="store_true", help="one film with all of them")
    rollout.add_argument("--overlay", action="store_true", help="draw the plan")

    collect = command("collect", run_collect, "Make demonstrations with a task's expert; run again to continue.")
    collect.add_argument("--env", required=True, help="environment id")
    collect.add_argument("-n", "--demos", type=positive, default=200, help="default: %(default)s")
    collect.add_argument("-o", "--output", required=True, help="robomimic file, such as square.hdf5")
    collect.add_argument(
        "--seed", type=int, default=COLLECTION_SEED, help="of the first episode (default: %(default)s)"
    )

    generate = command(
        "generate", run_generate, "Make demonstrations from a few of them, by MimicGen's method; run again to continue."
    )
    generate.add_argument("--env", required=True, help="environment id, any variant of the source's task")
    generate.add_argument("--source", required=True, help="robomimic file of delta actions, such as square_d0.hdf5")
    generate.add_argument("-n", "--demos", type=positive, default=200, help="default: %(default)s")
    generate.add_argument("-o", "--output", help="default: the environment's name, such as square_d2.hdf5")
    generate.add_argument("--task", help="YAML file of the subtasks, for a task that does not know its own")
    generate.add_argument("--sources", type=positive, metavar="N", help="follow only the first N demonstrations")
    generate.add_argument("--filter-key", metavar="KEY", help="follow only those under mask/KEY")
    generate.add_argument("--noise", type=float, default=0.05, help="of actions, in their units (default: %(default)s)")
    generate.add_argument(
        "--seed", type=int, default=GENERATION_SEED, help="of the first attempt (default: %(default)s)"
    )

    again = command("replay", run_replay, "Play demonstrations again; code 1 if one ends otherwise than its file says.")
    again.add_argument("file", help="robomimic file")
    again.add_argument("--demos", type=positive, metavar="N", help="only the first N")
    again.add_argument("--filter-key", metavar="KEY", help="only those under mask/KEY, such as valid")

    observe = command(
        "add-observations", run_add_observations, "Observe the states of a robomimic file; run again to continue."
    )
    observe.add_argument("file", help="robomimic file, raw or not")
    observe.add_argument("-o", "--output", required=True, help="another file")
    kinds = ["state", "image", "image_state"]
    observe.add_argument("--obs-type", choices=kinds, default="state", help="default: %(default)s")
    observe.add_argument("--cameras", nargs="+", metavar="CAMERA", help="default: the task's")
    observe.add_argument("--image-size", type=positive, metavar="N", help="pixels a side (default: the task's)")
    observe.add_argument(
        "--render-quality", choices=["dataset", "fast"], default="dataset", help="default: %(default)s"
    )
    observe.add_argument(
        "--actions", choices=["same", "absolute", "rotation-6d"], default="same", help="default: the file's own"
    )

    for sub in (collect, generate, again, observe):
        sub.add_argument("--workers", type=positive, default=os.cpu_count(), help="processes (default: one a core)")

    fetch = command("download", run_download, "Fetch a published data set; run again to continue a broken download.")
    fetch.add_argument("name", help="such as pusht")
    fetch.add_argument("--folder", help="default: $L1FLOW_DATA or ~/.cache/l1flow/data")
    fetch.add_argument("--url", help="a mirror")

    info = command("info", run_info, "Describe an agent or a data set; without one, this installation.")
    info.add_argument("name", nargs="?", help="checkpoint, published name, or data set")
    return top


def run_train(arguments: argparse.Namespace) -> int:
    from l1flow_agents.experiments.run import read_experiment, run_experiment

    experiment = read_experiment(arguments.config, arguments.overrides)
    if arguments.dataset:
        experiment["dataset"] = arguments.dataset
    run_dir = Path(arguments.run_dir or Path("runs") / Path(arguments.config).stem)
    print(yaml.safe_dump(experiment, sort_keys=False), end="")
    run_experiment(experiment, run_dir, arguments.device)
    print(f"agent: {run_dir / 'agent'}")
    return 0


def run_distill(arguments: argparse.Namespace) -> int:
    from l1flow_agents.experiments.run import read_experiment, run_experiment

    experiment = read_experiment(arguments.config, arguments.overrides)
    experiment["teacher"] = arguments.teacher
    experiment["agent"]["method"] = arguments.method
    if arguments.dataset:
        experiment["dataset"] = arguments.dataset
    run_dir = Path(arguments.run_dir or Path("runs") / arguments.method)
    agent = run_experiment(experiment, run_dir, arguments.device)
    print(f"agent: {run_dir / 'agent'}")
    taught = agent.provenance.teacher["steps_done"]
    print(f"extra training: {agent.num_timesteps} steps beside the {taught} of its teacher")
    return 0


def run_compare(arguments: argparse.Namespace) -> int:
    from l1flow_agents.comparison import compare, read_systems

    output = Path(arguments.output or Path("runs") / "compare" / arguments.env.split(":")[-1])
    compare(
        arguments.env,
        arguments.methods or list(read_systems(arguments.systems)),
        arguments.seeds,
        output,
        config=arguments.config,
        overrides=arguments.overrides,
        systems=arguments.systems,
        steps=arguments.steps,
        seconds=arguments.seconds,
        n_episodes=arguments.episodes,
        n_curve=arguments.curve,
        n_workers=arguments.workers,
        cluster=arguments.cluster,
        command=arguments.command_line,
        progress_bar=True,
    )
    print((output / "compare.md").read_text(), end="")
    print(output / "compare.html")
    return 0


def run_eval(arguments: argparse.Namespace) -> int:
    return _evaluate(arguments, arguments.agent, video=None)


def run_rollout(arguments: argparse.Namespace) -> int:
    from l1flow_agents.evaluation import default_agent
    from l1flow_agents.video import VideoRecorder

    if not (arguments.agent or arguments.env):
        print("l1flow rollout: error: expected an agent or --env", file=sys.stderr)
        return 2
    video = VideoRecorder(arguments.output, range(arguments.films), grid=arguments.grid, overlay=arguments.overlay)
    return _evaluate(arguments, arguments.agent or default_agent(arguments.env), video)


def _evaluate(arguments: argparse.Namespace, name: str, video: Any) -> int:
    from l1flow_agents.agent import L1FlowAgent
    from l1flow_agents.evaluation import evaluate

    agent = L1FlowAgent.load(name)
    result = evaluate(
        agent,
        arguments.env,
        arguments.episodes,
        arguments.seed,
        arguments.n_envs,
        chunked=not arguments.replan_every_step,
        video=video,
        progress_bar=not arguments.json,
    )
    result.agent = name
    if arguments.output:
        result.save(Path(arguments.output) / "results.json", command=arguments.command_line)
    if arguments.json:
        print(json.dumps(result.to_dict()))
    else:
        print(result)
        for path in [*result.videos, *([Path(arguments.output) / "results.json"] if arguments.output else [])]:
            print(path)
    return 1 if result.failed else 0


def run_collect(arguments: argparse.Namespace) -> int:
    from l1flow_agents.demonstrations.collection import collect

    done = collect(
        arguments.env, arguments.demos, arguments.output, arguments.workers, arguments.seed, progress_bar=True
    )
    print(f"{arguments.output}: {done.n_demos} demonstrations; the expert's success rate {done}")
    return 0


def run_generate(arguments: argparse.Namespace) -> int:
    from l1flow_agents.demonstrations.generation import generate

    output = arguments.output or f"{arguments.env.split(':')[-1].rpartition('-v')[0].lower()}.hdf5"
    done = generate(
        arguments.env,
        arguments.source,
        arguments.demos,
        output,
        arguments.task,
        arguments.sources,
        arguments.filter_key,
        arguments.noise,
        arguments.workers,
        arguments.seed,
        progress_bar=True,
    )
    print(f"{output}: {done.n_demos} demonstrations; the attempts' success rate {done}")
    return 0


def run_replay(arguments: argparse.Namespace) -> int:
    from l1flow_agents.demonstrations.playback import replay

    done = []
    for one in replay(arguments.file, arguments.demos, arguments.workers, arguments.filter_key):
        print(one, flush=True)
        done.append(one)
    n_agreeing = sum(one.agrees for one in done)
    print(
        f"{n_agreeing} of {len(done)} episodes end as the file says; largest difference "
        f"{max(one.metres for one in done):.2g} m, {max(one.radians for one in done):.2g} rad"
    )
    return 0 if n_agreeing == len(done) else 1


def run_add_observations(arguments: argparse.Namespace) -> int:
    from l1flow_agents.demonstrations.observing import add_observations

    n_demos = add_observations(
        arguments.file,
        arguments.output,
        arguments.obs_type,
        arguments.cameras,
        arguments.image_size,
        arguments.render_quality,
        arguments.actions,
        arguments.workers,
        progress_bar=True,
    )
    print(f"{arguments.output}: {n_demos} demonstrations")
    return 0


def run_download(arguments: argparse.Namespace) -> int:
    from l1flow_agents.data.download import download

    print(download(arguments.name, arguments.folder, arguments.url))
    return 0


def run_info(arguments: argparse.Namespace) -> int:
    from l1flow_agents.cli import describe

    print(yaml.safe_dump(describe.describe(arguments.name), sort_keys=False, width=120), end="")
    return 0


def set_threads(n: int | None) -> None:
    if n is not None:
        import torch

        torch.set_num_threads(n)


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)
