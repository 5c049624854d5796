"""The page of a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from l1flow_agents.agent import ChunkAgent
from l1flow_agents.data.episodes import Episodes
from l1flow_agents.html_page import Table
from l1flow_agents.viewing import shown, statistics
from l1flow_agents.viewing.films import Films
from l1flow_agents.viewing.page import histogram, page
from l1flow_agents.viewing.plans import Sampled, checked, sampled


def dataset_page(episodes: Episodes, agent: ChunkAgent | None, n_episodes: int) -> str:
    """The page of a data set, of which at most ``n_episodes`` can be played."""
    seen = None if agent is None else checked(agent, episodes)
    boxes = {} if agent is None else {**agent.spaces_by_key, statistics.ACTION: agent.action_space}
    numbers = statistics.numbers_of(episodes)
    found = statistics.dimensions(numbers, boxes)
    idle, reached = statistics.idle_share(episodes), statistics.successes(episodes)
    picked = shown.chosen(episodes, n_episodes, found)
    plans: dict[int, list[Sampled]] = {}
    if agent is not None and seen is not None:
        spread = episodes.actions.std(axis=0, dtype=np.float64)
        spread[spread == 0] = 1
        plans = {one: sampled(agent, seen, one, spread) for one in picked}
    films = Films()
    record = shown.playable(episodes, numbers, found, picked, plans, _notes(episodes, picked, reached), films)
    facts = [
        f"{len(episodes):,} episodes, {episodes.n_steps:,} steps; {_rate(episodes)}",
        f"actions of {_numbers(episodes.actions.shape[1])}; observations {_observations(episodes)}",
        *([] if idle is None else [f"{idle:.1%} of the steps are idle: no number of the observations moves"]),
        *([] if reached is None else [f"{reached.sum():,} of {len(reached):,} episodes reach a reward of 1"]),
        "no NaN and no infinity: a data set with one is refused, and the refusal says where",
        *_left_out(len(picked), episodes, record["stride"], numbers, films),
    ]
    remarks = statistics.standing_out(episodes, found, idle) + (_about_plans(episodes, plans) if plans else [])
    bars = [histogram("steps of an episode", episodes.lengths, reached)]
    if episodes.rewards is not None:
        returns = np.add.reduceat(np.asarray(episodes.rewards), episodes.starts)
        bars += [histogram("return of an episode", returns, reached)] if np.ptp(returns) > 0 else []
    tables = _tables(episodes, numbers, found, agent is not None)
    return page(Path(episodes.source).name, facts, remarks, bars, record, tables)


def _notes(episodes: Episodes, picked: list[int], reached: np.ndarray | None) -> dict[int, str]:
    """What the rewards of some episodes say of them."""
    notes = {}
    for one in picked if episodes.rewards is not None else ():
        rewards = np.asarray(episodes.rewards)[episodes.ends[one] - episodes.lengths[one] : episodes.ends[one]]
        won = "" if reached is None else "success, " if reached[one] else "no success, "
        notes[one] = f"{won}return {rewards.sum():.4g}, highest reward {rewards.max():.4g}"
    return notes


def _tables(
    episodes: Episodes, numbers: dict[str, np.ndarray], found: list[statistics.Dimension], agent: bool
) -> list[tuple[str, Table]]:
    tables: list[tuple[str, Table]] = []
    for key, array in numbers.items():
        rows = [one.cells() for one in found if one.key == key]
        tables.append((f"{key}: {_numbers(array.shape[1])}", (statistics.HEAD, rows, "")))
    if pictures := statistics.pictures_rows(episodes):
        note = f"Grey levels of {statistics.SOME} pictures, evenly chosen."
        tables.append(("pictures", (statistics.PICTURES_HEAD, pictures, note)))
    return [*tables, ("What the columns mean", _meanings(agent))]


def _rate(episodes: Episodes) -> str:
    told = episodes.fps is not None
    rate = f"{episodes.fps or shown.UNTOLD_FPS:g} steps a second"
    return rate if told else f"played at {rate}, as the data do not say"


def _observations(episodes: Episodes) -> str:
    return ", ".join(
        f"{key} {'x'.join(map(str, array.shape[1:])) or '1'}" for key, array in episodes.observations.items()
    )


def _left_out(n_shown: int, episodes: Episodes, stride: int, numbers: dict[str, np.ndarray], films: Films) -> list[str]:
    lines, n = [], len(episodes)
    if n_shown < n:
        lines.append(
            f"{n_shown} of {n:,} episodes can be played, the shortest, the longest and odd ones among them; "
            "statistics are of all"
        )
    if stride > 1:
        lines.append(f"curves show every {stride}th step")
    if films.left_out:
        lines.append(f"{films.left_out} films are left out, for a page of 20 MB")
    for key, array in episodes.observations.items():
        if key not in numbers and not statistics.is_picture(array):
            lines.append(f"{key}: no film of pictures of {array.shape[3]} channels, expected 1 or 3")
    for key, array in numbers.items():
        if array.shape[1] > shown.MOST_CURVES:
            lines.append(
                f"{key} has {_numbers(array.shape[1])}: curves of the first {shown.MOST_CURVES}, "
                f"statistics of the first {min(array.shape[1], statistics.MOST_DIMENSIONS)}"
            )
    return lines


def _about_plans(episodes: Episodes, plans: dict[int, list[Sampled]]) -> list[str]:
    samples = [(one, sample) for one, several in plans.items() for sample in several]
    forked = sorted((-int(sample.modes.max()), one, sample.step) for one, sample in samples if sample.modes.max())
    error = np.mean([sample.error for _, sample in samples])
    lines = [
        f"plans lie {error:.2f} standard deviations from the demonstrated actions on average; they have several modes "
        f"at {len(forked)} of {len(samples)} steps"
    ]
    if forked:
        places = [f"{episodes.name(one)}, step {step}" for _, one, step in forked[:5]]
        lines.append(f"several modes, among others: {'; '.join(places)}")
    return lines


def _meanings(agent: bool) -> Table:
    extremes = "the lowest and the highest value of the data"
    limits = f"the agent's spaces where these are finite, else {extremes}" if agent else extremes
    outside = "values outside the agent's spaces" if agent else "needs an agent, whose spaces say what is inside"
    rows = [
        ["at its limits", f"share of the steps at a limit: {limits}"],
        ["far off", f"values beyond the middle 98 % by more than {statistics.FAR} times their range"],
        ["outside", outside],
    ]
    return ["", "meaning"], rows, ""


def _numbers(n: int) -> str:
    return "1 number" if n == 1 else f"{n} numbers"
