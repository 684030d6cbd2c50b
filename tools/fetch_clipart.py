"""Clip art with its titles as shards of pictures and captions: `python tools/fetch_clipart.py --out data/clipart`.

Drawings of the Open Clip Art Library of 2005, from two Debian packages that are not installed; their authors gave them
to the public domain, and nothing of them is shipped. ``train/`` and ``val/``: ``webp``, a square of white paper with
the drawing as large as it fits, and ``json`` with ``caption`` (the name and the keywords), ``name``, ``folder`` (what
the library filed it under, 21 of them) and ``file``. Then, for recipes that read regions:

    mmask data regions 'data/clipart/train/*.tar' --grid 3 --out data/clipart/regions/train
    mmask data regions 'data/clipart/val/*.tar' --grid 3 --out data/clipart/regions/val

What is left out is counted and printed. One in five of the rest is held out, by name: drawings whose names differ in
numbers, sides or colours alone, and drawings that look the same, are on one side. Needs ``apt-get`` and ``dpkg``.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from clipart import Card, Named, named, read_card
from debian import unpack
from PIL import Image

from mmask.data.pack import pack, plan_shards
from mmask.data.rows import Row, safe_key
from mmask.data.sidecar import build_index
from mmask.errors import SampleError
from mmask_image.picture import read_picture

PACKAGES = {
    "svg": ("openclipart-svg", "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5"),
    "png": ("openclipart-png", "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02"),
}
SHARD, HELD_OUT = 700, 5  # samples of a shard; one in so many names is held out
MAX_PIXELS = 1 << 24
PAPER, EMPTY, DARK = 250, 0.002, 24.0  # what counts as white; the least share of ink; the mean of a black picture
SAME, ALIKE = 0.5, 2.0  # mean difference of 8 x 8 colours, of 255: of one drawing filed twice, of two of a series
Reasons = Counter[str]


@dataclass(frozen=True)
class Drawing:
    """One that stays. thumb: (8, 8, 3) float32."""

    card: Card
    said: Named
    webp: bytes
    thumb: np.ndarray


class Stored:
    """A picture and what is known about it, both from the row."""

    extensions: Sequence[str] = ("webp",)

    def __call__(self, path: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
        """``webp`` and ``json``."""
        return {"webp": row["picture"], "json": row["about"]}


def cards(root: Path) -> list[Card]:
    """What every SVG below ``root`` says of itself."""
    paths = sorted(root.rglob("*.svg"))
    return [read_card(path.relative_to(root).as_posix(), path.read_text("utf-8", "replace")) for path in paths]


def unlike(chosen: list[Named], dropped: Reasons) -> Iterator[Named]:
    """The first drawing of each caption."""
    seen = set()
    for one in chosen:
        if one.caption in seen:
            dropped["another has the caption"] += 1
            continue
        seen.add(one.caption)
        yield one


def drawn(path: Path, side: int) -> tuple[bytes, np.ndarray]:
    """The picture as WebP, ``side`` x ``side`` on white, and its thumb. Raises SampleError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SampleError("no picture") from error
    try:
        pixels = read_picture(data, max_pixels=MAX_PIXELS)
    except SampleError as error:
        raise SampleError("larger than 16 million pixels" if "max_pixels" in error.message else "unreadable") from error
    except Exception as error:  # a broken file may end in any way, and must not end the rest
        raise SampleError("unreadable") from error
    ink = pixels.min(2) < PAPER
    if ink.mean() < EMPTY:
        raise SampleError("empty")
    if pixels.mean() < DARK:
        raise SampleError("black")
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    image = Image.fromarray(pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    scale = side / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    page = Image.new("RGB", (side, side), (255, 255, 255))
    page.paste(image.resize((width, height), Image.Resampling.BICUBIC), ((side - width) // 2, (side - height) // 2))
    to = io.BytesIO()
    page.save(to, "webp", quality=90)
    return to.getvalue(), np.asarray(page.resize((8, 8), Image.Resampling.BOX), np.float32)


def sides(drawings: list[Drawing]) -> list[str]:
    """``train`` or ``val`` of each: joined by the name's key and by looks, a group goes where its first key does."""
    group = list(range(len(drawings)))

    def head(one: int) -> int:
        while group[one] != one:
            one = group[one] = group[group[one]]
        return one

    first: dict[str, int] = {}
    thumbs = np.stack([one.thumb for one in drawings]).reshape(len(drawings), -1)
    for here, one in enumerate(drawings):
        near = np.flatnonzero(np.abs(thumbs[:here] - thumbs[here]).mean(1) < ALIKE).tolist()
        for other in (first.setdefault(one.said.key, here), *near):
            low, high = sorted((head(here), head(other)))
            group[high] = low
    keys = [drawings[head(here)].said.key for here in range(len(drawings))]
    return ["val" if zlib.crc32(key.encode()) % HELD_OUT == 0 else "train" for key in keys]


def look(root: Path, side: int, chosen: list[Named], dropped: Reasons) -> list[Drawing]:
    """Every picture that can be seen."""
    made: list[Drawing] = []
    for one in chosen:
        try:
            webp, thumb = drawn(root / Path(one.card.file).with_suffix(".png"), side)
        except SampleError as error:
            dropped[error.message] += 1
            continue
        if any(np.abs(other.thumb - thumb).mean() < SAME for other in made):
            dropped["another looks the same"] += 1
            continue
        made.append(Drawing(one.card, one, webp, thumb))
    return made


def rows(drawings: list[Drawing]) -> list[Row]:
    """One for each drawing."""
    made = []
    for one, split in zip(drawings, sides(drawings), strict=True):
        about = {"caption": one.said.caption, "name": one.said.name, "folder": one.card.folder, "file": one.card.file}
        columns = {"picture": one.webp, "about": json.dumps(about, ensure_ascii=False, sort_keys=True).encode()}
        key = safe_key(one.card.file.removesuffix(".svg"))
        made.append(Row(Path(key), key, columns, split))
    return made


def build(out: Path, cache: Path, side: int) -> None:
    """Fetch, choose, look and pack."""
    roots = {kind: unpack(name, cache, digest) / "usr/share/openclipart" / kind
             for kind, (name, digest) in PACKAGES.items()}
    dropped: Reasons = Counter()
    known = cards(roots["svg"])
    chosen = list(unlike(named(known, dropped), dropped))
    drawings = look(roots["png"], side, chosen, dropped)
    table, packer = rows(drawings), Stored()
    print(f"{len(known):,} drawings; left out:")
    print("\n".join(f"    {count:5,} {why}" for why, count in dropped.most_common()))
    for split in ("train", "val"):
        where, part = out / split, [row for row in table if row.split == split]
        done = pack(plan_shards(part, packer, shard_count=SHARD), packer, where)
        build_index([str(where / shard.name) for shard in done])
        print(f"{split}: {sum(shard.samples for shard in done):,} pairs in {len(done)} shards in {where}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/clipart"))
    parser.add_argument("--cache", type=Path, help="where packages are kept (160 MB, 460 unpacked)")
    parser.add_argument("--side", type=int, default=96, help="of pictures, in pixels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        build(options.out, options.cache or Path(name), options.side)


if __name__ == "__main__":
    main()
