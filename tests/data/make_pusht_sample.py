"""Cut the first episodes out of the human PushT demonstrations: same layout, chunks, compressor and dtypes.

python tests/data/make_pusht_sample.py pusht_cchi_v7_replay.zarr
"""

from __future__ import annotations

import argparse
from pathlib import Path

import zarr

N_EPISODES = 5
TARGET = Path(__file__).parent / "pusht_sample.zarr"


def cut(source: Path, target: Path, n_episodes: int) -> None:
    whole, part = zarr.open_group(str(source), mode="r"), zarr.open_group(str(target), mode="w", zarr_format=2)
    n_rows = int(whole["meta/episode_ends"][n_episodes - 1])
    for name, n in {"meta/episode_ends": n_episodes, **{f"data/{name}": n_rows for name in whole["data"]}}.items():
        array = whole[name]
        kept = {"chunks": array.chunks, "compressors": array.compressors, "fill_value": array.fill_value}
        part.create_array(name, data=array[:n], **kept)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    cut(parser.parse_args().source, TARGET, N_EPISODES)
