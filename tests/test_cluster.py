"""Promise: a Ray cluster makes what one machine makes, though its workers and machines die."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("ray")
pytest.importorskip("robosuite", reason="the simulator of these tasks is not installed")

import ray
from ray.cluster_utils import Cluster
from test_comparison import experiment  # noqa: F401  (a fixture)
from test_evaluation import COUNTER, counting  # noqa: F401  (a fixture)
from test_replay import contents, wait_for

from l1flow_agents import evaluate, parallel
from l1flow_agents.cli import main
from l1flow_agents.comparison import compare
from l1flow_agents.demonstrations.collection import collect
from l1flow_agents.demonstrations.observing import observer
from l1flow_agents.errors import ConfigError, DatasetError, WorkerError
from l1flow_agents.parallel import in_order, in_order_by
from l1flow_agents.versions import versions

# A killed machine is missed after 1.2 s, a busy one after a minute.
SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 200, "health_check_failure_threshold": 6}


class Machines:
    """A head without cores, and two machines of one core each."""

    def __init__(self) -> None:
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": SOON})
        self.address = self.cluster.address
        self.raylets: list[int] = []

    def two(self) -> Machines:
        """With as many as were killed replaced."""
        while len(self.raylets) < 2:
            self.raylets.append(self.cluster.add_node(num_cpus=1).all_processes["raylet"][0].process.pid)
        return self

    def busy(self) -> dict[int, int]:
        """Processes that work for us -> their machines."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent in self.raylets and (folder / "cmdline").read_bytes().startswith(b"ray::l1flow"):
                    found[int(folder.name)] = parent
        return found

    def kill(self) -> None:
        """As if the power failed, at a machine that works if there is one."""
        raylet = [*self.busy().values(), *self.raylets][0]
        self.raylets.remove(raylet)
        os.kill(raylet, signal.SIGKILL)


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        made = Machines()
        folder = made.cluster.head_node.get_session_dir_path()
        yield made
        made.cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def address(machines) -> Iterator[str]:
    """Of two machines, to which this program is connected already: workers need not start for every test."""
    ray.init(machines.two().address, log_to_driver=False)
    yield machines.address
    assert ray.is_initialized()
    ray.shutdown()


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """Four demonstrations, collected by one process in one go."""
    path = tmp_path_factory.mktemp("here") / "lift.hdf5"
    collect("Lift-v0", 4, path)
    return path


# ---- what people run ------------------------------------------------------------------------------------------------


def test_command_worker_and_machine_are_killed_and_the_file_is_the_same(machines, here, tmp_path):
    parts, output = tmp_path / "lift.hdf5.parts", tmp_path / "lift.hdf5"
    argv = ["collect", "--env", "Lift-v0", "-n", "4", "-o", str(output), "--cluster", machines.two().address]
    command = [sys.executable, "-m", "l1flow_agents.cli", *argv]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for((parts / "demo_0.hdf5").exists, process)
    process.kill()
    process.wait()
    wait_for(lambda: not machines.busy(), seconds=20)

    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for(machines.busy, process)
    os.kill(next(iter(machines.busy())), signal.SIGKILL)
    wait_for(lambda: (parts / "demo_1.hdf5").exists() and machines.busy(), process)
    machines.kill()
    assert process.wait() == 0
    assert contents(output) == contents(here)
    assert os.listdir(tmp_path) == ["lift.hdf5"]


def test_workers_know_the_programs_environments_and_no_torch(machines):
    """Until one asks for it: the package alone does not import it."""
    gym.register("SentThere-v0", entry_point=lambda: gym.make("CartPole-v1"))
    try:
        asked = [machines.two().address, "SentThere-v0"]
        made = in_order(lambda env_id: (gym.make(env_id).spec.id, "torch" in sys.modules), asked[1:], 1, asked[0])
        assert list(made) == [("SentThere-v0", False)]
    finally:
        del gym.registry["SentThere-v0"]


@pytest.mark.parametrize(("elsewhere", "reason"), [("127.0.0.1:1", "Connection refused"), ("nonsense", "Invalid")])
def test_no_cluster(elsewhere, reason):
    with pytest.raises(ConfigError, match=f"no Ray cluster at '{elsewhere}': .*{reason}"):
        list(in_order(abs, [1], 1, elsewhere))


def test_what_is_observed_and_generated(address, here, tmp_path):
    task = tmp_path / "lift.yaml"
    task.write_text("bodies: {cube: cube_main}\nsubtasks: [{object: cube}]")
    for name, where in [("one", ["--workers", "1"]), ("many", ["--cluster", address])]:
        seen, made = (str(tmp_path / name / file) for file in ("seen.hdf5", "made.hdf5"))
        (tmp_path / name).mkdir()
        assert main(["add-observations", str(here), "-o", seen, "--actions", "absolute", *where]) == 0
        generating = ["generate", "--env", "Lift-v0", "--source", str(here), "--task", str(task), "-n", "1"]
        assert main([*generating, "-o", made, *where]) == 0
    for name in ["seen.hdf5", "made.hdf5"]:
        assert contents(tmp_path / "one" / name) == contents(tmp_path / "many" / name)


