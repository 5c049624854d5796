"""What the ``l1flow`` command understands."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from l1flow_agents.cli.demonstrations import (
    run_add_observations,
    run_collect,
    run_convert,
    run_download,
    run_generate,
    run_info,
    run_replay,
)
from l1flow_agents.cli.realtime import add_realtime
from l1flow_agents.cli.score import run_eval, run_export, run_rollout
from l1flow_agents.cli.train import run_compare, run_distill, run_train, settings_help
from l1flow_agents.cli.viewing import add_view
from l1flow_agents.seeds import COLLECTION_SEED, GENERATION_SEED, TEST_SEED

EXAMPLES = """examples:
  l1flow rollout --env PushT-v0                  film a published agent
  l1flow eval pusht-state -n 100                 score it on the test seeds
  l1flow collect --env Square-v0 -o square.hdf5  make demonstrations with the task's expert
  l1flow generate --env Square_D2-v0 --source square_d0.hdf5   make many from a few, in new scenes
  l1flow replay square.hdf5                      does the simulator repeat them?
  l1flow download pusht                          fetch the human demonstrations
  l1flow convert square.hdf5 square              the same for LeRobot; and back, from any format to any other
  l1flow view square.hdf5 -o page.html           look before you train: films, curves, statistics, plans
  l1flow train pusht-state training.seed=1       train; run again to continue after an interruption
  l1flow distill runs/ddpm/agent --method onedp --config pusht-state   one pass from a trained DDPM
  l1flow compare --env PushT-v0 --methods l1flow ddpm l1_regression --seeds 0 1 2
  l1flow export pusht-state -o pusht.onnx        its plan as one file for other programs
  l1flow run Lift-v0 --agent lift-state --hz 20  move an arm that does not wait
  l1flow info                                    versions, environments, agents
