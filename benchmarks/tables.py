"""The tables and single figures of the pages, made of benchmarks/results/*.json; `pages.py` puts them in."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from l1flow_agents.comparison.report import markdown_table
from l1flow_agents.comparison.rows import Row, rows_of

RESULTS = Path(__file__).parent / "results"

STATE_AGENTS = ("lift-state", "can-state", "square-state", "lift-image")
PUSHT_AGENTS = ("pusht-state", "pusht-image")
MIMICGEN_TASKS = (
    *("Stack_D1", "StackThree_D1", "Square_D2", "Threading_D2"),
    *("ThreePieceAssembly_D2", "Coffee_D2", "HammerCleanup_D1", "MugCleanup_D1"),
)
SIDE_BY_SIDE = {
    "l1flow": "**L1 Flow**",
    "l1_regression": "L1 regression",
    "flow_matching": "Flow Matching",
    "flow_matching:2-steps": "Flow Matching, 2 steps",
    "mip": "MIP",
    "ddpm": "DDPM",
    "ddpm:ddim-10": "DDIM",
    "edm": "EDM",
    "consistency": "Consistency Policy",
    "consistency:3-steps": "Consistency Policy, 3 steps",
    "onedp": "OneDP",
    "onedp-deterministic": "OneDP, deterministic",
}


@cache
def read(name: str) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return results


# ---- agents on the test seeds -------------------------------------------------------------------------------------


def success(result: dict[str, Any]) -> str:
    low, high = result["success_interval_95"]
    return f"{result['success_rate']:.2f} ({low:.2f} .. {high:.2f})"


def score(result: dict[str, Any]) -> str:
    return f"{result['mean_score']:.3f} ± {result['mean_score_error_95']:.3f}"


def rate(result: dict[str, Any]) -> str:
    return f"{result['success_rate']:.2f}"


def loop(result: dict[str, Any], name: str) -> str:
    return "without state" if name.endswith("-stateless") else f"plan every {result['n_action_steps']} steps"


def agents_table(names: tuple[str, ...], what: str, with_score: bool) -> str:
    head = [what, *(["mean score"] if with_score else []), "success", "without `state`", "episodes"]
    rows = []
    for name in names:
        one = read(name)
        stateless = read(f"{name}-stateless") if (RESULTS / f"{name}-stateless.json").exists() else None
        plain = "" if stateless is None else (score(stateless) if with_score else success(stateless))
        rows.append([f"`{name}`", *([score(one)] if with_score else []), success(one), plain, str(one["n_episodes"])])
    return markdown_table(head, rows)


def results_table(names: tuple[str, ...]) -> str:
    rows = []
    for name in names:
        for kind in ("", "-stateless"):
            if (RESULTS / f"{name}{kind}.json").exists():
                one = read(name + kind)
                seeds = [episode["seed"] for episode in one["episodes"]]
                agent = f"[{name}]({name}{kind}.json)"
                told = [loop(one, name + kind), f"{one['n_episodes']}", f"{seeds[0]} .. {seeds[-1]}"]
                rows.append([agent, *told, score(one), success(one)])
    return markdown_table(["agent", "loop", "episodes", "seeds", "mean score", "success"], rows)


# ---- MimicGen -----------------------------------------------------------------------------------------------------


def agent_name(task: str) -> str:
    return f"{task.lower()}-state"


def published(task: str) -> bool:
    """Whether an agent that learned from its expert's episodes has been scored; else only the older one has."""
    return (RESULTS / f"{agent_name(task)}.json").exists()


def mimicgen_published() -> str:
    tasks = [task for task in (*MIMICGEN_TASKS, "NutAssembly_D0") if published(task)]
    return agents_table(tuple(map(agent_name, tasks)), "MimicGen, episodes of an expert", False)


def mimicgen_line() -> str:
    agents = read("mimicgen")["agents"]
    tasks = [task for task in MIMICGEN_TASKS if not published(task)]
    head = ["MimicGen's other tasks, 200 generated episodes", *(f"`{task}`" for task in tasks)]
    line = [f"{agents[f'{task}-v0']['success_rate']:.2f}" for task in tasks]
    return markdown_table(head, [["success on 50 seeds from 100000", *line]])


def mimicgen_agents() -> str:
    rows = []
    for env_id, one in sorted(read("mimicgen")["agents"].items(), key=lambda entry: _place(entry[0])):
        if published(env_id.removesuffix("-v0")):
            continue
        generated = f"{one['demonstrations'] / one['attempts']:.2f}"
        name = env_id.removesuffix("-v0").lower()
        told = [success(one), str(one["demonstrations"]), generated, f"{one['n_action_steps']} steps"]
        rows.append([f"`{name}-state`", *told])
    head = ["agent", "success on 50 test seeds", "demonstrations", "attempts that succeed", "plan every"]
    return markdown_table(head, rows)