def test_scores_are_those_of_one_machine(address, counting):  # noqa: F811
    settings = {"n_episodes": 4, "seed": 0, "env_kwargs": {"bad_seed": 1, "how": "kill"}}
    here = evaluate(counting, COUNTER, n_envs=1, **settings)
    there = evaluate(counting, COUNTER, cluster=address, **settings)
    assert there.episodes == here.episodes and len(there.failed) == 1 and there.n_envs == 1
    with pytest.raises(ConfigError, match="expected no n_envs, workers, video"):
        evaluate(counting, COUNTER, n_envs=2, cluster=address)


def test_eval_prints_the_same(address, capsys):
    argv = ["eval", "pusht-state", "-n", "2", "--json"]
    assert main([*argv, "--n-envs", "1"]) == 0
    here = json.loads(capsys.readouterr().out)
    assert main([*argv, "--cluster", address]) == 0
    there = json.loads(capsys.readouterr().out)
    clock = {"seconds": 0, "timing": None}
    assert there | clock == here | clock
    assert main([*argv, "--cluster", address, "--device", "cuda"]) == 2
    assert "expected device cpu, got 'cuda'" in capsys.readouterr().err


def test_a_comparison(address, experiment):  # noqa: F811
    compare(
        *("PushT-v0", ["l1_regression"], [0], "out"),
        **{"config": "tiny.yaml", "steps": 4, "n_episodes": 1, "n_curve": 0, "cluster": address},
    )
    assert Path("out/runs/l1_regression-seed0/result.json").is_file()


# ---- in_order -------------------------------------------------------------------------------------------------------


@contextmanager
def noting(folder: Path) -> Iterator[Callable[[int], tuple]]:
    """Yields what notes every item that it finishes, and says who did it."""
    made = time.monotonic()

    def note(number: int) -> tuple:
        time.sleep(0.1)
        with (folder / "notes").open("a") as file:
            file.write(f"{number}\n")
        return number, os.getpid(), made, np.zeros(100_000)

    yield note


def test_what_is_finished_is_not_done_again(machines, address, tmp_path):
    def notes() -> list[str]:
        return (tmp_path / "notes").read_text().split()

    makers: dict[int, set] = {}
    with closing(in_order_by(partial(noting, tmp_path), count(), 1, machines.two().address)) as results:
        for k in range(400):
            number, process, made, _ = next(results)
            assert number == k
            makers.setdefault(process, set()).add(made)
            if k == 6:
                wait_for(lambda: len(notes()) == 7 + 4)  # at most two a core ahead
                time.sleep(0.5)  # and now they are fetched, from where they would be lost
                machines.kill()
                machines.two()
            if len(makers) == 3:  # the new machine joined
                break
    assert len(makers) == 3 and all(len(made) == 1 for made in makers.values()), "each makes it once"
    assert len(notes()) == len(set(notes()))


def perilous(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 1:
        raise DatasetError("number 1")
    return number


def test_errors_come_at_their_turn(address):
    results = in_order(perilous, [0, 1, 0], 1, address)
    assert next(results) == 0
    with pytest.raises(DatasetError, match="number 1"):
        next(results)
    results = in_order(perilous, [0, 2, 0], 1, address)
    assert next(results) == 0
    with pytest.raises(WorkerError, match="3 workers of the Ray cluster died at the same item"):
        next(results)


def test_machines_that_are_not_alike(address, monkeypatch, tmp_path):
    missing = partial(observer, str(tmp_path / "x.hdf5"), {}, {}, "same")
    with pytest.raises(DatasetError, match=r"x.hdf5: no such file on \S+, which reads it, too"):
        list(in_order_by(missing, ["demo_0"], 1, address))
    monkeypatch.setattr(parallel, "versions", lambda: {**versions(), "mujoco": "1.0"})
    with pytest.raises(ConfigError, match=r"of the Ray cluster has mujoco \S+ instead of 1.0; results would differ"):
        list(in_order(abs, [1], 1, address))
    monkeypatch.undo()
    monkeypatch.setattr(parallel, "packed", lambda *_: b"cnowhere\nx\n.")
    with pytest.raises(ConfigError, match="a machine of the Ray cluster lacks a package: No module named 'nowhere'"):
        list(in_order(abs, [1], 1, address))


def test_no_machine_is_left(machines, address, monkeypatch):
    monkeypatch.setattr(parallel, "PATIENCE", 1)
    results = in_order(lambda number: time.sleep(number), [0, 60, 60], 1, machines.two().address)
    assert next(results) is None
    machines.kill()
    machines.kill()
    with pytest.raises(WorkerError, match="has had no core for 1 s"):
        next(results)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"a cluster needs Ray: pip install 'l1flow-agents\[cluster\]'"):
        list(in_order(abs, [1], 1, machines.address))
