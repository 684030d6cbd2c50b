"""Fashion-MNIST as labelled shards: `python tools/fetch_fashion.py --out data/fashion`.

Takes Debian's package ``dataset-fashion-mnist`` (Expat licence; Xiao, Rasul & Vollgraf 2017), without
installing it, and writes the official split as ``train/`` (60,000) and ``val/`` (10,000): PNG 28 x 28 grey
and ``cls``. For benchmarks only: nothing of it is shipped. Needs ``apt-get`` and ``dpkg``.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmask.data.pack import CLASSES, pack, plan_shards
from mmask.data.rows import Row
from mmask.data.sidecar import build_index

PACKAGE = "dataset-fashion-mnist"
FILES = {"train": "train", "val": "t10k"}
NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SAMPLES = {"train": 60_000, "val": 10_000}


@dataclass(frozen=True)
class PixelPacker:
    """28 x 28 bytes -> PNG."""

    def __call__(self, path: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
        """``png``; the label is written from the row."""
        to = io.BytesIO()
        Image.fromarray(np.frombuffer(row["pixels"], np.uint8).reshape(28, 28)).save(to, "png", optimize=True)
        return {"png": to.getvalue(), "cls": str(row["label"]).encode()}


def fetch(folder: Path) -> Path:
    """The package's files, unpacked under ``folder``."""
    subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, check=True)
    (archive,) = folder.glob(f"{PACKAGE}_*.deb")
    subprocess.run(["dpkg", "-x", str(archive), str(folder / "root")], check=True)
    return folder / "root"


def idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes, gzipped: magic (0, 0, 8, dimensions), then big-endian sizes, then data."""
    data = gzip.decompress(path.read_bytes())
    if data[:3] != b"\0\0\x08":
        raise SystemExit(f"{path} is no IDX file of bytes")
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def rows(root: Path, split: str) -> list[Row]:
    """One row for each picture, keyed by its number."""
    (images,) = root.rglob(f"{FILES[split]}-images-idx3-ubyte.gz")
    (labels,) = root.rglob(f"{FILES[split]}-labels-idx1-ubyte.gz")
    pixels, numbers = idx(images), idx(labels)
    if len(pixels) != SAMPLES[split] or len(numbers) != len(pixels):
        raise SystemExit(f"{images} holds {len(pixels)} pictures and {len(numbers)} labels")
    return [
        Row(Path(str(i)), f"{i:06d}", {"pixels": pixels[i].tobytes(), "label": int(numbers[i])}, split)
        for i in range(len(pixels))
    ]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/fashion"))
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = fetch(Path(name))
        for split in FILES:
            out, packer = options.out / split, PixelPacker()
            plans = plan_shards(rows(root, split), packer, shard_count=7_500)
            done = pack(plans, packer, out, jobs=options.jobs)
            build_index([str(out / shard.name) for shard in done])
            (out / CLASSES).write_text(json.dumps(NAMES, indent=0) + "\n")
            print(f"{split}: {sum(shard.samples for shard in done)} samples in {len(done)} shards in {out}")


if __name__ == "__main__":
    main()
