"""The ``l1flow`` command. Exit codes: 0 done, 1 ran and failed, 2 wrong usage."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence

import gymnasium as gym
from tqdm import tqdm

from l1flow_agents.cli.parser import parser
from l1flow_agents.errors import DownloadError, L1FlowError, TrainingError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; ``argv`` defaults to the command line."""
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = read(words)
    arguments.command_line = shlex.join(["l1flow", *words])
    say_what_is_logged()
    try:
        set_threads(getattr(arguments, "threads", None))
        return int(arguments.run(arguments))
    except (L1FlowError, gym.error.Error) as error:
        print(f"l1flow: error: {error}", file=sys.stderr)
        return 1 if isinstance(error, (DownloadError, RuntimeError, TrainingError)) else 2
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


class Said(logging.Handler):
    """Prints what the package logs, above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(record.getMessage(), file=sys.stderr)


def say_what_is_logged() -> None:
    log = logging.getLogger("l1flow_agents")
    if not any(isinstance(handler, Said) for handler in log.handlers):
        log.addHandler(Said())
        log.setLevel(logging.INFO)


def set_threads(n: int | None) -> None:
    if n is not None:
        import torch

        torch.set_num_threads(n)
