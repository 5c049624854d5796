"""``l1flow collect``, ``generate``, ``replay``, ``add-observations``, ``convert``, ``download`` and ``info``."""

from __future__ import annotations

import argparse

import yaml


def run_collect(arguments: argparse.Namespace) -> int:
    from l1flow_agents.demonstrations.collection import collect

    novice = None
    if arguments.agent is not None:
        from l1flow_agents.experiments.corrections import novice_of

        novice = novice_of(arguments.agent)
    done = collect(
        arguments.env,
        arguments.demos,
        arguments.output,
        arguments.workers,
        arguments.seed,
        progress_bar=True,
        cluster=arguments.cluster,
        novice=novice,
        extras=arguments.extras,
    )
    rate = "the expert's success rate" if novice is None else "rate of the new ones, which the agent had yet to solve,"
    print(f"{arguments.output}: {done.n_demos} demonstrations; {rate} {done}")
    return 0


def run_generate(arguments: argparse.Namespace) -> int:
    from l1flow_agents.demonstrations.generation import generate

    output = arguments.output or f"{arguments.env.split(':')[-1].rpartition('-v')[0].lower()}.hdf5"
    done = generate(
        arguments.env,
        arguments.source,
        arguments.demos,
        output,
        arguments.task,
        arguments.sources,
        arguments.filter_key,
        arguments.noise,
        arguments.workers,
        arguments.seed,
        progress_bar=True,
        cluster=arguments.cluster,
    )
    print(f"{output}: {done.n_demos} demonstrations; the attempts' success rate {done}")
    return 0


def run_replay(arguments: argparse.Namespace) -> int:
    from l1flow_agents.demonstrations.playback import replay

    done = []
    for one in replay(arguments.file, arguments.demos, arguments.workers, arguments.filter_key):
        print(one, flush=True)
        done.append(one)
    n_agreeing = sum(one.agrees for one in done)
    print(
        f"{n_agreeing} of {len(done)} episodes end as the file says; largest difference "
        f"{max(one.metres for one in done):.2g} m, {max(one.radians for one in done):.2g} rad"
    )
    return 0 if n_agreeing == len(done) else 1


def run_add_observations(arguments: argparse.Namespace) -> int:
    from l1flow_agents.demonstrations.observing import add_observations

    n_demos = add_observations(
        arguments.file,
        arguments.output,
        arguments.obs_type,
        arguments.cameras,
        arguments.image_size,
        arguments.render_quality,
        arguments.actions,
        arguments.workers,
        progress_bar=True,
        cluster=arguments.cluster,
    )
    print(f"{arguments.output}: {n_demos} demonstrations")
    return 0


def run_convert(arguments: argparse.Namespace) -> int:
    from l1flow_agents.data.convert import convert

    written = convert(
        arguments.source,
        arguments.output,
        arguments.to,
        keys=arguments.keys,
        filter_key=arguments.filter_key,
        fps=arguments.fps,
        task=arguments.task,
        video=arguments.video,
        env=arguments.env,
    )
    print(f"{arguments.output}: {len(written)} episodes, {written.n_steps} steps of {', '.join(written.observations)}")
    return 0


def run_download(arguments: argparse.Namespace) -> int:
    from l1flow_agents.data.download import download

    print(download(arguments.name, arguments.folder, arguments.url))
    return 0


def run_info(arguments: argparse.Namespace) -> int:
    from l1flow_agents.cli import describe

    print(yaml.safe_dump(describe.describe(arguments.name), sort_keys=False, width=120), end="")
    return 0
