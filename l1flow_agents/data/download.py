"""Published data sets: where they lie, and a download that never leaves half a file under its final name."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from l1flow_agents.data.replay_zarr import read_replay_zarr
from l1flow_agents.errors import DatasetError, DownloadError
from l1flow_agents.files import replaced_folder
from l1flow_agents.names import choose

BLOCK = 1 << 20


class Published(NamedTuple):
    """One data set on the web."""

    url: str
    member: str
    """Folder inside the zip."""
    fingerprint: str
    """`Episodes.fingerprint` of the keys ``state`` and ``agent_pos``: what arrived is what was published."""


PUBLISHED = {
    "pusht": Published(
        "https://diffusion-policy.cs.columbia.edu/data/training/pusht.zip",
        "pusht/pusht_cchi_v7_replay.zarr",
        "0c7eaa9baa318d8ab74a3473c71480b46abe37ca5df5752523473d12cad9af72",
    ),
}


def data_dir() -> Path:
    """``$L1FLOW_DATA``, or ``~/.cache/l1flow/data``."""
    return Path(os.environ.get("L1FLOW_DATA", "~/.cache/l1flow/data")).expanduser()


def locate(name: str | os.PathLike) -> Path:
    """The path of a data set given as a path or as a published name that was downloaded.

    Raises:
        DatasetError: it is not there; says how to get it.
    """
    if Path(name).exists():
        return Path(name)
    if str(name) in PUBLISHED:
        path = data_dir() / Path(PUBLISHED[str(name)].member).name
        if path.exists():
            return path
        raise DatasetError(
            f"data set {str(name)!r} is not in {data_dir()}; run `l1flow download {name}`, set L1FLOW_DATA to the "
            "folder that holds it, or give its path"
        )
    raise DatasetError(f"no data set at {str(name)!r}, and it is none of {sorted(PUBLISHED)}")


def download(
    name: str, folder: str | os.PathLike | None = None, url: str | None = None, progress_bar: bool = True
) -> Path:
    """Fetch a published data set into ``folder`` (default: `data_dir`), continuing a broken download.

    Returns:
        The data set's path; nothing is fetched if it is there already.

    Raises:
        ConfigError: an unknown name. DownloadError: the server's answer, or what arrived, is not right.
    """
    published = choose(name, PUBLISHED, "data set")
    folder = Path(folder or data_dir())
    target = folder / Path(published.member).name
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{name}.zip.part"
    fetch(url or published.url, archive, progress_bar)
    with replaced_folder(target) as scratch:
        unpack(archive, scratch, published.member)
        found = read_replay_zarr(scratch, keys=["state", "agent_pos"]).fingerprint
        if found != published.fingerprint:
            archive.unlink()
            raise DownloadError(f"{url or published.url}: content hash {found}, expected {published.fingerprint}")
    archive.unlink()
    return target


def fetch(url: str, path: Path, progress_bar: bool, limit: int | None = None) -> None:
    """Download to ``path``, appending to what an earlier try left there; not more than ``limit`` bytes in all."""
    have = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            if have and response.status != 206:  # the server does not continue; start again
                have = 0
            total = have + int(response.headers.get("Content-Length", 0))
            with (
                open(path, "ab" if have else "wb") as file,
                tqdm(total=total, initial=have, unit="B", unit_scale=True, disable=not progress_bar) as bar,
            ):
                while block := response.read(BLOCK):
                    have += len(block)
                    if limit is not None and have > limit:
                        raise DownloadError(f"{url}: more than the {limit} bytes that it should have")
                    file.write(block)
                    bar.update(len(block))
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing left to send: the file was complete
            return
        raise DownloadError(f"{url}: the server answered {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(f"{url}: {reason}; run the command again to continue at {path}") from error
    if total and path.stat().st_size != total:
        raise DownloadError(
            f"{url}: {path.stat().st_size} of {total} bytes arrived; run the command again to continue at {path}"
        )


def unpack(archive: Path, folder: Path, member: str) -> None:
    """Extract what is below ``member`` into ``folder``; a damaged archive is deleted and refused."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            files = [file for file in zipped.infolist() if file.filename.startswith(member + "/")]
            if not files:
                raise DownloadError(f"{archive}: no {member!r} inside, found {zipped.namelist()[:3]}")
            for file in files:
                file.filename = file.filename.removeprefix(member + "/")
                if file.filename:  # not the folder itself
                    zipped.extract(file, folder)  # checks its CRC, and keeps inside the folder
    except (zipfile.BadZipFile, EOFError, shutil.Error) as error:
        archive.unlink()
        raise DownloadError(f"{archive}: not a whole zip file ({error}); deleted, download again") from error
