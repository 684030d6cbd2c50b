"""Build the audio plugin's sample shards from pinned Debian packages: `python tools/build_audio_samples.py`.

``speech``: English prompts of the Asterisk exchange with their transcripts, read by one person (CC-BY-SA-3.0, in a
folder of its own with its licence); ``sounds``: instruments and effects of Sonic Pi (CC0 files only). 16 kHz mono
Opus. The split is by what is said, and by name: no text and no sound lies on both sides. The bytes depend on the
pinned packages and on the Opus encoder inside PyAV, which is recorded in ``SHA256``.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import re
import shutil
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from debian import copyright_of, paragraphs, unpack

from mmask.data.pack import CLASSES, JOURNAL, pack, plan_shards
from mmask.data.rows import Row, safe_key
from mmask_audio.sound import open_sound
from mmask_audio.stretch import length_at, read_stretch

OUT = Path(__file__).resolve().parent.parent / "plugins/mmask-audio/mmask_audio/samples"
PACKAGES = {
    "asterisk-core-sounds-en-g722": "38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806",
    "asterisk-core-sounds-en": "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
    "sonic-pi-samples": "25f2312d2fae005e6ad0f4726b8ed3084e776006a5a132083506e960224ac79d",
}
RATE = 16_000
BITS = {"speech": 16_000, "sounds": 28_000}  # a second
LONGEST = {"speech": 10.0, "sounds": 4.0}
SHORTEST, FEWEST, VAL = 0.25, 5, 6
KINDS = ("prompt", "digits", "letters", "phonetic")


@dataclass(frozen=True)
class OpusPacker:
    """A recording as Opus, and what is known about it as ``txt`` and ``json``."""

    bits: int
    longest: float

    def __call__(self, path: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
        """The parts."""
        wave = recording(path)[: int(self.longest * RATE)]
        about = {**row["about"], "seconds": round(len(wave) / RATE, 3)}
        text = {"txt": row["text"].encode()} if "text" in row else {}
        return {"opus": opus(wave, self.bits), "json": json.dumps(about, sort_keys=True).encode(), **text}


def recording(path: Path) -> np.ndarray:
    """(S,) float32 at 16 kHz, silence at both ends cut to 50 ms."""
    sound = open_sound(path.read_bytes(), path.suffix[1:])
    wave = read_stretch(sound, RATE, 0, length_at(sound, RATE))[0]
    loud = np.flatnonzero(np.abs(wave) > 1e-3)
    if not len(loud):
        return wave[:0]
    return wave[max(0, loud[0] - RATE // 20) : loud[-1] + RATE // 20]


def opus(wave: np.ndarray, bits: int) -> bytes:
    """(S,) -> an Ogg file with Opus of ``bits`` a second, the same bytes every time."""
    to = io.BytesIO()
    pcm = np.clip(wave * 32768, -32768, 32767).astype(np.int16)
    with av.open(to, mode="w", format="ogg", options={"fflags": "+bitexact"}) as file:
        stream = file.add_stream("libopus", rate=RATE, layout="mono", options={"vbr": "on", "application": "audio"})
        stream.bit_rate = bits
        for at in range(0, len(pcm), RATE // 50):
            piece = np.ascontiguousarray(pcm[None, at : at + RATE // 50])
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, at
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return to.getvalue()


def speech(roots: Mapping[str, Path]) -> Iterator[Row]:
    """Prompts that say something, with their text and kind."""
    listing = next(roots["asterisk-core-sounds-en"].rglob("core-sounds-en.txt.gz"))
    texts = {}
    for line in gzip.decompress(listing.read_bytes()).decode().splitlines():
        name, colon, text = line.partition(":")
        if colon and not line.startswith(";") and not set("[(") & set(text):
            texts[name.strip()] = " ".join(text.split())
    folder = next(roots["asterisk-core-sounds-en-g722"].rglob("en_US_*"))
    for path in sorted(folder.rglob("*.g722")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        seconds = path.stat().st_size / 8000
        if not texts.get(name) or not SHORTEST <= seconds <= LONGEST["speech"]:
            continue
        kind = name.partition("/")[0] if "/" in name else KINDS[0]
        label = KINDS.index(kind) if kind in KINDS else 0
        columns = {"about": {"label": label, "kind": KINDS[label]}, "text": texts[name]}
        yield Row(path, safe_key(name), columns, _split(re.sub(r"\W+", " ", texts[name].lower()).strip()))


def sounds(roots: Mapping[str, Path]) -> Iterator[Row]:
    """Sounds under CC0 whose kind, the first word of the name, has enough of them."""
    root = roots["sonic-pi-samples"]
    free = set()
    for one in paragraphs(copyright_of(root)):
        if one.get("License", "").startswith("CC0"):
            free |= {Path(name).name for name in one.get("Files", "").split()}
    paths = [path for path in sorted(root.rglob("*.flac")) if path.name in free]
    count = Counter(path.stem.partition("_")[0] for path in paths)
    kinds = sorted(kind for kind, n in count.items() if n >= FEWEST)
    for path in paths:
        kind = path.stem.partition("_")[0]
        if kind in kinds and len(recording(path)) >= SHORTEST * RATE:
            about = {"name": path.stem, "label": kinds.index(kind), "kind": kind}
            yield Row(path, safe_key(path.stem), {"about": about}, _split(path.stem))


def _split(text: str) -> str:
    return "val" if zlib.crc32(text.encode()) % VAL == 0 else "train"


def licence(name: str, roots: Mapping[str, Path]) -> str:
    """What the folder's files are, and their terms."""
    if name == "speech":
        parts = paragraphs(copyright_of(roots["asterisk-core-sounds-en-g722"]))
        terms = next(one["License"] for one in parts if set(one) == {"License"} and "CC-BY-SA-3.0" in one["License"])
        return (
            "English prompts of asterisk-core-sounds 1.6.1 (http://downloads.asterisk.org/pub/telephony/asterisk/),\n"
            "read by Allison Smith (http://www.theivrvoice.com), Copyright 2003-2010 Allison Smith, financial\n"
            "contributions by Digium, Inc. (http://www.digium.com), under the Creative Commons Attribution-ShareAlike\n"
            "3.0 licence (below). Changed: prompts without words and those above 10 s left out, silence at the ends\n"
            "cut, encoded as Opus. The shards of this folder are under the same licence.\n\n" + terms + "\n"
        )
    kept = {f"etc/samples/{row.path.name}" for row in sounds(roots)}
    lines = ["Sounds of sonic-pi-samples 3.2.2, each dedicated to the public domain under CC0 1.0 Universal",
             "(https://creativecommons.org/publicdomain/zero/1.0/). Changed: at most 4 s, 16 kHz mono, as Opus.", ""]
    for one in paragraphs(copyright_of(roots["sonic-pi-samples"])):
        for file in sorted(kept & set(one.get("Files", "").split())):
            lines.append(f"{file}: {one['Copyright'].splitlines()[0]}; {one.get('Source', '').strip()}")
    return "\n".join(lines) + "\n"


