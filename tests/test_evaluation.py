"""Promise: an evaluation is its seeds, whoever does the work, and no crash takes the other episodes with it."""

from __future__ import annotations

import json
import math

import envs_for_tests
import gymnasium as gym
import imageio.v3 as iio
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from hypothesis import given
from hypothesis import strategies as st

from l1flow_agents import evaluate
from l1flow_agents.env_description import EnvDescription
from l1flow_agents.errors import CheckpointError, ConfigError, WorkerError
from l1flow_agents.evaluation import EpisodeResult, EvaluationResult, ScoreCallback, wilson_interval
from l1flow_agents.evaluation.runner import as_success
from l1flow_agents.provenance import Provenance
from l1flow_agents.video import VideoRecorder, draw_path, side_by_side, write_video

COUNTER = "envs_for_tests:Counter-v0"


@pytest.fixture(scope="module")
def counting(make_agent):
    """An agent for `Counter`, whose actions depend on the whole history and on noise."""
    return make_agent(
        space=envs_for_tests.Counter.observation_space,
        action_space=envs_for_tests.Counter.action_space,
        n_action_steps=3,
        horizon=8,
    )


def loop(agent, env, seed: int, chunked: bool = True) -> list[float]:
    """Rewards of one episode by the plainest loop, with the noise that `evaluate` gives this seed."""
    observation, _ = env.reset(seed=seed)
    rewards, done = [], False
    state = agent.initial_state(1, np.array([seed]))
    while not done:
        if not chunked:
            state = agent.initial_state(1, np.array([seed]))
            state[0][0, 2] = len(rewards)  # the next noise of the same stream
        action, state = agent.predict(observation, state)
        observation, reward, terminated, truncated, _ = env.step(action)
        rewards.append(float(reward))
        done = terminated or truncated
    return rewards


@pytest.mark.parametrize("chunked", [True, False])
def test_evaluate_is_the_plain_loop_with_the_seeds_noise(counting, chunked):
    result = evaluate(counting, COUNTER, n_episodes=4, seed=10, n_envs=2, chunked=chunked)
    env = gym.make(COUNTER)
    for episode in result.episodes:
        rewards = loop(counting, env, episode.seed, chunked)
        assert episode.length == len(rewards) == 5
        assert episode.episode_return == pytest.approx(sum(rewards), abs=1e-5)
        assert episode.score == pytest.approx(max(rewards), abs=1e-5)
    assert [e.seed for e in result.episodes] == [10, 11, 12, 13]
    assert [e.success for e in result.episodes] == [True, False, True, False]
    assert result.n_action_steps == (3 if chunked else 1)


def test_episodes_do_not_depend_on_the_number_of_workers(pushing):
    results = [
        evaluate(pushing, n_episodes=5, seed=7, n_envs=n, env_kwargs={"obs_type": "state", "max_episode_steps": 40})
        for n in (1, 2, 5)
    ]
    scores = [[e.score for e in result.episodes] for result in results]
    assert len(set(scores[0])) > 1, "five different starts"
    # Batches of other sizes round differently in the last bit; nothing else may differ.
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-4)
    np.testing.assert_allclose(scores[2], scores[0], atol=1e-4)
    assert [result.n_envs for result in results] == [1, 2, 5]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("kill", "exit code -9"),
        ("hang", "no answer in 4 s"),
        ("raise", "the gripper fell off"),
        ("nan", "a reward must be a finite number, got nan"),
    ],
)
def test_a_lost_worker_costs_one_episode_and_is_named(counting, how, reason):
    kwargs = {"bad_seed": 12, "how": how}
    result = evaluate(counting, COUNTER, n_episodes=6, seed=10, n_envs=2, env_kwargs=kwargs, timeout=4)
    assert [e.seed for e in result.failed] == [12]
    assert reason in result.failed[0].error
    assert [e.length for e in result.finished] == [5] * 5
    assert result.success_rate == pytest.approx(2 / 5), "the lost one counts nowhere"
    assert "12" in str(result)


def test_an_environment_that_cannot_be_built_says_why(counting):
    with pytest.raises(WorkerError, match="no such scene") as caught:
        evaluate(counting, COUNTER, n_episodes=2, n_envs=1, env_kwargs={"how": "build"})
    assert str(caught.value) == "Counter-v0 could not be built: RuntimeError: no such scene"
    assert "Traceback" in caught.value.__notes__[0], "the worker's, for whoever wrote the environment"


