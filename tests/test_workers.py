"""Promise: workers are kept where somebody keeps them, change no score by it, and outlive nobody."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import envs_for_tests
import gymnasium as gym
import numpy as np
import pytest
import torch

from l1flow_agents import evaluate
from l1flow_agents.device import threads
from l1flow_agents.env_description import EnvDescription
from l1flow_agents.env_maker import EnvMaker
from l1flow_agents.evaluation import ScoreCallback, Workers
from l1flow_agents.evaluation.runner import Segment
from l1flow_agents.evaluation.workers import EnvSetup, Hello, Worker, ready
from l1flow_agents.provenance import Provenance
from l1flow_agents.spawning import packed

COUNTER = "envs_for_tests:Counter-v0"
SHORT = {"obs_type": "state", "max_episode_steps": 30}


@pytest.fixture(scope="module")
def counting(make_agent):
    space, action_space = envs_for_tests.Counter.observation_space, envs_for_tests.Counter.action_space
    agent = make_agent(space=space, action_space=action_space)
    agent.provenance = Provenance(env=EnvDescription(COUNTER))
    return agent


def pids() -> set[int]:
    """Of the living workers of this process."""
    return {one.pid for one in multiprocessing.active_children() if one.name == "l1flow environment"}


def test_kept_workers_score_as_fresh_ones_do(pushing):
    def scores(seed, **kept):
        result = evaluate(pushing, n_episodes=2, seed=seed, n_envs=1, env_kwargs=SHORT, **kept)
        return [(episode.score, episode.episode_return) for episode in result.episodes], result.timing

    fresh, fresh_timing = scores(3)
    assert fresh_timing.start > 0 and not pids(), "nobody keeps these"
    with Workers() as workers:
        scores(8, workers=workers)
        [worker] = pids()
        kept, kept_timing = scores(3, workers=workers)
        assert pids() == {worker}
        pushing_on = pushing.with_settings(n_action_steps=4)  # another agent, the same environment
        evaluate(pushing_on, n_episodes=1, n_envs=1, env_kwargs=SHORT, workers=workers)
        assert pids() == {worker}
    assert not pids()
    assert kept == fresh
    assert kept_timing.start == 0 < kept_timing.stepping


def answer(worker: Worker) -> Hello | Segment:
    [_] = ready([worker])
    worker.asked.popleft()
    return worker.receive()


def test_a_simulators_episode_is_the_same_in_fresh_used_and_shared_processes():
    setup = EnvSetup(EnvMaker(gym.spec("Square-v0")), {"obs_type": "state"}, 2, False, "is_success")
    worker = Worker(packed(setup, "Square-v0"), timeout=300)
    first, second = np.random.default_rng(0).uniform(-1, 1, (2, 4, 7))
    try:
        assert isinstance(answer(worker), Hello)
        found = []
        for asked in ([(0, 7)], [(0, 8), (1, 7)], [(0, 7)]):  # environment, seed; the second time both at once
            for number, seed in asked:
                worker.ask(number, "reset", seed, False)
            resets = [answer(worker) for _ in asked]
            for chunk in (first, second):
                for number, _ in asked:
                    worker.ask(number, "run", chunk, chunk)
                segments = [answer(worker) for _ in asked]
            found.append([resets[-1].history, segments[-1].history])
    finally:
        worker.stop()
    fresh, shared, used = found
    np.testing.assert_equal(shared, fresh)
    np.testing.assert_equal(used, fresh)


def test_a_worker_killed_between_calls_is_replaced(counting):
    with Workers() as workers:
        before = evaluate(counting, n_episodes=4, n_envs=2, workers=workers)
        killed, other = pids()
        os.kill(killed, signal.SIGKILL)
        while killed in pids():
            time.sleep(0.01)
        after = evaluate(counting, n_episodes=4, n_envs=2, workers=workers)
        assert other in pids() and killed not in pids() and len(pids()) == 2
    assert [e.length for e in after.finished] == [e.length for e in before.finished] == [5] * 4


def test_a_lost_worker_is_not_kept(counting):
    with Workers() as workers:
        result = evaluate(
            counting, n_episodes=2, seed=1, n_envs=1, env_kwargs={"bad_seed": 2, "how": "raise"}, workers=workers
        )
        assert len(result.failed) == 1 and not pids()


def test_another_environment_takes_the_place(counting):
    with Workers() as workers:
        evaluate(counting, n_episodes=1, n_envs=1, workers=workers)
        first = pids()
        longer = evaluate(counting, n_episodes=1, n_envs=1, env_kwargs={"length": 7}, workers=workers)
        assert longer.episodes[0].length == 7
        assert len(pids()) == 1 and not pids() & first


def test_an_evaluation_that_is_interrupted_leaves_no_worker(counting, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(counting, "plan", interrupted)
    with Workers() as workers:
        with pytest.raises(KeyboardInterrupt):
            evaluate(counting, n_episodes=2, n_envs=2, workers=workers)
        assert not pids()


def test_training_starts_its_workers_once(counting, make_episodes):
    callback = ScoreCallback(every=2, n_episodes=2, n_envs=1)
    callback.init_callback(counting)
    seen = []
    for step in range(1, 5):
        counting.provenance = Provenance(env=EnvDescription(COUNTER), steps_done=step)
        callback.on_step()
        seen.append(pids())
    assert seen[0] == set() and len(seen[1]) == 1
    assert seen[1] == seen[2] == seen[3]
    callback.on_training_end()
    assert not pids()

    callback.on_step()
    assert pids()
    del callback  # as where the training failed
    gc.collect()
    assert not pids()


def test_three_share_a_process_and_one_pays_for_its_loss(pushing, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    alone = evaluate(pushing, n_episodes=4, n_envs=1, env_kwargs=SHORT)
    planned, sizes = pushing.plan, []

    def killing(histories, noise):
        sizes.append(len(noise))
        if len(sizes) == 2:
            [worker] = pids()
            os.kill(worker, signal.SIGKILL)
        return planned(histories, noise)

    monkeypatch.setattr(pushing, "plan", killing)
    result = evaluate(pushing, n_episodes=4, env_kwargs=SHORT)
    assert (result.n_envs, result.timing.n_processes) == (3, 1)
    assert sizes[0] == 3, "plans for all at once"
    assert [episode.index for episode in result.failed] == [0]
    assert [episode.index for episode in result.episodes] == [0, 1, 2, 3]
    scores = [[episode.score for episode in one.episodes[1:]] for one in (alone, result)]
    np.testing.assert_allclose(*scores, atol=1e-4)


def test_the_time_is_told_by_parts(counting):
    result = evaluate(counting, n_episodes=2, n_envs=2)
    timing = result.to_dict()["timing"]
    assert timing.keys() == {"n_processes", "start", "stepping", "waiting", "planning"}
    assert timing["n_processes"] == 2 and all(timing[part] > 0 for part in ("start", "stepping", "planning"))
    assert timing["start"] + timing["stepping"] + timing["waiting"] <= result.seconds
    assert "each of 2 processes: start" in str(result)


OWNER = """
    import multiprocessing, signal, sys
    from l1flow_agents import L1FlowAgent, evaluate
    from l1flow_agents.evaluation import Workers

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is told to ignore it
    agent = L1FlowAgent("mlp", "envs_for_tests:Counter-v0", network_kwargs={"width": 32, "depth": 1}, device="cpu")
    given = {"env_kwargs": {"bad_seed": 3, "how": "hang"}, "workers": Workers()}
    evaluate(agent, n_episodes=2, n_envs=2, **given)
    print(*(one.pid for one in multiprocessing.active_children()), flush=True)
    if sys.argv[1] == "hang":
        evaluate(agent, n_episodes=1, seed=3, n_envs=1, **given)
