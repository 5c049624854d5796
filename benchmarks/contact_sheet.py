"""One picture of every MimicGen task and variant: `agentview` after ``reset(seed=0)``.

python benchmarks/contact_sheet.py [docs/mimicgen.png] [--envs Stack_D0-v0 ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gymnasium as gym
import numpy as np
from mimicgen import IDS
from PIL import Image, ImageDraw

COLUMNS, SIZE, LABEL = 7, 176, 14  # pixels
COLOURS = 256  # of the palette: keeps the file small


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=Path("docs/mimicgen.png"))
    parser.add_argument("--envs", nargs="+", default=IDS, choices=IDS, metavar="ID", help="default: all")
    args = parser.parse_args()
    path: Path = args.path
    sheet(args.envs).quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {len(args.envs)} environments, {path.stat().st_size // 1000} kB")


def sheet(ids: list[str]) -> Image.Image:
    rows = -(-len(ids) // COLUMNS)
    picture = Image.new("RGB", (COLUMNS * SIZE, rows * (SIZE + LABEL)), "white")
    draw = ImageDraw.Draw(picture)
    for index, env_id in enumerate(ids):
        x, y = index % COLUMNS * SIZE, index // COLUMNS * (SIZE + LABEL)
        picture.paste(Image.fromarray(start_of(env_id)), (x, y + LABEL))
        draw.text((x + 3, y + 1), env_id, fill="black")
    return picture


def start_of(env_id: str) -> np.ndarray:
    env = gym.make(env_id, obs_type="state", render_mode="rgb_array", render_camera="agentview", render_size=SIZE)
    env.reset(seed=0)
    picture = env.render()
    env.close()
    assert isinstance(picture, np.ndarray)
    return picture


if __name__ == "__main__":
    main()