@pytest.fixture
def no_workers(monkeypatch):
    monkeypatch.setattr("l1flow_agents.evaluation.run.Rollouts", None)


def test_unknown_arguments_are_named_before_any_work(pushing, no_workers, monkeypatch):
    with pytest.raises(ConfigError, match=r"Counter-v0 has no setting 'lenght'.*did you mean 'length'"):
        evaluate(pushing, COUNTER, env_kwargs={"lenght": 3})
    with pytest.raises(ConfigError, match=r"PushT-v0: max_episode_steps must be a whole number, got 'soon'"):
        evaluate(pushing, env_kwargs={"max_episode_steps": "soon"})
    agent = pushing.with_settings(n_action_steps=2)
    agent.provenance = Provenance(env=EnvDescription("PushT-v0", {"obs_tipe": "state"}))  # as an altered checkpoint's
    with pytest.raises(ConfigError, match="PushT-v0 has no setting 'obs_tipe'"):
        evaluate(agent)
    monkeypatch.setitem(gym.registry, "Gone-v0", EnvSpec("Gone-v0", entry_point="no_such_module:Env"))
    with pytest.raises(ConfigError, match=r"^Gone-v0 cannot be imported: .*no_such_module'$"):
        evaluate(pushing, "Gone-v0")


def test_env_kwargs_are_laid_over_the_agents_own(pushing):
    result = evaluate(pushing, n_episodes=1, n_envs=1, env_kwargs={"max_episode_steps": 5})
    assert result.episodes[0].length == 5
    assert result.env_kwargs == {"obs_type": "state", "max_episode_steps": 5}
    with pytest.raises(CheckpointError, match=r"observation 'state' = Box.* offers only \['count'\]"):
        evaluate(pushing, COUNTER, 1)


def test_workers_do_not_register_twice_what_a_package_registers(pushing, capfd):
    import gym_pusht  # noqa: F401  registers gym_pusht/PushT-v0, here and in the worker

    evaluate(pushing, n_episodes=1, n_envs=1, env_kwargs={"max_episode_steps": 2})
    assert "Overriding environment" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"agent": "pusht-state"}, "agent must be an agent, such as .*, got 'pusht-state'"),
        ({"agent": None}, "agent must be an agent.*got None"),
        ({"env_id": 5}, "env_id must be an id or the spec of an environment, got 5"),
        ({"env_id": envs_for_tests.Counter()}, "env_id must be .*; give it as env.spec"),
        ({"n_episodes": "a"}, "n_episodes must be a whole number, got 'a'"),
        ({"n_episodes": 1.5}, "n_episodes must be a whole number, got 1.5"),
        ({"n_episodes": 0}, "n_episodes must be at least 1, got 0"),
        ({"seed": "a"}, "seed must be a whole number, got 'a'"),
        ({"seed": None}, "seed must be a whole number, got None"),
        ({"seed": 2**64}, "seed must be at most .*, got 18446744073709551616"),
        ({"n_envs": "x"}, "n_envs must be a whole number, got 'x'"),
        ({"env_kwargs": 5}, "env_kwargs must be a mapping, got 5"),
        ({"success_key": ""}, "success_key must be text that is not empty, got ''"),
        ({"timeout": 0}, "timeout must be greater than 0, got 0"),
        ({"workers": 2}, "workers must be a Workers\\(\\), got 2; n_envs says how many"),
    ],
)
def test_wrong_arguments_are_one_line(counting, no_workers, arguments, message):
    with pytest.raises(ConfigError, match=f"^evaluate: {message}$"):
        evaluate(**{"agent": counting, "env_id": COUNTER, **arguments})


def test_wrong_use_is_explained_before_any_work(counting, pushing, make_agent):
    with pytest.raises(gym.error.NameNotFound, match="PushT"):
        evaluate(pushing, "PushTT-v0")
    with pytest.raises(ConfigError, match="env_id"):
        evaluate(counting)
    with pytest.raises(CheckpointError, match="pos"):
        evaluate(make_agent(), COUNTER, n_episodes=1)
    with pytest.raises(ConfigError, match="overlay"):
        evaluate(counting, COUNTER, n_episodes=1, video=VideoRecorder("nowhere", overlay=True))


