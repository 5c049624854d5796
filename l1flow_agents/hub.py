"""Agents on the Hugging Face Hub, by its own client: fetched at a revision, pushed as one commit.

Where nobody answers within `PATIENCE`, that is said at once; the client alone would try for many times as long.
"""

from __future__ import annotations

import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from l1flow_agents.errors import CheckpointError, ConfigError, DownloadError
from l1flow_agents.names import shown

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
PATIENCE = 2.0  # seconds until the Hub must have answered something
HUB = "https://huggingface.co"


def endpoint() -> str:
    """The Hub's address: ``$HF_ENDPOINT``, or the public one."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def fetch_agent(repo_id: str, revision: str | None, sizes: Mapping[str, int]) -> Path:
    """The folder with the files of ``repo_id`` at ``revision``, a branch, tag or commit; kept for the next time.

    Args:
        sizes: which files, and how many bytes each may have: nothing larger is fetched.

    Raises:
        CheckpointError: nobody answers and it was not fetched before, or what the Hub has is no agent.
    """
    where = f"{repo_id} at {revision}" if revision else repo_id
    reason = unreachable(f"{endpoint()}/api/models/{repo_id}")
    if reason and not _folder_of(repo_id).is_dir():
        raise CheckpointError(
            f"{where!r} is neither a folder nor a published agent here, and the Hub cannot be asked: {reason}"
        )
    try:
        from huggingface_hub import HfApi, snapshot_download  # late: slow to import, and only needed here

        if reason:
            kept = snapshot_download(repo_id, revision=revision, allow_patterns=list(sizes), local_files_only=True)
            return Path(kept)
        info = HfApi(endpoint=endpoint()).model_info(repo_id, revision=revision, files_metadata=True, timeout=10)
        found = {one.rfilename: one.size for one in info.siblings or []}
        _check_files(where, found, sizes)
        return Path(snapshot_download(repo_id, revision=info.sha, allow_patterns=list(sizes), endpoint=endpoint()))
    except CheckpointError:
        raise
    except Exception as error:  # the Hub's client raises many kinds; a name that cannot be had is one error here
        raise CheckpointError(
            f"{where!r} is neither a folder nor a published agent here, and the Hub answered: {_one_line(error)}"
        ) from error


def push_agent(folder: Path, repo_id: str, revision: str | None, private: bool, message: str) -> str:
    """Push the files of ``folder`` to ``repo_id``, made where it is not there, as one commit.

    Args:
        revision: a branch, made where it is not there; ``main`` by default.

    Returns:
        The commit, which `fetch_agent` takes as revision.

    Raises:
        ConfigError: no id ``owner/name``. DownloadError: nobody answers, or the Hub says no.
    """
    check_id(repo_id)
    if reason := unreachable(f"{endpoint()}/api/models/{repo_id}"):
        raise DownloadError(f"{repo_id}: the Hub cannot be asked: {reason}")
    try:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=endpoint())
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(repo_id=repo_id, folder_path=folder, revision=revision, commit_message=message)
        return str(commit.oid)
    except Exception as error:
        raise DownloadError(f"{repo_id}: not pushed: {_one_line(error)}") from error


def check_id(repo_id: object) -> None:
    if not isinstance(repo_id, str) or not HUB_ID.fullmatch(repo_id):
        raise ConfigError(f"expected a Hub id owner/name, got {shown(repo_id)}")


def unreachable(url: str) -> str | None:
    """Why nobody answers at ``url``; None where somebody does, whatever they say.

    It is asked in a thread of its own: looking up a name knows no time limit.
    """
    found: list[str | None] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PATIENCE).close()
            found.append(None)
        except urllib.error.HTTPError:  # no such repository, or a secret one: an answer
            found.append(None)
        except (OSError, ValueError) as error:
            found.append(str(getattr(error, "reason", error)))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return f"{endpoint()}: {found[0]}" if found and found[0] else None if found else f"{endpoint()}: no answer in time"


def _check_files(where: str, found: Mapping[str, int | None], sizes: Mapping[str, int]) -> None:
    if missing := [name for name in sizes if name not in found]:
        raise CheckpointError(f"{where!r} on the Hub is no agent of this library: {missing} missing")
    for name, most in sizes.items():
        size = found[name]
        if size is None or size > most:
            raise CheckpointError(f"{where!r} on the Hub: {name} has {size} bytes, expected at most {most}")


def _folder_of(repo_id: str) -> Path:
    """Where the Hub's client keeps what it fetched; it is not imported to find that there is nothing."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or os.path.join(cache, "huggingface")
    kept = os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")
    return Path(kept).expanduser() / f"models--{repo_id.replace('/', '--')}"


def _one_line(error: Exception) -> str:
    if isinstance(error, ImportError):
        return f"{error}; pip install 'l1flow-agents[hub]'"
    return " ".join(str(error).split())[:300] or type(error).__name__