def build(out: Path, cache: Path) -> None:
    """Fetch, pack, and write licences and lists of hashes."""
    roots = {package: unpack(package, cache, sha256) for package, sha256 in PACKAGES.items()}
    for name, rows in (("speech", speech), ("sounds", sounds)):
        with tempfile.TemporaryDirectory() as aside_name:
            aside, table = Path(aside_name), list(rows(roots))
            packer = OpusPacker(BITS[name], LONGEST[name])
            plans = []
            for split, shards in (("train", 2), ("val", 1)):
                part = [row for row in table if row.split == split]
                plans += plan_shards(part, packer, shard_count=-(-len(part) // shards))
            done = pack(plans, packer, aside)
            if any(shard.failed for shard in done):
                raise SystemExit(f"unreadable: {[shard.failed for shard in done]}")
            (aside / JOURNAL).unlink()
            kinds = {row.columns["about"]["label"]: row.columns["about"]["kind"] for row in table}
            (aside / CLASSES).write_text(json.dumps([kinds[label] for label in sorted(kinds)], indent=0) + "\n")
            (aside / "LICENSE").write_text(licence(name, roots), encoding="utf-8")
            files = sorted(aside.iterdir())
            lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
            (aside / "SHA256").write_text(f"# PyAV {av.__version__}\n" + "".join(lines))
            shutil.rmtree(out / name, ignore_errors=True)
            (out / name).mkdir()
            for file in aside.iterdir():
                shutil.copyfile(file, out / name / file.name)
        size, count = sum(shard.size for shard in done), sum(shard.samples for shard in done)
        print(f"{name}: {count} samples, {size:,} bytes, {dict(Counter(row.split for row in table))}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--cache", type=Path, help="where packages are kept")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        build(options.out, options.cache or Path(name))


if __name__ == "__main__":
    main()