def test_success_goes_by_the_key_that_is_asked_for(counting):
    result = evaluate(
        counting, COUNTER, 4, seed=10, n_envs=1, env_kwargs={"success_key": "success"}, success_key="success"
    )
    assert [e.success for e in result.episodes] == [True, False, True, False]
    assert result.to_dict()["success_key"] == "success"


@pytest.mark.parametrize("told", [True, np.True_, 1, 1.0, np.float32(1), np.array([True]), np.array(1)])
def test_success_is_true_or_one(told):
    assert as_success(told, "won") is True
    assert as_success(np.logical_not(told), "won") is False


@pytest.mark.parametrize(
    "told", [math.nan, "False", "", None, 2, 0.5, [True], {}, np.array([True, False]), np.array([])]
)
def test_anything_else_is_no_success(told):
    with pytest.raises(WorkerError, match=r"^info\['won'\] must tell success by true or false, got .*$"):
        as_success(told, "won")


def test_a_success_that_is_none_ends_the_evaluation(counting):
    with pytest.raises(WorkerError, match=r"^Counter-v0: info\['is_success'\] must tell .*, got nan$"):
        evaluate(counting, COUNTER, 2, seed=10, n_envs=1, env_kwargs={"told": math.nan})


def test_what_nobody_knows_is_null(tmp_path):
    one = EvaluationResult("Counter-v0", {"bound": math.inf}, 1, [EpisodeResult(0, 10, 0.5, True, 1, 0.5)], 1, 1.0)
    lost = EvaluationResult("Counter-v0", {}, 1, [EpisodeResult(0, 10, error="it fell off")], 1, 1.0)
    assert str(one).startswith("Counter-v0: success 1.00") and "nan" not in str(one)
    assert str(lost).startswith("Counter-v0: success unknown, 0 episodes in 1 s") and "nan" not in str(lost)
    for result in (one, lost):
        result.save(tmp_path / "results.json")
        saved = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
        assert saved["mean_score_error_95"] is None
    assert saved["mean_score"] is None and saved["success_rate"] is None


def test_success_under_another_key_is_not_told_rather_than_0(counting, tmp_path):
    video = VideoRecorder(tmp_path, [0])
    result = evaluate(counting, COUNTER, 2, seed=10, n_envs=1, env_kwargs={"success_key": "success"}, video=video)
    assert [e.success for e in result.episodes] == [None, None]
    assert math.isnan(result.success_rate) and result.interval == (0, 1)
    said = str(result)
    assert "success not told" in said and "0.00 (" not in said
    assert "info had no 'is_success' in any of them, only ['steps', 'success']" in said
    saved = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert saved["success_rate"] is None and saved["mean_score"] == result.mean_score
    assert np.ptp(iio.imread(video.paths[0])[-1, 2, 26].astype(int)) < 12, "a grey border"


def test_a_key_that_only_successes_have_makes_the_others_failures(counting):
    result = evaluate(counting, COUNTER, 4, seed=10, n_envs=1, env_kwargs={"failures_told": False})
    assert result.success_rate == 0.5
    assert "info had no 'is_success' in 2 of them, which count as failures" in str(result)


def test_results_are_saved_whole(counting, tmp_path):
    result = evaluate(counting, COUNTER, n_episodes=3, seed=10, n_envs=1)
    result.save(tmp_path / "deep" / "results.json", command="l1flow eval")
    saved = json.loads((tmp_path / "deep" / "results.json").read_text())
    assert saved["command"] == "l1flow eval"
    assert [e["seed"] for e in saved["episodes"]] == [10, 11, 12]
    assert saved["success_rate"] == pytest.approx(2 / 3)
    assert saved["success_interval_95"] == pytest.approx(list(wilson_interval(2, 3)))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["results.json"]


def test_chosen_episodes_are_filmed(counting, tmp_path):
    video = VideoRecorder(tmp_path, episodes=[0, 2])
    result = evaluate(counting, COUNTER, n_episodes=3, seed=10, n_envs=2, video=video)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["episode_10.mp4", "episode_12.mp4"]
    assert sorted(result.videos) == sorted(str(path) for path in tmp_path.iterdir())
    frames = iio.imread(tmp_path / "episode_10.mp4")
    assert frames.shape == (1 + 5 + 4, 40, 52, 3), "start, five steps, the end held for 0.7 s at 5 fps"
    assert frames[0, 20, 20].min() > 200, "white before the first step"
    assert frames[5, 10, 20, 2] > frames[5, 10, 20, 0] + 100, "blue after the last"
    assert frames[-1, 2, 26, 1] > frames[-1, 2, 26, 0] + 50, "a green border: seed 10 succeeds"


