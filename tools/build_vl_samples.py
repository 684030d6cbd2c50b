"""Build the vision-and-language plugin's sample shards from the image plugin's: `python tools/build_vl_samples.py`.

Pictures of emoji (dataset ``emoji``; licences in ``LICENSES`` beside them) become regions, the cells of a 3 x 3 grid as
`mmask data regions` describes them. The caption is the name and the one or two basic colours that the picture has most
of, "shrimp, orange and red", so that words and regions have something to say of each other. Flags are left out: what
they are called cannot be seen. The same pictures give the same bytes, which ``SHA256`` records.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmask.data.pack import pack, plan_shards
from mmask.data.rows import Row
from mmask.data.source import open_source
from mmask_image.dataset import emoji
from mmask_vl.describe import PALETTE, GridDescriber
from mmask_vl.extract import extract, read_picture

OUT = Path(__file__).resolve().parent.parent / "plugins/mmask-vl/mmask_vl/samples"
SIDE, SHARDS, LEFT_OUT = 3, {"train": 2, "val": 1}, ("flags",)
MINOR = 0.5  # of the commonest colour's share, from which a second one is named


class Stored:
    """A picture and what is known about it, both from the row."""

    extensions: Sequence[str] = ("webp",)

    def __call__(self, path: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
        """``webp`` and ``json``."""
        return {"webp": row["picture"], "json": row["about"]}


def seen(regions: Mapping[str, np.ndarray]) -> str:
    """The one or two basic colours that most of a picture has, beside white: ``red and black``."""
    shares = regions["classes"].astype(np.float64).mean(0)[1:]
    order = np.argsort(-shares, kind="stable")[:2]
    names = [list(PALETTE)[1 + i] for i in order if shares[i] >= MINOR * shares.max()]
    return " and ".join(names)


def rows() -> list[Row]:
    """One row for each picture that stays."""
    made, describe = [], GridDescriber(side=SIDE)
    for split, urls in emoji().items():
        for url in urls:
            for sample in open_source(url):
                known = json.loads(sample.parts["json"])
                if known["group"] in LEFT_OUT:
                    continue
                colours = seen(describe(read_picture(sample.parts["webp"], 1 << 20)))
                kept = {key: known[key] for key in ("name", "label", "group", "subgroup")}
                about = {"caption": f"{known['name']}, {colours}", **kept}
                columns = {"picture": sample.parts["webp"], "about": json.dumps(about, ensure_ascii=False).encode()}
                made.append(Row(Path(sample.id.key), sample.id.key, columns, split))
    return made


def pictures(out: Path) -> None:
    """Pack the pictures and their captions."""
    table, packer = rows(), Stored()
    for split in SHARDS:
        done = pack(plan_shards([row for row in table if row.split == split], packer), packer, out / split)
        print(f"{sum(shard.samples for shard in done):,} pictures in {out / split}")


def build(out: Path) -> None:
    """Pack, extract, and write the list of hashes."""
    with tempfile.TemporaryDirectory() as name:
        table, packer, plans = rows(), Stored(), []
        for split, shards in SHARDS.items():
            part = [row for row in table if row.split == split]
            plans += plan_shards(part, packer, shard_count=-(-len(part) // shards))
        pack(plans, packer, Path(name) / "pictures")
        aside = Path(name) / "regions"
        packed = f"{name}/pictures/{{{','.join(plan.name for plan in plans)}}}"
        done = extract([packed], aside, GridDescriber(side=SIDE))
        if done.failed:
            raise SystemExit(f"not described: {done.failed}")
        files = sorted(aside.glob("*.tar"))
        lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
        (aside / "SHA256").write_text("".join(lines))
        for old in (*out.glob("*.tar"), *out.glob("*.mmidx")):
            old.unlink()
        for file in (*files, aside / "SHA256"):
            shutil.copyfile(file, out / file.name)
    shutil.copyfile(Path(emoji()["train"][0]).with_name("LICENSES"), out / "LICENSES")
    size = sum(file.stat().st_size for file in out.glob("*.tar"))
    print(f"{done.samples:,} pictures, {done.regions:,} regions, {size:,} bytes in {out}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write pictures with captions, no regions")
    options = parser.parse_args()
    if options.pictures:
        pictures(options.pictures)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    build(options.out)


if __name__ == "__main__":
    main()
