"""Build the video plugin's sample shards from five pinned npm packages: `python tools/build_video_samples.py`.

Animated emoji (Microsoft's Fluent set, MIT) with names, tags and groups (emojibase, MIT; the names are Unicode's),
composited on white, 64 x 64, 24 frames at 8 a second, H.264 in MP4. Skin tones and pictures that do not move
are left out. The split is by concept: men, women and persons doing the same thing are one concept, and a concept
is wholly in train or wholly in val. The bytes depend on the pinned packages and on the encoder inside PyAV,
which is recorded in ``SHA256``.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from build_image_samples import PACKAGES as PICTURES
from build_image_samples import TONES, concept, fetch, plain
from PIL import Image, ImageSequence

from mmask.data.pack import CLASSES, JOURNAL, pack, plan_shards
from mmask.data.rows import Row

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "plugins/mmask-video/mmask_video/samples"
ANIMATIONS = {
    "@lobehub/fluent-emoji-anim-1@1.0.0": "4c03ac178c1eabf2e2a16dd498f3cc2b92dc30ec3466ae38fdc497d4774c99ea",
    "@lobehub/fluent-emoji-anim-2@1.0.0": "e431da8172e394036c330faa77648d6fbbae1fd3b0be95637c4497c9075019c0",
    "@lobehub/fluent-emoji-anim-3@1.0.0": "3624d0c34c819c1794b74ccf6ae9034adff7c4cb6318dd2a645145f0196feb43",
    "@lobehub/fluent-emoji-anim-4@1.0.0": "3d4c08f1e321f70808ef4996aba0ab575a9d97b6c56ffffc92cf6161a7836aa3",
}
NAMES = "emojibase-data@17.0.0"
SIDE, FRAMES, RATE, QUALITY = 64, 24, 8, 30
SHARDS = {"train": 4, "val": 1}
LEAST_MOTION = 1.0  # mean absolute difference of neighbouring frames, of 255


@dataclass(frozen=True)
class ClipPacker:
    """A clip and what is known about it; the columns hold both."""

    def __call__(self, path: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
        """``mp4`` and ``json``."""
        return {"mp4": row["clip"], "json": json.dumps(row["about"], ensure_ascii=False).encode()}


def frames(picture: bytes) -> np.ndarray | None:
    """FRAMES frames evenly over one loop, (T, SIDE, SIDE, 3) uint8 on white; None for what stands still."""
    image = Image.open(io.BytesIO(picture))
    count = getattr(image, "n_frames", 1)
    if count < FRAMES:
        return None
    wanted, made = {int(i * count / FRAMES) for i in range(FRAMES)}, []
    for number, frame in enumerate(ImageSequence.Iterator(image)):
        if number in wanted:
            rgba = frame.convert("RGBA")
            white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
            white.alpha_composite(rgba)
            made.append(np.asarray(white.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)))
    clip = np.stack(made)
    motion = np.abs(np.diff(clip.astype(np.int16), axis=0)).mean()
    return clip if motion >= LEAST_MOTION else None


def encode(clip: np.ndarray) -> bytes:
    """H.264 in MP4, a key frame every 8 frames."""
    to = io.BytesIO()
    with av.open(to, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(RATE))
        stream.width, stream.height, stream.pix_fmt = clip.shape[2], clip.shape[1], "yuv420p"
        stream.options = {"crf": str(QUALITY), "preset": "veryslow", "g": "8", "threads": "1"}
        for frame in clip:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return to.getvalue()


def rows(pictures: Mapping[str, bytes], base: Mapping[str, bytes]) -> list[Row]:
    """One row for each base emoji that moves."""
    groups = json.loads(base["meta/groups.json"])
    known = {plain(entry["hexcode"]): entry for entry in json.loads(base["en/data.json"])}
    made = []
    for path in sorted(pictures):
        code = plain(Path(path).stem)
        if not path.endswith(".webp") or TONES & set(code.split("-")) or code not in known:
            continue
        clip = frames(pictures[path])
        if clip is None:
            continue
        entry = known[code]
        about = {
            "name": entry["label"], "caption": f"{entry['label']}", "tags": entry.get("tags", []),
            "label": entry["group"], "group": groups["groups"][str(entry["group"])],
            "subgroup": groups["subgroups"][str(entry["subgroup"])],
        }
        share = int.from_bytes(hashlib.sha256(concept(entry["label"]).encode()).digest()[:4], "big") % 5
        made.append(Row(Path(code), code, {"clip": encode(clip), "about": about}, "val" if share == 0 else "train"))
    return made


def build(out: Path) -> None:
    """Fetch, pack, and write the list of hashes."""
    with tempfile.TemporaryDirectory() as name:
        base = fetch(NAMES, PICTURES[NAMES], Path(name))
        table: list[Row] = []
        for package, sha256 in ANIMATIONS.items():
            table += rows(fetch(package, sha256, Path(name)), base)
        seen: dict[str, Row] = {row.key: row for row in table}
        packer, aside, plans = ClipPacker(), Path(name) / "out", []
        for split, shards in SHARDS.items():
            part = [row for row in seen.values() if row.split == split]
            plans += plan_shards(part, packer, shard_count=-(-len(part) // shards))
        done = pack(plans, packer, aside)
        if any(shard.failed for shard in done):
            raise SystemExit(f"not packed: {[shard.failed for shard in done if shard.failed]}")
        finish(aside, out)


def finish(aside: Path, out: Path) -> None:
    """Hashes beside the shards; what was there before goes."""
    (aside / CLASSES).unlink(missing_ok=True)
    (aside / JOURNAL).unlink()
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(aside.iterdir())]
    (aside / "SHA256").write_text(f"# PyAV {av.__version__}\n" + "".join(lines))
    for old in (*out.glob("*.tar"), *out.glob("*.mmidx")):
        old.unlink()
    for file in aside.iterdir():
        shutil.copyfile(file, out / file.name)
    size = sum(file.stat().st_size for file in out.glob("*.tar"))
    print(f"{size:,} bytes in {out}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    build(options.out)


if __name__ == "__main__":
    main()