def test_a_grid_is_one_film(counting, tmp_path):
    evaluate(counting, COUNTER, n_episodes=3, n_envs=1, video=VideoRecorder(tmp_path, range(3), grid=True))
    assert iio.imread(tmp_path / "episodes.mp4").shape[1:] == (80, 104, 3)


def test_a_short_film_waits_on_its_last_frame():
    films = [[np.full((2, 2, 3), value, np.uint8) for value in values] for values in ([1, 2, 3], [7])]
    grid = side_by_side(films)
    assert [frame[0, 0, 0] for frame in grid] == [1, 2, 3]
    assert [frame[0, 2, 0] for frame in grid] == [7, 7, 7]


def test_the_plan_is_drawn_where_actions_lie(pushing, tmp_path):
    plain, overlaid = (VideoRecorder(tmp_path / str(overlay), [0], overlay=overlay) for overlay in (False, True))
    for video in (plain, overlaid):
        kwargs = {"obs_type": "state", "max_episode_steps": 4}
        evaluate(pushing, n_episodes=1, env_kwargs=kwargs, n_envs=1, video=video)
    difference = np.abs(iio.imread(plain.paths[0])[2].astype(int) - iio.imread(overlaid.paths[0])[2])
    assert (difference.max(axis=-1) > 60).sum() > 20

    dotted = draw_path(np.zeros((50, 50, 3), np.uint8), np.array([[10, 40], [30, 20]]))
    assert dotted[40, 10].any() and dotted[20, 30].any() and dotted[30, 20].any() and not dotted[10, 40].any()


def test_a_film_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(Exception):  # noqa: B017  whatever ffmpeg or imageio say of a broken frame
        write_video(tmp_path / "film.mp4", [np.zeros((4, 4, 3), np.uint8), "no frame"], fps=5)
    assert list(tmp_path.iterdir()) == []


def test_scores_are_logged_while_training(counting, make_episodes):
    records = []
    callback = ScoreCallback(every=2, n_episodes=2, seed=10, n_envs=1)
    logger = counting.logger
    logger.record = lambda key, value, *_, **__: records.append((key, value))
    callback.init_callback(counting)
    for step in (1, 2, 3):
        counting.provenance = Provenance(env=EnvDescription(COUNTER), steps_done=step)
        assert callback.on_step()
    counting.provenance = Provenance()
    assert [key for key, _ in records] == ["time/total_timesteps", "eval/success_rate", "eval/mean_score"]
    assert [value for _, value in records[:2]] == [2, 0.5]

    records.clear()
    counting.provenance = Provenance(env=EnvDescription(COUNTER))
    callback = ScoreCallback(every=1, n_episodes=1, n_envs=1, success_key="nothing")
    callback.init_callback(counting)
    assert callback.on_step()
    counting.provenance = Provenance()
    assert [key for key, _ in records] == ["time/total_timesteps", "eval/mean_score"]

    for wrong in ({"every": 0}, {"every": 1, "seed": None}, {"every": 1, "success_key": ""}):
        with pytest.raises(ConfigError, match=f"^evaluation: {[*wrong][-1]} must be "):
            ScoreCallback(**wrong)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"), [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (50, 50, 0.9287, 1.0)]
)
def test_wilson_interval_known_values(successes, n, low, high):
    assert wilson_interval(successes, n) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))


@given(st.integers(1, 1000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_rate(trial):
    successes, n = trial
    low, high = wilson_interval(successes, n)
    assert 0 <= low <= successes / n + 1e-12 and successes / n - 1e-12 <= high <= 1
    wider = wilson_interval(successes * 4, n * 4)
    assert wider[1] - wider[0] < high - low, "four times the episodes, a narrower interval"


def test_no_episode_says_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert math.isnan(evaluate_nothing().success_rate)


def evaluate_nothing():
    from l1flow_agents.evaluation import EpisodeResult, EvaluationResult

    return EvaluationResult("X-v0", {}, 8, [EpisodeResult(0, 1, error="died")], 1, 0.0)
