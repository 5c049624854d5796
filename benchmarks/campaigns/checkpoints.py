"""What do hostile checkpoint folders do to `L1FlowAgent.load` and `l1flow info`? Each is tried in a watched process.

    python benchmarks/campaigns/checkpoints.py after
    PYTHONPATH=/path/of/another/checkout python benchmarks/campaigns/checkpoints.py before

writes its part of benchmarks/results/campaign_checkpoints.json. A case is bad where it ends in another exception than
the library's own, in a message of several lines, in code that ran or a file that was written, in a dead process, after
more than 5 seconds, or with more than 1 GB in memory.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import yaml
from hostile_checkpoints import CANARY, make_case, make_sources

from l1flow_agents import L1FlowAgent
from l1flow_agents.cli.describe import describe
from l1flow_agents.errors import L1FlowError

RESULTS = Path(__file__).parents[1] / "results" / "campaign_checkpoints.json"
SECONDS, MEGABYTES = 5.0, 1000  # beyond which a case is bad
KILL_AFTER = 6.0
ADDRESS_SPACE = 12 << 30  # so that a bad case meets an error and not the machine's end
INFO = 8  # every so many-th case is asked for by `l1flow info`
FORBIDDEN = {
    *["os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "pty.spawn", "subprocess.Popen"],
    *["socket.connect", "shutil.rmtree", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.chmod"],
    *["pickle.find_class", "code.__new__"],
}


@dataclass
class Outcome:
    """How one case ended."""

    number: int
    kind: str
    way: str
    ended: str
    """``refused``, ``loaded``, ``raw exception``, ``several lines``, ``executed``, ``hang`` or ``crash``."""
    said: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0
    acts: str = ""
    """What `predict` said of a loaded agent, where it did not give an action."""

    @property
    def bad(self) -> bool:
        slow = self.seconds > SECONDS or self.megabytes > MEGABYTES
        return slow or self.ended not in ("refused", "loaded")


# ---- the watched process ------------------------------------------------------------------------------------------


class Watch:
    """Notes what no reading of a file should do, while ``on``."""

    def __init__(self) -> None:
        self.on, self.seen = False, list[str]()
        sys.addaudithook(self.hear)

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if event in FORBIDDEN or writes or (event == "import" and args[0].startswith(CANARY)):
            self.seen.append(f"{event} {str(args)[:200]}")


def now(process: int) -> float:
    """Seconds, less those for which the process was ready and other processes had the cores."""
    waited = int(Path(f"/proc/{process}/schedstat").read_text().split()[1])
    return time.monotonic() - waited / 1e9


def serve(connection: Connection) -> None:
    """Answer (name, way) with how it ended, until there is nothing more to answer."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    watch = Watch()
    while True:
        try:
            name, way = connection.recv()
        except EOFError:
            return
        connection.send(attempt(name, way, watch))


def attempt(name: Any, way: str, watch: Watch) -> dict[str, Any]:
    agent, said = None, ""
    watch.seen.clear()
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory counts from here
    started = now(os.getpid())
    watch.on = True
    try:
        if way == "load":
            agent = L1FlowAgent.load(name, device="cpu")
        else:
            yaml.safe_dump(describe(name), sort_keys=False, width=120)
        ended = "loaded"
    except L1FlowError as error:
        said = str(error)
        ended = "refused" if said.strip() and "\n" not in said and len(said) < 2000 else "several lines"
    except BaseException as error:  # whatever it is, it is what the campaign looks for
        ended, said = "raw exception", f"{type(error).__name__}: {str(error)[:200]}"
    watch.on = False
    seconds = now(os.getpid()) - started
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    if watch.seen or Path(CANARY).exists():
        ended, said = "executed", f"{watch.seen} {said}"
    acts = "" if agent is None else acted(agent)
    return {"ended": ended, "said": said[:500], "seconds": seconds, "megabytes": peak / 1024, "acts": acts}


def acted(agent: L1FlowAgent) -> str:
    try:
        agent.predict(agent.observation_space.sample())
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return ""


# ---- the campaign -------------------------------------------------------------------------------------------------


