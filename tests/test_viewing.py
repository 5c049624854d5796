"""Promise: one page shows what a data set or an evaluation holds, in any browser, without a network."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from browser import PROGRAM, Browser
from gymnasium import spaces

from l1flow_agents.cli import main
from l1flow_agents.comparison.fork import NOISE, Fork
from l1flow_agents.data import Episodes, open_dataset
from l1flow_agents.data.convert import convert
from l1flow_agents.errors import ConfigError, DatasetError
from l1flow_agents.evaluation.result import EpisodeResult, EvaluationResult
from l1flow_agents.video import write_video
from l1flow_agents.viewing import films, statistics, view
from l1flow_agents.viewing.plans import modes
from l1flow_agents.viewing.shown import chosen

WIDTHS = (1200, 400)


def record_of(page: Path) -> dict:
    """What the page's script reads."""
    (data,) = re.findall(r'<script type="application/json" id="record">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(data)


def films_in(record: dict) -> list[str]:
    return [film["src"] for one in record["episodes"] for film in one["films"]]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("L1FLOW_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def page(human_demos, pushing, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("L1FLOW_CACHE", str(folder / "cache"))
        return view(human_demos, folder / "page.html", pushing, n_episodes=2)


@pytest.fixture
def rollouts(tmp_path) -> Path:
    """A folder as `evaluate` and its film leave it: a success that was filmed, a failure, a lost episode."""
    folder = tmp_path / "rollouts"
    episodes = [
        EpisodeResult(0, 70, 1.0, True, 8, 3.0),
        EpisodeResult(1, 71, 0.5, False, 12, 2.0),
        EpisodeResult(2, 72, error="it <b>hangs</b>"),
    ]
    write_video(folder / "episode_70.mp4", [np.full((64, 64, 3), 20 * k, np.uint8) for k in range(8)], 10)
    EvaluationResult("PushT-v0", {}, 8, episodes, 1, 2.0, agent="runs/mine").save(folder / "results.json")
    return folder


# ---- what a page holds


def test_a_page_plays_what_the_data_set_holds(page, human_demos):
    record, data = record_of(page), open_dataset(human_demos)
    assert len(record["episodes"]) == 2 and len(films_in(record)) == 2
    assert all(film.startswith("data:video/mp4;base64,") for film in films_in(record))
    one = next(one for one in record["episodes"] if one["name"] == "episode 0")
    assert one["length"] == data.lengths[0]
    shown = [key["name"] for key in record["keys"]]
    assert set(shown) == {"action", *data.observations} - {"image"}
    for name, expected in (("action", data.actions), ("state", data.observations["state"])):
        place = shown.index(name)
        for k, ((low, high), levels) in enumerate(
            zip(record["keys"][place]["ranges"], one["curves"][place], strict=True)
        ):
            values = low + (high - low) * np.array(levels) / record["levels"]
            assert values == pytest.approx(expected[: one["length"], k], abs=(high - low) / record["levels"])
    assert record["plane"] == [0, 512] and record["planeOnFilm"]
    plan = one["plans"][1]
    assert len(plan["plans"]) == len(plan["modes"]) and len(plan["plans"][0]) == 2
    assert "2 of 5 episodes can be played" in page.read_text()


def test_a_page_needs_nothing_else(page):
    text = page.read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', text) and "@import" not in text and "fetch(" not in text
    assert len(text) < 20_000_000


@pytest.mark.parametrize("name", ["toy.hdf5", "toy", "toy-v0"])
def test_every_format(replay, tmp_path, name):
    to = "minari" if name == "toy-v0" else None
    convert(replay, tmp_path / "of" / name, to, fps=10, task="push", video=name == "toy")
    record = record_of(view(tmp_path / "of" / name, tmp_path / "page.html"))
    assert [one["length"] for one in record["episodes"]] == [12, 9, 20]
    assert len(films_in(record)) == 3


def test_films_that_have_no_room_are_told(human_demos, tmp_path, monkeypatch):
    monkeypatch.setattr(films, "BUDGET", 30_000)
    page = view(human_demos, tmp_path / "page.html")
    n_films = len(films_in(record_of(page)))
    assert n_films < 5 and f"{5 - n_films} films are left out" in page.read_text()


def test_long_episodes_lose_frames_and_steps(make_episodes, monkeypatch):
    monkeypatch.setattr(films, "MOST_FRAMES", 10)
    data, taken = make_episodes((30, 7), images=True), []
    pictures = data.observations["image"]

    def write(path, frames, fps):
        taken.extend(frames)
        assert fps == 5
        path.write_bytes(b"film")
        return path

    monkeypatch.setattr(films, "write_video", write)
    assert films.Films().of(pictures, 0, 30, fps=15)
    assert len(taken) == 10 and taken[0].shape == (192, 160, 3)
    assert np.array_equal(taken[1][::8, ::8], pictures[3])


def test_a_rollout_folder(rollouts, tmp_path):
    page = view(rollouts, tmp_path / "page.html")
    record, text = record_of(page), page.read_text()
    assert [(one["name"], one["note"]) for one in record["episodes"]] == [("seed 70", "success")]
    assert "success 0.5 (95 % interval" in text and "runs/mine in PushT-v0" in text
    assert "&lt;b&gt;hangs" in text and "<b>hangs" not in text


def test_a_grid_of_films_comes_first(rollouts, tmp_path):
    shutil.copy(rollouts / "episode_70.mp4", rollouts / "episodes.mp4")
    record = record_of(view(rollouts, tmp_path / "page.html"))
    assert [one["name"] for one in record["episodes"]] == ["all filmed episodes", "seed 70"]


def test_an_evaluation_without_films(rollouts, tmp_path, capsys):
    (rollouts / "episode_70.mp4").unlink()
    page = tmp_path / "page.html"
    assert main(["view", str(rollouts), "-o", str(page)]) == 0 and capsys.readouterr().out == f"{page}\n"
    assert not record_of(page)["episodes"] and "no films" in page.read_text()


# ---- what is counted


def test_statistics_of_what_is_known():
    column = np.linspace(-1, 1, 101)
    clipped, odd = np.clip(2 * column, -1, 1), column.copy()
    odd[57] = 400
    data = Episodes(
        {"state": np.stack([column, np.full(101, 3.0)], axis=1)}, np.stack([clipped, odd], axis=1), np.array([50, 101])
    )
    boxes = {"action": spaces.Box(-2, 2, (2,), np.float64)}
    found = statistics.dimensions(statistics.numbers_of(data), boxes)
    by_name = {one.cells()[0]: one for one in found}
    assert by_name["state[0]"].mean == pytest.approx(0, abs=1e-12) and by_name["state[0]"].std == column.std()
    assert by_name["state[1]"].constant and not by_name["state[0]"].constant
    assert by_name["action[0]"].at_limits == 0, "the space's limits count where they are known"
    assert (by_name["action[1]"].far, by_name["action[1]"].outside, by_name["action[1]"].odd_row) == (1, 1, 57)
    assert statistics.dimensions(statistics.numbers_of(data), {})[0].at_limits == pytest.approx(52 / 101)
    lines = "\n".join(statistics.standing_out(data, found, 0.3))
    assert "action[1]: 1 far from all others and 1 outside the space, first episode 1, row 7" in lines
    assert "state[1]: constant" in lines and "30% of the steps are idle" in lines


def test_success_is_a_reward_of_one_and_unknown_elsewhere(make_episodes):
    def with_rewards(*rewards):
        data = make_episodes((2, 2))
        return statistics.successes(Episodes(data.observations, data.actions, data.ends, rewards=np.array(rewards)))

    assert with_rewards(0, 1, 0.5, 0.9).tolist() == [True, False]
    assert with_rewards(0, 7, 0, 0) is None, "of rewards on another scale nobody knows"


def test_idle_steps_are_counted():
    still = Episodes({"state": np.repeat(np.arange(5.0), 2)[:, None]}, np.zeros((10, 1)), np.array([10]))
    assert statistics.idle_share(still) == 0.5
    assert statistics.idle_share(Episodes({"image": np.zeros((3, 4, 4, 3), np.uint8)}, np.zeros((3, 1)), [3])) is None


def test_the_shortest_the_longest_and_the_odd_are_shown():
    lengths = np.full(100, 10)
    lengths[[33, 66]] = 3, 50
    actions = np.random.default_rng(0).uniform(size=(lengths.sum(), 1))
    actions[lengths[:77].sum()] = 1000
    data = Episodes({"state": np.zeros_like(actions)}, actions, np.cumsum(lengths))
    picked = chosen(data, 5, statistics.dimensions(statistics.numbers_of(data), {}))
    assert len(picked) == 5 and {33, 66, 77} <= set(picked)


@pytest.mark.parametrize("n_ways", [2, 3])
def test_modes_are_the_ways_of_the_fork(n_ways):
    task, rng = Fork(n_ways), np.random.default_rng(0)
    way = rng.permutation(np.arange(30) % n_ways)
    plans = task.ways(0.3)[way]
    plans = plans + NOISE * rng.normal(size=plans.shape)
    found = modes(plans / plans.std(axis=(0, 1)))
    assert len(set(zip(found.tolist(), way.tolist(), strict=True))) == n_ways == found.max() + 1


def test_one_bundle_is_one_mode():
    rng = np.random.default_rng(0)
    bundle = rng.normal(size=(24, 1, 2)) * np.linspace(0, 1, 8)[None, :, None]
    bundle[0] += 30
    assert not modes(bundle).any(), "and an outlier is none"


# ---- what cannot be shown


def one_line(capsys, *argv: str) -> str:
    assert main(["view", *argv]) == 2
    printed = capsys.readouterr()
    assert len(printed.err.strip().splitlines()) == 1, printed.err
    return printed.err


def test_mistakes_are_one_line(replay, rollouts, tmp_path, capsys):
    out = ["-o", str(tmp_path / "page.html")]
    assert "no data set at 'nothing'" in one_line(capsys, "nothing", *out)
    assert "too long" in one_line(capsys, "x" * 5000, *out)
    assert "a page shows 1 to 20 episodes, got 21" in one_line(capsys, str(replay), *out, "-n", "21")
    assert "no observations to plan from" in one_line(capsys, str(rollouts), *out, "--agent", "pusht-state")
    assert "expected the path of a file" in one_line(capsys, str(replay), "-o", str(tmp_path))
    (rollouts / "results.json").write_text('{"episodes": [3]}')
    assert "expected what l1flow eval --output writes" in one_line(capsys, str(rollouts), *out)
    assert not (tmp_path / "page.html").exists()


def test_data_of_another_task_and_numbers_that_are_none(make_agent, make_episodes, replay, tmp_path):
    with pytest.raises(DatasetError, match=r"no observation key \['pos'\]"):
        view(replay, tmp_path / "page.html", make_agent())
    shutil.copytree(replay, tmp_path / "nan.zarr")
    zarr.open_group(str(tmp_path / "nan.zarr"))["data/state"][14, 2] = np.nan
    with pytest.raises(DatasetError, match="holds a NaN or infinity, first in episode 1, row 2"):
        view(tmp_path / "nan.zarr", tmp_path / "page.html")
    with pytest.raises(ConfigError, match="n_episodes"):
        view(replay, tmp_path / "page.html", n_episodes=0)


# ---- in a browser


@pytest.fixture(scope="module")
def browser():
    if PROGRAM is None:
        pytest.skip("no Chromium here (apt-get install chromium)")
    with Browser() as one:
        yield one


@pytest.fixture
def opened(browser):
    """Opens a page at a width; afterwards no script failed, nothing was asked from elsewhere."""
    browser.errors.clear(), browser.asked.clear()

    def open_page(path: Path, width: int) -> Browser:
        browser.open(path, width)
        assert browser.run("document.documentElement.scrollWidth") <= width
        return browser

    yield open_page
    browser.run("1")  # what was thrown meanwhile arrives before the answer
    assert not browser.errors
    assert {url.partition(":")[0] for url in browser.asked} <= {"file", "data"}


@pytest.mark.parametrize("width", WIDTHS)
def test_a_reader_moves_through_an_episode(page, opened, width):
    window = opened(page, width)
    slider, cursor = "document.querySelector('input[type=range]')", "document.querySelector('.strips').style"
    window.run(f"{slider}.value = 40, {slider}.dispatchEvent(new Event('input'))")
    length = record_of(page)["episodes"][0]["length"]
    assert float(window.run(f"{cursor}.getPropertyValue('--at')")) == pytest.approx(40 / (length - 1))
    assert "step 40" in window.run("document.querySelector('.controls').innerText")
    window.run("document.querySelectorAll('.plans button')[2].click()")
    step = record_of(page)["episodes"][0]["plans"][2]["step"]
    assert f"plans at step {step}" in window.run("document.querySelector('.note').innerText")
    assert window.run("document.querySelectorAll('.screen svg polyline').length") == 24 + 2
    window.run("document.querySelector('select').value = 1, document.querySelector('select').onchange()")
    window.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert window.run("document.documentElement.scrollWidth") <= width, "with everything unfolded, too"


def test_play_moves_film_and_cursor(page, opened):
    window = opened(page, 1200)
    window.run("document.querySelector('.controls button').click()")
    deadline = time.monotonic() + 20
    while not float(window.run("document.querySelector('.strips').style.getPropertyValue('--at')")):
        assert time.monotonic() < deadline, "the cursor stands still"
        time.sleep(0.1)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_rollout_folder_in_a_browser(rollouts, tmp_path, opened, width):
    window = opened(view(rollouts, tmp_path / "page.html"), width)
    assert window.run("document.querySelectorAll('video').length") == 1
    assert "seed 70" in window.run("document.querySelector('select').innerText")


@pytest.mark.parametrize("width", WIDTHS)
def test_names_are_text(opened, tmp_path, width):
    evil = "<!--<script><img src=x onerror=alert(1)>" + "long" * 50
    with h5py.File(tmp_path / "<b>.hdf5", "w") as file:
        demo = file.create_group("data/demo_0")
        demo["actions"], demo[f"obs/{evil}"] = np.zeros((9, 2)), np.random.default_rng(0).normal(size=(9, 3))
    view(tmp_path / "<b>.hdf5", tmp_path / "page.html")
    window = opened(tmp_path / "page.html", width)
    assert window.run("document.querySelectorAll('img, h1 b').length") == 0
    assert evil in window.run("document.querySelector('.strips').textContent")