"""
Run = Callable[[argparse.Namespace], int]
Command = Callable[..., "CommandParser"]
"""``command(name, run, text, more_help)`` adds one."""


class CommandParser(argparse.ArgumentParser):
    """The parser of one command, whose help may end with something that takes a moment to make."""

    more_help: Callable[[], str] = str

    def format_help(self) -> str:
        return super().format_help() + self.more_help()


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="l1flow",
        description="Train, evaluate and film L1 Flow agents in Gymnasium environments.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=CommandParser)

    def command(name: str, run: Run, text: str, more_help: Callable[[], str] = str) -> CommandParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        added.more_help = more_help
        return added

    add_training(command)
    add_comparison(command)
    add_scoring(command)
    add_export(command)
    add_realtime(command)
    add_demonstrations(command)
    add_view(command)
    return top


def add_training(command: Command) -> None:
    one = command(
        "train",
        run_train,
        "Train an agent from demonstrations; continues what the run directory holds.",
        settings_help,
    )
    one.add_argument("config", help="name of a bundled configuration, or a YAML file")
    other = command(
        "distill",
        run_distill,
        "Distil a trained agent into a faster method; continues as train does.",
        settings_help,
    )
    other.add_argument("teacher", help="checkpoint: edm for consistency, ddpm for onedp")
    other.add_argument("--method", required=True, help="consistency or onedp")
    other.add_argument("--config", required=True, help="for data and training; name or YAML file")
    for sub, run_dir in ((one, "runs/CONFIG"), (other, "runs/METHOD")):
        sub.add_argument("overrides", nargs="*", metavar="part.setting=value", help="such as training.batch_size=64")
        sub.add_argument("--dataset", help="path or published name, instead of the configuration's")
        sub.add_argument("--filter-key", metavar="KEY", help="only demonstrations under mask/KEY, such as train")
        sub.add_argument("--run-dir", help=f"logs, checkpoints and the agent (default: {run_dir})")
        add_machine(sub)


def add_machine(sub: argparse.ArgumentParser) -> None:
    add_device(sub)
    sub.add_argument("--threads", type=positive, help="CPU threads of torch")


def add_device(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")


def add_cluster(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--cluster", nargs="?", const="auto", metavar="ADDRESS", help="spread over a Ray cluster")


def add_comparison(command: Command) -> None:
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
    comparison.add_argument("--workers", type=positive, help="trainings at a time (default: one a core; 5 on a GPU)")
    add_device(comparison)
    add_cluster(comparison)


def add_scoring(command: Command) -> None:
    evaluation = command("eval", run_eval, "Score an agent: success rate with its 95 %% interval, mean score.")
    evaluation.add_argument("agent", help="checkpoint folder, published name, or Hub id")
    rollout = command("rollout", run_rollout, "Film an agent, and score it on the way.")
    rollout.add_argument("agent", nargs="?", help="default: the published agent of --env")
    for sub, episodes, out in [(evaluation, 50, None), (rollout, 10, "rollouts")]:
        sub.add_argument("--env", help="environment id (default: the agent's)")
        sub.add_argument("-n", "--episodes", type=positive, default=episodes, help="default: %(default)s")
        sub.add_argument("--seed", type=int, default=TEST_SEED, help="of the first episode (default: %(default)s)")
        sub.add_argument("--n-envs", type=positive, help="environments (default: one a core, or three)")
        sub.add_argument(
            "--n-action-steps", type=positive, metavar="N", help="actions executed of a plan (default: the agent's)"
        )
        sub.add_argument("--success-key", type=some_text, default="is_success", help="of info (default: %(default)s)")
        sub.add_argument("--replan-every-step", action="store_true", help="no chunks, no state: the plainest loop")
        sub.add_argument("--output", default=out, help="folder for results.json and videos")
        sub.add_argument("--json", action="store_true", help="print results as JSON")
        add_machine(sub)
    add_cluster(evaluation)
    rollout.add_argument("--films", type=positive, default=4, help="episodes to film (default: %(default)s)")
    rollout.add_argument("--grid", action="store_true", help="one film with all of them")
    rollout.add_argument("--overlay", action="store_true", help="draw the plan")


def add_export(command: Command) -> None:
    export = command("export", run_export, "Write an agent's plan as one file, for programs without this library.")
    export.add_argument("agent", help="checkpoint folder, published name, or Hub id")
    export.add_argument("-o", "--output", required=True, metavar="FILE", help=".onnx, or .pt2 for torch.export")


def add_demonstrations(command: Command) -> None:
    collect = command("collect", run_collect, "Make demonstrations with a task's expert; run again to continue.")
    collect.add_argument("--env", required=True, help="environment id")
    collect.add_argument("-n", "--demos", type=positive, default=200, help="default: %(default)s")
    collect.add_argument("-o", "--output", required=True, help="robomimic file, such as square.hdf5")
    collect.add_argument(
        "--agent", help="acts first, and the expert takes over at a random step: corrections of this agent's mistakes"
    )
    collect.add_argument(
        "--extras", nargs="+", default=[], help="shown beyond the data sets' observation, such as peg1_quat"
    )
    collect.add_argument(
        "--seed", type=int, default=COLLECTION_SEED, help="of the first episode (default: %(default)s)"
    )

    generate = command(
        "generate",
        run_generate,
        "Make demonstrations from a few of them, by MimicGen's method; run again to continue.",
    )
    generate.add_argument("--env", required=True, help="environment id, any variant of the source's task")
    generate.add_argument("--source", required=True, help="robomimic file of delta actions, such as square_d0.hdf5")
    generate.add_argument("-n", "--demos", type=positive, default=200, help="default: %(default)s")
    generate.add_argument("-o", "--output", help="default: the environment's name, such as square_d2.hdf5")
    generate.add_argument(
        "--task", help="YAML file of the subtasks, or a name such as square (default: the task's own)"
    )
    generate.add_argument("--sources", type=positive, metavar="N", help="follow only the first N demonstrations")
    generate.add_argument("--filter-key", metavar="KEY", help="follow only those under mask/KEY")
    generate.add_argument("--noise", type=float, default=0.05, help="of actions, in their units (default: %(default)s)")
    generate.add_argument(
        "--seed", type=int, default=GENERATION_SEED, help="of the first attempt (default: %(default)s)"
    )

    again = command(
        "replay",
        run_replay,
        "Play demonstrations again; code 1 if one ends otherwise than its file says.",
    )
    again.add_argument("file", help="robomimic file")
    again.add_argument("--demos", type=positive, metavar="N", help="only the first N")
    again.add_argument("--filter-key", metavar="KEY", help="only those under mask/KEY, such as valid")

    observe = command(
        "add-observations",
        run_add_observations,
        "Observe the states of a robomimic file; run again to continue.",
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
    for sub in (collect, generate, observe):
        add_cluster(sub)

    other = command("convert", run_convert, "Write a data set in another format.")
    other.add_argument("source", help="data set of any format that is known")
    other.add_argument("output", help="new name: NAME.hdf5 is robomimic's, NAME.zarr a replay buffer, NAME LeRobot's")
    other.add_argument("--to", metavar="FORMAT", help="lerobot, minari, robomimic or zarr (default: as the name says)")
    other.add_argument("--keys", nargs="+", metavar="KEY", help="observations to take along (default: all)")
    other.add_argument("--filter-key", metavar="KEY", help="only episodes under mask/KEY, of a split or of a task")
    other.add_argument("--fps", type=float, help="steps a second, where the source does not say it")
    other.add_argument("--task", type=some_text, help="what the episodes do, where the source does not say it")
    other.add_argument("--video", action="store_true", help="LeRobot's pictures as H.264, not exact (default: PNG)")

    other.add_argument("--env", help="id of the environment, which Minari keeps to make it again")

    fetch = command("download", run_download, "Fetch a published data set; run again to continue a broken download.")
    fetch.add_argument("name", help="such as pusht")
    fetch.add_argument("--folder", help="default: $L1FLOW_DATA or ~/.cache/l1flow/data")
    fetch.add_argument("--url", help="a mirror")

    info = command("info", run_info, "Describe an agent or a data set; without one, this installation.")
    info.add_argument("name", nargs="?", help="checkpoint, published name, or data set")


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def some_text(text: str) -> str:
    """Text that is not empty, for argparse."""
    if not text:
        raise argparse.ArgumentTypeError("expected text that is not empty")
    return text
