"""Benchmark sets of real recordings as labelled shards: `python tools/fetch_audio.py --out data/audio`.

Taken from Debian packages that are not installed; nothing of it is shipped. 16 kHz mono FLAC, ``train/`` and ``val/``:

    fillets      Czech dialogue of Fish Fillets NG (GPL-2): ``txt`` and, for the two main speakers, ``cls``. Split by
                 level, so that no scene is on both sides; minor speakers have no class and go to ``fillets-all`` only.
    fillets-all  The same with every clip that has a text.
    languages    Asterisk's prompts in five languages (CC-BY-SA-3.0, Russian CC-BY-3.0), ``cls`` the language, which is
                 also the speaker. Split by prompt: what is said in val in one language is in val in all.
    keywords     Phrases of Hedgewars' voice packs (GFDL-1.3), ``cls`` the phrase; val is two voices that train lacks.
    instruments  Notes of the FluidR3 sound font (MIT), ``cls`` the instrument; every fourth pitch is val.

Needs ``apt-get`` and ``dpkg``.
"""

from __future__ import annotations

import argparse
import json
import re
import struct
import tempfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from debian import unpack

from mmask.data.columns import Column
from mmask.data.pack import CLASSES, pack, plan_shards
from mmask.data.rows import Row, safe_key
from mmask.data.sidecar import build_index
from mmask_audio.pack import encoded
from mmask_audio.sound import open_sound
from mmask_audio.stretch import length_at, read_stretch

RATE, SHARD = 16_000, 500
LANGUAGES = ("en", "es", "fr", "it", "ru")
HELD_OUT_VOICES = ("British", "Surfer")
FOREIGN = re.compile(r"_[a-z]{2}$")
FEWEST_VOICES, FEWEST_NOTES, NOTE_SECONDS = 8, 12, 3.0


