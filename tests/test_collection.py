"""Promise: a collection depends on its seed alone, not on workers, kills or what ran before."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from itertools import count, islice
from pathlib import Path

import gymnasium as gym
import h5py
import numpy as np
import pytest

from l1flow_agents.cli import main
from l1flow_agents.errors import DatasetError, WorkerError
from l1flow_agents.parallel import in_order

pytest.importorskip("robosuite", reason="the simulator of these tasks is not installed")

from test_replay import contents, left_behind, wait_for

from l1flow_agents.demonstrations import collection
from l1flow_agents.demonstrations.collection import collect


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Three demonstrations, collected by one process in one go."""
    path = tmp_path_factory.mktemp("collection") / "lift.hdf5"
    done = collect("Lift-v0", 3, path)
    assert done.n_demos == 3 and 0 < done.success_rate <= 1
    return path


def test_two_workers_collect_the_same(whole, tmp_path):
    collect("Lift-v0", 3, tmp_path / "lift.hdf5", n_workers=2)
    assert contents(tmp_path / "lift.hdf5") == contents(whole)


def test_killed_and_run_again_it_collects_the_same(whole, tmp_path):
    output = tmp_path / "lift.hdf5"
    argv = ["collect", "--env", "Lift-v0", "-n", "3", "-o", str(output), "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "l1flow_agents.cli", *argv], stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_for(lambda: list(tmp_path.glob("lift.hdf5.parts/demo_0.hdf5")), process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    wait_for(lambda: not left_behind(process.pid), seconds=20)
    assert main([*argv[:-1], "1"]) == 0
    assert contents(output) == contents(whole)
    assert os.listdir(tmp_path) == ["lift.hdf5"]


def test_a_finished_collection_is_not_touched_and_a_larger_one_continues(whole, tmp_path):
    output = tmp_path / "lift.hdf5"
    collect("Lift-v0", 2, output)
    before = output.stat()
    assert collect("Lift-v0", 2, output).n_demos == 2
    assert output.stat() == before
    collect("Lift-v0", 3, output)
    assert contents(output) == contents(whole)


def test_each_demonstration_has_its_seed(whole):
    with h5py.File(whole) as file:
        seeds = [int(file[f"data/demo_{k}"].attrs["seed"]) for k in range(3)]
    assert seeds == sorted(set(seeds)) and seeds[0] >= collection.COLLECTION_SEED


class Idle:
    def act(self, observation):
        return np.zeros(7, np.float32)


def test_an_expert_that_never_succeeds(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(collection, "HOPELESS", 1)
    monkeypatch.setattr(collection, "make_expert", lambda *_: Idle())
    argv = ["collect", "--env", "Lift-v0", "-n", "3", "-o", str(tmp_path / "lift.hdf5"), "--workers", "1"]
    assert main(argv) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("l1flow")]
    assert errors == ["l1flow: error: Lift-v0: the expert failed in all of 1 episodes"]
    assert os.listdir(tmp_path) == []


def test_corrections_begin_where_the_expert_takes_over(whole, make_agent, tmp_path, capsys):
    """They are appended, continue from states that the agent got into, and do not depend on the workers."""
    env = gym.make("Lift-v0", obs_type="state")
    agent = make_agent(space=env.observation_space, action_space=env.action_space)
    agent.save(tmp_path / "agent")
    written = []
    for n_workers in ("1", "2"):
        output = tmp_path / f"lift{n_workers}.hdf5"
        shutil.copyfile(whole, output)
        argv = ["collect", "--env", "Lift-v0", "-n", "5", "-o", str(output), "--workers", n_workers]
        assert main([*argv, "--agent", str(tmp_path / "agent")]) == 0
        written.append(contents(output))
    assert written[0] == written[1]
    assert "5 demonstrations; rate of the new ones" in capsys.readouterr().out
    with h5py.File(output) as file:
        demos = [file[f"data/demo_{k}"] for k in range(5)]
        assert ["taken_over" in demo.attrs for demo in demos] == [False] * 3 + [True] * 2
        for demo in demos[3:]:
            seed = int(demo.attrs["seed"])
            state, (seen, _) = agent.initial_state(1, np.array([seed])), env.reset(seed=seed)
            for _ in range(int(demo.attrs["taken_over"])):
                action, state = agent.predict(seen, state)
                seen, *_ = env.step(action)
            assert np.array_equal(demo["obs/object"][0], seen["object"])
            assert demo["dones"][-1] and len(demo["actions"]) == len(demo["states"])
    env.close()


def test_an_agent_that_cannot_act_there(whole, make_agent, tmp_path, capsys):
    make_agent().save(tmp_path / "agent")
    argv = ["collect", "--env", "Lift-v0", "-n", "3", "-o", str(tmp_path / "x.hdf5"), "--workers", "1"]
    assert main([*argv, "--agent", str(tmp_path / "agent")]) == 2
    assert "but the environment offers only ['object'," in capsys.readouterr().err
    assert not (tmp_path / "x.hdf5").exists()


@pytest.mark.parametrize(
    ("env_id", "reason"),
    [("Lifft-v0", "Lift"), ("no_module:X-v0", "no_module"), ("PushT-v0", "PushT-v0"), ("CartPole-v1", "CartPole-v1")],
)
def test_an_environment_that_has_no_expert(tmp_path, capsys, env_id, reason):
    assert main(["collect", "--env", env_id, "-o", str(tmp_path / "x.hdf5"), "--workers", "1"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("l1flow: error:") and err.count("\n") == 1 and reason in err
    assert os.listdir(tmp_path) == []


def test_the_output_of_another_collection_is_refused(whole):
    before = whole.read_bytes()
    with pytest.raises(DatasetError, match=r"lift.hdf5: env_args: expected env_name 'PickPlaceCan', found 'Lift'$"):
        collect("Can-v0", 4, whole)
    with pytest.raises(DatasetError, match="expected demonstrations collected from seed 20000 on, found"):
        collect("Lift-v0", 4, whole, seed=20_000)
    assert whole.read_bytes() == before


# ---- in_order -------------------------------------------------------------------------------------------------------


def square(number: int) -> int:
    return number * number


def unlucky(number: int) -> int:
    if number == 3:
        raise DatasetError("number 3")
    return number


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def workers() -> list:
    return [one for one in multiprocessing.active_children() if one.is_alive()]


@pytest.mark.parametrize("n_workers", [1, 2])
def test_results_come_in_order_from_endless_items(n_workers):
    results = in_order(square, count(), n_workers)
    assert list(islice(results, 8)) == [square(number) for number in range(8)]
    results.close()
    wait_for(lambda: not workers(), seconds=20)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_an_error_comes_at_its_turn(n_workers):
    results = in_order(unlucky, range(6), n_workers)
    assert list(islice(results, 3)) == [0, 1, 2]
    with pytest.raises(DatasetError, match="number 3"):
        next(results)
    wait_for(lambda: not workers(), seconds=20)


def test_a_worker_that_dies_is_an_error_not_a_wait():
    with pytest.raises(WorkerError, match=r"a worker process died.*fewer workers"):
        list(in_order(die, range(3), 2))
    wait_for(lambda: not workers(), seconds=20)
