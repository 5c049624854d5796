"""Agents by name: a few come with the package, the others lie in a checkout's ``agents/``, are fetched, or are trained.

``published.yaml`` lists those that are fetched, with sizes and SHA-256: what arrives is what was published, and no
server can send more than that. A configuration of the package trains an agent of its name, as ``runs/NAME/agent``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from importlib.metadata import PackageNotFoundError, metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

from l1flow_agents.errors import CheckpointError, DownloadError
from l1flow_agents.files import cache_folder
from l1flow_agents.safe_yaml import parse_yaml, read_yaml

PACKAGE = Path(str(files("l1flow_agents")))
BUNDLED = PACKAGE / "bundled"
CHECKOUT = PACKAGE.parent / "agents" if (PACKAGE.parent / "setup.cfg").is_file() else None
TABLE = PACKAGE / "published.yaml"
CONFIGS = PACKAGE / "configs"
RUNS = Path("runs")  # of `l1flow train`
FILES = ("config.yaml", "model.safetensors")
log = logging.getLogger(__name__)


def names() -> list[str]:
    """Every published agent."""
    return sorted({*_bundled(), *table()})


def config_names() -> list[str]:
    """Names of the configurations that come with the package."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def names_for(env_id: str) -> list[str]:
    """Names of the agents for an environment: those that come with the package first, then those without pictures.

    Where none is published, those that a configuration trains.
    """
    bundled = _bundled()
    envs = {name: entry["env"] for name, entry in table().items()}
    envs |= {name: read_yaml(BUNDLED / name / FILES[0])["env"] for name in bundled}
    if env_id not in {env["id"] for env in envs.values()}:
        read = {name: read_yaml(CONFIGS / f"{name}.yaml") for name in config_names()}
        envs = {name: {"id": one["env"], "kwargs": one.get("env_kwargs", {})} for name, one in read.items()}

    def rank(name: str) -> tuple[bool, bool, str]:
        return name not in bundled, envs[name]["kwargs"].get("obs_type") != "state", name

    return sorted((name for name, env in envs.items() if env["id"] == env_id), key=rank)


def find(name: str) -> Path | None:
    """The checkpoint folder of the agent ``name``, fetched if need be; None where none has this name.

    Raises:
        CheckpointError: it has to be fetched, and nobody said from where, or to be trained: names the command.
        DownloadError: what arrived is not right.
    """
    if name in _bundled():
        return BUNDLED / name
    entry = table().get(name)
    if entry is None:
        return _trained(name) if name in config_names() else None
    if CHECKOUT is not None and (CHECKOUT / name).is_dir():
        return CHECKOUT / name
    kept = agents_dir() / f"{name}-{entry['files'][FILES[0]]['sha256'][:8]}"  # the configuration names its weights
    return kept if _differing(kept, entry) is None else _fetch(name, entry, kept)


def agents_dir() -> Path:
    """Where fetched agents are kept: ``agents`` in ``$L1FLOW_CACHE`` or ``~/.cache/l1flow``."""
    return cache_folder() / "agents"


def table() -> dict[str, dict[str, Any]]:
    """The agents that are fetched: name -> environment, and size and SHA-256 of each file."""
    agents: dict[str, dict[str, Any]] = read_yaml(TABLE)
    return agents


def describe(folder: Path) -> dict[str, dict[str, Any]]:
    """What `table` has to say of the agents in ``folder``."""
    found = {}
    for path in sorted(folder.glob(f"*/{FILES[0]}")):
        contents = {file: (path.parent / file).read_bytes() for file in FILES}
        found[path.parent.name] = {
            "env": parse_yaml(contents[FILES[0]].decode())["env"],
            "files": {
                file: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for file, content in contents.items()
            },
        }
    return found


def _bundled() -> list[str]:
    return sorted(path.parent.name for path in BUNDLED.glob(f"*/{FILES[0]}"))


def _trained(name: str) -> Path:
    """Where ``l1flow train NAME`` leaves its agent."""
    folder = RUNS / name / "agent"
    if not folder.is_dir():
        raise CheckpointError(
            f"agent {name!r} is not published; `l1flow train {name}` makes its demonstrations where they are missing "
            f"and trains it, as {folder}, where this name then finds it"
        )
    log.info("%s is not published; taken is %s", name, folder)
    return folder


def _fetch(name: str, entry: dict[str, Any], target: Path) -> Path:
    """The agent's folder at ``$L1FLOW_AGENTS``, or ``target``, filled from the server."""
    source = os.environ.get("L1FLOW_AGENTS") or _home()
    if not source:
        raise CheckpointError(
            f"agent {name!r} does not come with the package, and this version has no address to fetch it from; set "
            "L1FLOW_AGENTS to an URL, or to a folder such as agents/ of a checkout, that holds "
            f"{name}/{FILES[0]} and {name}/{FILES[1]}"
        )
    if not source.startswith(("http://", "https://")):
        folder = Path(source).expanduser() / name
        if wrong := _differing(folder, entry):
            raise CheckpointError(f"{folder / wrong}: missing, or not the published file; L1FLOW_AGENTS is {source!r}")
        return folder
    from l1flow_agents.data.download import fetch  # late: it imports the readers of data sets

    scratch = target.with_name(f".{target.name}.part")
    scratch.mkdir(parents=True, exist_ok=True)
    for file, expected in entry["files"].items():
        url = f"{source.rstrip('/')}/{name}/{file}"
        fetch(url, scratch / file, progress_bar=file == FILES[1], limit=expected["bytes"])
        if not _is(scratch / file, expected):
            (scratch / file).unlink()
            raise DownloadError(f"{url}: not the published file, its SHA-256 differs; deleted")
    shutil.rmtree(target, ignore_errors=True)  # damaged, or it would have been taken
    os.replace(scratch, target)
    return target


def _home() -> str | None:
    """``agents/`` of this version in the repository that the package's metadata name (``url`` in setup.cfg)."""
    try:
        about = metadata("l1flow-agents")
    except PackageNotFoundError:  # a checkout that is not installed
        return None
    return f"{about['Home-page']}/raw/v{about['Version']}/agents" if "Home-page" in about else None


def _differing(folder: Path, entry: dict[str, Any]) -> str | None:
    """The first file of ``folder`` that is not there as published."""
    return next((file for file, expected in entry["files"].items() if not _is(folder / file, expected)), None)


def _is(path: Path, expected: dict[str, Any]) -> bool:
    if not path.is_file() or path.stat().st_size != expected["bytes"]:
        return False
    return bool(hashlib.sha256(path.read_bytes()).hexdigest() == expected["sha256"])