"""


@pytest.mark.parametrize(("how", "sent"), [("hang", signal.SIGKILL), ("hang", signal.SIGINT), ("exit", None)])
def test_workers_end_with_their_parent_the_idle_and_the_stuck(how, sent, tmp_path):
    (tmp_path / "owner.py").write_text(dedent(OWNER))
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    with subprocess.Popen(
        [sys.executable, tmp_path / "owner.py", how],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=where,
        start_new_session=True,
    ) as owner:
        assert owner.stdout is not None
        workers = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(workers) == 2
        if how == "hang":
            assert int(owner.stdout.readline()) in workers, "which hangs now"
        if sent == signal.SIGINT:
            os.killpg(owner.pid, sent)  # as a terminal does
        elif sent:
            owner.send_signal(sent)
        owner.wait(60)
    for _ in range(1000):
        if not any(map(lives, workers)):
            return
        time.sleep(0.01)
    pytest.fail(f"still there: {[pid for pid in workers if lives(pid)]}")


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def test_plans_leave_the_cores_to_stepping(counting, monkeypatch):
    used, plan = set(), counting.plan
    monkeypatch.setattr(counting, "plan", lambda *given: (used.add(torch.get_num_threads()), plan(*given))[1])
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    with threads(8):
        for n_envs in (1, 4):
            evaluate(counting, n_episodes=4, n_envs=n_envs)
        assert torch.get_num_threads() == 8
    assert used == {3, 1}


def test_a_copy_has_workers_of_its_own(counting):
    with Workers() as workers:
        first = evaluate(counting, n_episodes=1, n_envs=1, workers=workers)
        assert copy.deepcopy(workers)._idle == [] and len(workers._idle) == 1
        assert evaluate(counting, n_episodes=1, n_envs=1, workers=workers).mean_score == first.mean_score
