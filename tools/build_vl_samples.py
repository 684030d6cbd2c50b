"""Build the vision-and-language plugin's sample shards from the image plugin's: `python tools/build_vl_samples.py`.

Pictures of emoji with their names (dataset ``emoji``; licences in ``LICENSES`` beside them) become regions, the cells of
a 3 x 3 grid as `mmask data regions` describes them, with the name as the caption. Flags are left out: what they are
called cannot be seen. The same pictures give the same bytes, which ``SHA256`` records.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmask_image.dataset import emoji
from mmask_vl.describe import GridDescriber
from mmask_vl.extract import extract

from mmask.data.pack import pack, plan_shards
from mmask.data.rows import Row
from mmask.data.source import open_source

OUT = Path(__file__).resolve().parent.parent / "plugins/mmask-vl/mmask_vl/samples"
SIDE, SHARDS, LEFT_OUT = 3, {"train": 2, "val": 1}, ("flags",)


class Stored:
    """A picture and what is known about it, both from the row."""

    extensions = ("webp",)

    def __call__(self, path: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
        """``webp`` and ``json``."""
        return {"webp": row["picture"], "json": row["about"]}


def rows() -> list[Row]:
    """One row for each picture that stays."""
    made = []
    for split, urls in emoji().items():
        for url in urls:
            for sample in open_source(url):
                known = json.loads(sample.parts["json"])
                if known["group"] in LEFT_OUT:
                    continue
                about = {"caption": known["name"], **{key: known[key] for key in ("name", "label", "group", "subgroup")}}
                columns = {"picture": sample.parts["webp"], "about": json.dumps(about, ensure_ascii=False).encode()}
                made.append(Row(Path(sample.id.key), sample.id.key, columns, split))
    return made


def build(out: Path) -> None:
    """Pack, extract, and write the list of hashes."""
    with tempfile.TemporaryDirectory() as name:
        table, packer, plans = rows(), Stored(), []
        for split, shards in SHARDS.items():
            part = [row for row in table if row.split == split]
            plans += plan_shards(part, packer, shard_count=-(-len(part) // shards))
        pack(plans, packer, Path(name) / "pictures")
        aside = Path(name) / "regions"
        done = extract([f"{name}/pictures/{{{','.join(plan.name for plan in plans)}}}"], aside, GridDescriber(side=SIDE))
        if done.failed:
            raise SystemExit(f"not described: {done.failed}")
        files = sorted(aside.glob("*.tar"))
        lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
        (aside / "SHA256").write_text("".join(lines))
        for old in (*out.glob("*.tar"), *out.glob("*.mmidx")):
            old.unlink()
        for file in (*files, aside / "SHA256"):
            shutil.copyfile(file, out / file.name)
    size = sum(file.stat().st_size for file in out.glob("*.tar"))
    print(f"{done.samples:,} pictures, {done.regions:,} regions, {size:,} bytes in {out}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    build(options.out)


if __name__ == "__main__":
    main()