class Served:
    """A watched process, a copy of this one with all imported, and a new one when it is gone."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("fork")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, name: Any, way: str) -> dict[str, Any]:
        assert self.process.pid is not None
        started = now(self.process.pid)
        self.connection.send((name, way))
        try:
            while not self.connection.poll(0.5):
                if now(self.process.pid) - started > KILL_AFTER:
                    break
            else:
                answer: dict[str, Any] = self.connection.recv()
                return answer
            ended = {"ended": "hang", "seconds": KILL_AFTER}
        except EOFError:
            ended = {"ended": "crash"}
        self.stop()
        self.start()
        return ended

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def campaign(n: int, seed: int, first: int = 0) -> Iterator[Outcome]:
    """Cases ``first`` .. ``n`` - 1."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sources = make_sources(folder / "sources")
        (folder / "work").mkdir()
        os.chdir(folder / "work")
        L1FlowAgent.load(sources[0])  # what a first use costs is no case's fault
        describe(str(sources[0]))
        served = Served()
        for number in range(first, n):
            case = folder / f"case{number}"
            kind, name = make_case(number, seed, sources, case)
            way = "info" if number % INFO == 0 and isinstance(name, str | Path) else "load"
            yield Outcome(number, kind, way, **served.ask(name, way))
            shutil.rmtree(case, ignore_errors=True)
            case.with_name(f"{case.name}.blob").unlink(missing_ok=True)
        served.stop()
        os.chdir("/")


def summary(outcomes: list[Outcome], seed: int) -> dict[str, Any]:
    slowest = sorted(outcomes, key=lambda outcome: -outcome.seconds)[:10]
    bad = [outcome for outcome in outcomes if outcome.bad]
    alive = [outcome for outcome in outcomes if outcome.ended not in ("hang", "crash")]
    return {
        "cases": len(outcomes),
        "seed": seed,
        "ended": dict(Counter(outcome.ended for outcome in outcomes).most_common()),
        "bad": len(bad),
        f"over {SECONDS:g} s": sum(outcome.seconds > SECONDS for outcome in outcomes),
        f"over {MEGABYTES} MB": sum(outcome.megabytes > MEGABYTES for outcome in outcomes),
        "slowest that ended, s": round(max(outcome.seconds for outcome in alive), 2),
        "largest memory, MB": round(max(outcome.megabytes for outcome in alive)),
        "loaded, but predict fails": sum(bool(outcome.acts) for outcome in outcomes),
        "slowest": [f"{one.number} {one.kind}: {one.seconds:.2f} s, {one.said[:100]}" for one in slowest],
        "by kind": {
            kind: dict(Counter(outcome.ended for outcome in outcomes if outcome.kind == kind).most_common())
            for kind in sorted({outcome.kind for outcome in outcomes})
        },
        "bad cases": [
            {**asdict(outcome), "said": outcome.said[:160], "seconds": round(outcome.seconds, 2)} for outcome in bad
        ],
    }


def record(output: Path, label: str, result: dict[str, Any]) -> None:
    known = json.loads(output.read_text()) if output.exists() else {}
    output.write_text(json.dumps({**known, label: result}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("label", help="the part of the file that is written, such as before or after")
    parser.add_argument("--cases", type=int, default=1700)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    output = arguments.output.absolute()
    sys.dont_write_bytecode = True
    os.environ["HF_HUB_OFFLINE"] = "1"
    importlib.import_module("huggingface_hub")  # slow; some names need it
    torch.set_num_threads(1)
    outcomes = []
    for outcome in campaign(arguments.cases, arguments.seed, arguments.first):
        outcomes.append(outcome)
        if outcome.number % 50 == 49:
            record(output, arguments.label, summary(outcomes, arguments.seed))
        if outcome.bad or outcome.acts:
            print(json.dumps(asdict(outcome))[:700], flush=True)
    result = summary(outcomes, arguments.seed)
    record(output, arguments.label, result)
    print(json.dumps({key: value for key, value in result.items() if key != "bad cases"}, indent=1))


if __name__ == "__main__":
    main()