@dataclass(frozen=True)
class FlacPacker:
    """A recording as 16 kHz mono FLAC, with ``json`` and, where they are known, ``txt`` and ``cls``."""

    longest: float = 30.0

    def __call__(self, path: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
        """The parts."""
        if "pcm" in row:
            stored = np.frombuffer(row["pcm"], "<i2").astype(np.float32) / 32768
            wave = np.asarray(soxr.resample(stored, row["rate"], RATE), np.float32)[None]
        else:
            sound = open_sound(path.read_bytes(), path.suffix[1:])
            wave = read_stretch(sound, RATE, 0, length_at(sound, RATE))
        wave = wave[:, : int(self.longest * RATE)]
        about = {**row["about"], "seconds": round(wave.shape[1] / RATE, 3)}
        parts = {"flac": encoded(wave, RATE), "json": json.dumps(about, ensure_ascii=False, sort_keys=True).encode()}
        if row.get("text"):
            parts["txt"] = row["text"].encode()
        if row.get("class") is not None:
            parts["cls"] = str(row["class"]).encode()
        return parts


def fillets(cache: Path, *, main_only: bool = True) -> tuple[list[Row], list[str]]:
    """Czech clips with their text; the second part of a name is the speaker: m (she) or v (he), the two fish."""
    spoken, scripts = unpack("fillets-ng-data-cs", cache), unpack("fillets-ng-data", cache)
    said = {}
    for file in sorted(scripts.rglob("script/*/dialogs_cs.lua")):
        pairs = re.findall(
            r'dialogId\("([^"]+)"[^)]*?"\)\s*dialogStr\(\s*"((?:[^"\\]|\\.)*)"', file.read_text(encoding="utf-8"), re.S
        )
        for name, text in pairs:
            said[file.parent.name, name] = " ".join(re.sub(r"\\(.)", r"\1", text).split())
    rows, speakers = [], ["m", "v"]
    for path in sorted(spoken.rglob("sound/*/cs/*.ogg")):
        level, name = path.parts[-3], path.stem
        text, pieces = said.get((level, name), ""), name.split("-")
        speaker = pieces[1] if len(pieces) > 2 else ""
        if not text or (main_only and speaker not in speakers):
            continue
        number = speakers.index(speaker) if main_only else None
        columns = {"text": text, "class": number, "about": {"level": level, "speaker": speaker}}
        rows.append(Row(path, safe_key(f"{level}/{name}"), columns, _split(level, 5)))
    return rows, speakers if main_only else []


def fillets_all(cache: Path) -> tuple[list[Row], list[str]]:
    """Every Czech clip with a text."""
    return fillets(cache, main_only=False)


def languages(cache: Path) -> tuple[list[Row], list[str]]:
    """The prompts that all five languages have."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for language in LANGUAGES:
        root = unpack(f"asterisk-core-sounds-{language}-g722", cache)
        folder = next(path for path in root.rglob("sounds/*") if path.is_dir())
        for path in folder.rglob("*.g722"):
            name = path.relative_to(folder).with_suffix("").as_posix()
            if not name.startswith("silence/") and path.stat().st_size >= 4_000:
                found[name][language] = path
    rows = []
    for name, paths in sorted(found.items()):
        if len(paths) < len(LANGUAGES):
            continue
        for number, language in enumerate(LANGUAGES):
            columns = {"class": number, "about": {"prompt": name, "language": language}}
            rows.append(Row(paths[language], safe_key(f"{language}/{name}"), columns, _split(name, 5)))
    return rows, list(LANGUAGES)


def keywords(cache: Path) -> tuple[list[Row], list[str]]:
    """Phrases that enough of the English voices say."""
    root = unpack("hedgewars-data", cache)
    paths = [
        path for path in sorted(root.rglob("Sounds/voices/*/*.ogg")) if not FOREIGN.search(path.parent.name)
    ]
    count = Counter(path.stem for path in paths)
    phrases = sorted(phrase for phrase, voices in count.items() if voices >= FEWEST_VOICES)
    rows = []
    for path in paths:
        phrase, voice = path.stem, path.parent.name
        if phrase in phrases:
            columns = {"class": phrases.index(phrase), "about": {"phrase": phrase, "voice": voice}}
            split = "val" if voice in HELD_OUT_VOICES else "train"
            rows.append(Row(path, safe_key(f"{voice}/{phrase}"), columns, split))
    return rows, phrases


def instruments(cache: Path) -> tuple[list[Row], list[str]]:
    """Notes of instruments with enough of them; of a stereo pair the left one."""
    root = unpack("fluid-soundfont-gm", cache)
    data = next(root.rglob("*.sf2")).read_bytes()
    notes = defaultdict(list)
    for name, rate, pcm in _notes(data):
        note = re.search(r"^(.*?)[\s_-]*([A-Ga-g])([#b]?)\s?(-?\d)\D*$", re.sub(r"[\s_-]*\(?[LR]\)?$", "", name))
        if note and note[1] and len(pcm) >= rate // 2:
            pitch = 12 * (int(note[4]) + 1) + "c d ef g a b".index(note[2].lower()) + "b #".index(note[3] or " ") - 1
            notes[note[1].strip().lower()].append((pitch, name, rate, pcm))
    kinds = sorted(stem for stem, found in notes.items() if len(found) >= FEWEST_NOTES)
    rows = []
    for number, kind in enumerate(kinds):
        for at, (pitch, name, rate, pcm) in enumerate(sorted(notes[kind], key=lambda note: note[:2])):
            about = {"instrument": kind, "pitch": pitch, "note": name}
            columns = {"class": number, "about": about, "rate": rate, "pcm": pcm[: int(NOTE_SECONDS * rate) * 2]}
            key = safe_key(f"{kind}/{at:02d}-{pitch}")
            rows.append(Row(Path(key), key, columns, "val" if at % 4 == 2 else "train"))
    return rows, kinds


def _notes(data: bytes) -> Iterator[tuple[str, int, bytes]]:
    """(name, rate, 16-bit samples) of a SoundFont 2 file; right channels left out."""
    parts: dict[bytes, tuple[int, int]] = {}
    for _, start, stop in _chunks(data, 12, len(data)):
        if data[start : start + 4] in (b"sdta", b"pdta"):
            parts |= {name: (low, high) for name, low, high in _chunks(data, start + 4, stop)}
    samples = parts[b"smpl"][0]
    low, high = parts[b"shdr"]
    for at in range(low, high - 46, 46):
        raw, start, stop, _, _, rate, _, _, _, kind = struct.unpack_from("<20s5IBbHH", data, at)
        if kind in (1, 4):
            yield raw.split(b"\0")[0].decode("latin1"), rate, data[samples + 2 * start : samples + 2 * stop]


def _chunks(data: bytes, at: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """RIFF chunks: (name, first byte, byte after the last)."""
    while at + 8 <= stop:
        (size,) = struct.unpack_from("<I", data, at + 4)
        yield data[at : at + 4], at + 8, at + 8 + size
        at += 8 + size + size % 2


def _split(text: str, of: int) -> str:
    return "val" if zlib.crc32(text.encode()) % of == 0 else "train"


SETS: dict[str, Callable[[Path], tuple[list[Row], list[str]]]] = {
    "fillets": fillets, "fillets-all": fillets_all, "languages": languages, "keywords": keywords,
    "instruments": instruments,
}


def write(name: str, out: Path, cache: Path, jobs: int) -> None:
    """Fetch and pack one set."""
    rows, classes = SETS[name](cache)
    for split in ("train", "val"):
        where, packer = out / name / split, FlacPacker()
        part = [row for row in rows if row.split == split]
        done = pack(plan_shards(part, packer, shard_count=SHARD), packer, where, jobs=jobs)
        failed = [one for shard in done for one in shard.failed]
        build_index([str(where / shard.name) for shard in done], columns=[Column.parse("seconds=json.seconds")])
        if classes:
            (where / CLASSES).write_text(json.dumps(classes, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
        samples = sum(shard.samples for shard in done)
        print(f"{name}/{split}: {samples} samples in {len(done)} shards, {len(classes)} classes, {len(failed)} failed")
        for key, _, why in failed[:3]:
            print(f"    {key}: {why}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"{', '.join(SETS)} [all]")
    parser.add_argument("--out", type=Path, default=Path("data/audio"))
    parser.add_argument("--cache", type=Path, help="where packages are kept (about 450 MB)")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    unknown = set(options.sets) - set(SETS)
    if unknown:
        parser.error(f"no set is called {', '.join(sorted(unknown))}; there are {', '.join(SETS)}")
    with tempfile.TemporaryDirectory() as name:
        for one in options.sets or SETS:
            write(one, options.out, options.cache or Path(name), options.jobs)


if __name__ == "__main__":
    main()