def mimicgen_generation() -> str:
    rows = []
    for env_id, one in sorted(read("mimicgen")["generation"].items(), key=lambda entry: _place(entry[0])):
        expert = "{} of {}".format(*one["expert_on_d0"]) if "_D0" in env_id else ""
        rate = f"{one['successes'] / one['attempts']:.2f} ({one['successes']} of {one['attempts']})"
        rows.append([f"`{env_id}`", expert, rate, f"{one['mean_steps']:.0f}"])
    return markdown_table(["variant", "expert, D0", "attempts that succeed", "mean length"], rows)


def _place(env_id: str) -> tuple[int, str]:
    """In the order of `MIMICGEN_TASKS`, all variants of a task together."""
    task = env_id.partition("_")[0]
    return [name.partition("_")[0] for name in MIMICGEN_TASKS].index(task), env_id


# ---- methods ------------------------------------------------------------------------------------------------------


@cache
def compared(name: str) -> dict[str, Row]:
    return {row.name: row for row in rows_of(read(name))}


def mean_score(row: Row) -> str:
    return f"{row.mean:.2f} ± {row.error:.2f}{row.weak_teacher}"


def compared_success(row: Row) -> str:
    low, high = row.interval
    return f"{row.successes.mean():.2f} ({low:.2f} .. {high:.2f}){row.weak_teacher}"


def milliseconds(row: Row | None) -> str:
    return "" if row is None else f"{1e3 * row.latency['1']:.1f}"


def side_by_side() -> str:
    unet, mlp, square = compared("compare_pusht_unet"), compared("compare_pusht"), compared("compare_square")
    carrying = compared("compare_pusht_carry")
    rows = []
    for name, title in SIDE_BY_SIDE.items():
        found = [table[name] for table in (mlp, carrying) if name in table]
        scores = [mean_score(table[name]) if name in table else "" for table in (unet, carrying, mlp)]
        latency = f"{milliseconds(unet.get(name))} / {milliseconds(found[0])}"
        solved = compared_success(square[name]) if name in square else ""
        rows.append([title, str(found[0].evaluations), latency, *scores, solved])
    head = ["method", "network evaluations", "ms a plan, U-Net / MLP", "PushT, small U-Net", "PushT, MLP that carries"]
    return markdown_table([*head, "PushT, plain MLP", "Square, plain MLP"], rows)


def ablations() -> str:
    scores: dict[str, dict[str, float]] = {}
    for row in rows_of(read("ablations")):
        system, _, sampler = row.name.partition(":")
        scores.setdefault(system, {})[sampler or "t0.5"] = row.mean
    names = list(next(iter(scores.values())))
    samplers = sorted(name for name in names if name[0] == "t") + [name for name in names if name[0] != "t"]
    rows = [[system.replace("-", ", "), *(f"{by[one]:.2f}" for one in samplers)] for system, by in scores.items()]
    return markdown_table(["loss, space, time", *samplers], rows)


def fork() -> str:
    rows: dict[str, list[str]] = {}
    for one in read("multimodality")["fork"]["rows"]:
        cells = rows.setdefault(one["method"], [one["method"], str(one["evaluations"])])
        cells += [f"{one['near']:.2f}", f"{one['covered']:.2f}"]
        cells += [f"{one['at_mean']:.2f}"] if one["ways"] == 2 else []
    head = ["method", "evaluations", "two ways: near one", "covered", "at the mean"]
    return markdown_table([*head, "three: near", "covered", "four: near", "covered"], list(rows.values()))


def sides() -> str:
    found = read("multimodality")["pusht"]
    n, head = len(found["states"]), ["method", "evaluations", "states with a quarter of the plans on either side"]
    rows = []
    for one in found["rows"]:
        told = [one["method"], str(one["evaluations"]), f"{round(one['both_sides'] * n)} of {n}"]
        rows.append([*told, f"{one['smaller_side']:.2f}", f"{one['median_sideways_px']:.0f} px"])
    return markdown_table([*head, "plans on the rarer side", "farthest from the axis"], rows)


def speed() -> str:
    """Replans of the methods in L1 Flow's, each with the same network."""
    columns: dict[str, dict[str, str]] = {}
    for row in read("methods_speed")["rows"]:
        columns.setdefault(row["method"], {})[row["network"]] = f"{row['ratio']:.2f}"
    networks = list(next(iter(columns.values())))
    return markdown_table(["a replan, in L1 Flow's", *networks], [[one, *by.values()] for one, by in columns.items()])


# ---- the simulation -----------------------------------------------------------------------------------------------


def simulation() -> str:
    """Steps, resets, memory and views of robosuite's tasks, and where a step goes."""
    found, rows = read("simulation"), []
    for env_id, process in found["processes"].items():
        step, reset, view = (row for row in found["rows"] if row["of"] == env_id)
        shares = found["shares_of_a_step"][env_id]
        physics, seen = (shares["physics"], shares["observation"] + shares["success check"])
        control = 1 - physics - seen - shares["forward after the last substep"] - shares["rest"]
        ratios = [f"{step['ratio']:.2f} ({step['target']:.2f})", f"{1e3 * step['ours_s']:.1f} ms"]
        resets = [f"{process['first_reset_cpu_s']:.1f} s", f"{process['reset_cpu_s']:.3f} s", f"{reset['ratio']:.2f}"]
        memory = [f"{process['growth_mb']:.0f} MB", f"{process['peak_mb']:.0f} MB"]
        parts = " / ".join(f"{100 * one:.0f} %" for one in (physics, control, seen))
        rows.append([env_id, *ratios, *resets, *memory, f"{view['ratio']:.2f}", parts])
    head = ["task", "step, ratio (target)", "a step", "first reset", "later resets", "reset, ratio"]
    memory = ["growth in 200 resets (target 20 MB)", "peak"]
    return markdown_table([*head, *memory, "fast / dataset view", "physics / control / observation"], rows)


def bits() -> str:
    """Our control against robosuite's own, an expert's episodes a task."""
    rows: dict[str, list[str]] = {}
    for row in read("simulation_bits")["rows"]:
        same = f"{row['same_steps']} of {row['steps']}"
        cells = [str(row["episodes"]), same, f"{row['largest_difference']:g}", f"{row['same_successes']}"]
        rows.setdefault(row["env"], [row["env"]]).extend(cells)
    head = ["episodes", "same states", "largest difference", "same end"]
    return markdown_table(
        ["task", *(f"{control}: {one}" for control in ("delta", "absolute") for one in head)], [*rows.values()]
    )


def pictures() -> str:
    found = read("pictures")["rows"]
    head = ["task", "camera", "PSNR, least", "mean", "fast / dataset", "every triangle / dataset", "fast", "triangles"]
    rows = [
        [
            *(row["env"].removesuffix("-v0"), row["camera"]),
            *(f"{row[key]:.1f} dB" for key in ("psnr_least", "psnr_mean")),
            *(f"{row['fast / dataset']:.2f}", f"{row['every triangle / dataset']:.2f}", f"{row['fast_ms']:.1f} ms"),
            f"{row['triangles_fast']:,} of {row['triangles']:,}",
        ]
        for row in found
    ]
    return markdown_table(head, rows)


# ---- robots in real time ------------------------------------------------------------------------------------------


def realtime() -> str:
    """Success, and the mean seconds that it took, by way, environment, rate and method; a column a latency."""
    lines: list[tuple[str, ...]] = []
    record = read("realtime")["success"]
    latencies = sorted({row["latency_s"] for part in record.values() for row in part["rows"]})
    for env, part in record.items():
        cells: dict[tuple[str, ...], dict[float, str]] = {}
        for row in part["rows"]:
            took = f" ({row['seconds']:.1f} s)" if row["successes"] else ""
            plan = f"{SIDE_BY_SIDE[row['method']]}, {1e3 * row['planning_s']:.0f} ms"
            key = (env.removesuffix("-v0"), f"{row['hz']:g}", plan, row["way"])
            cells.setdefault(key, {})[row["latency_s"]] = f"{row['successes']} of {part['episodes']}{took}"
        lines += [(*key, *(found.get(one, "") for one in latencies)) for key, found in cells.items()]
    titles = ["task", "Hz", "planning", "way", *(f"{1e3 * one:.0f} ms" for one in latencies)]
    rule = ["---"] * len(titles)
    return "\n".join("| " + " | ".join(line) + " |" for line in [titles, rule, *lines])


def deadline(what: str) -> str:
    found = read("realtime")["deadlines"]
    return {
        "minutes": lambda: f"{found['seconds'] / 60:.0f}",
        "hz": lambda: f"{found['hz']:g}",
        "late": lambda: f"{found['late_ms']['99.9']:.2f}",
    }[what]()


TABLES: dict[str, Callable[[], str]] = {
    "robosuite agents": lambda: agents_table(STATE_AGENTS, "robosuite, episodes of an expert", False),
    "pusht agents": lambda: agents_table(PUSHT_AGENTS, "PushT, 206 human demonstrations", True),
    "robosuite results": lambda: results_table((*STATE_AGENTS, "toolhang-state", "transport-state")),
    "pusht results": lambda: results_table(PUSHT_AGENTS),
    "mimicgen": mimicgen_line,
    "mimicgen published": mimicgen_published,
    "mimicgen agents": mimicgen_agents,
    "mimicgen generation": mimicgen_generation,
    "side by side": side_by_side,
    "ablations": ablations,
    "fork": fork,
    "sides": sides,
    "speed": speed,
    "pictures": pictures,
    "simulation": simulation,
    "bits": bits,
    "realtime": realtime,
}


def figure(name: str) -> str:
    """A single figure: ``<agent> <what>``, ``<comparison> <system> <what>``, or ``realtime <what>``.

    Raises:
        KeyError: there is none of this name.
    """
    file, _, rest = name.partition(" ")
    if file == "realtime":
        return deadline(rest)
    if file.startswith("compare_"):
        system, _, what = rest.rpartition(" ")
        return {"score": mean_score, "success": compared_success}[what](compared(file)[system])
    return {"success": success, "rate": rate, "score": score}[rest](read(file))
