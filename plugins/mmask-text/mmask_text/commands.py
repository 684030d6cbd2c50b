"""``mmask data tokenizer``: train a vocabulary on shards, and see how one cuts them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmask.api import DataError, SampleError, UsageError

if TYPE_CHECKING:
    from mmask_text.training import Texts

_KINDS = ("wordpiece", "bpe", "unigram", "bytes")
_SPECIAL = "[PAD],[UNK],[CLS],[SEP],[MASK]"
_REPORT = 2000  # documents that the report looks at


@click.group()
def tokenizer() -> None:
    """Train a vocabulary on shards, or report on one.

    \b
    mmask data tokenizer train 'shards/train-*.tar' --kind wordpiece --size 30522 --out vocabulary.json
    mmask data tokenizer report 'shards/val-*.tar' --vocabulary vocabulary.json
    """


def _reading(command: Any) -> Any:
    """Options of both commands: how texts are read."""
    for option in (
        click.option("--field", default="text", show_default=True, help="Of .json parts, dotted."),
        click.option("--part", "parts", multiple=True, metavar="PART", help="Parts to look for (txt, text, json)."),
    ):
        command = option(command)
    return command


@tokenizer.command()
@click.argument("urls", nargs=-1, required=True, metavar="SHARDS...")
@click.option("--kind", type=click.Choice(_KINDS), default="wordpiece", show_default=True)
@click.option("--size", type=click.IntRange(8), default=8192, show_default=True, help="Ids, special tokens included.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="FILE.json, or FILE.model for unigram.")
@click.option("--special", default=_SPECIAL, show_default=True, metavar="A,B,...",
              help="Special tokens, in the order of their ids.")
@click.option("--cased", is_flag=True, help="Keep case (by default it is folded, in WordPiece accents too).")
@click.option("--least", type=click.IntRange(1), default=2, show_default=True, help="Occurrences a piece needs.")
@click.option("--samples", type=click.IntRange(1), default=None, help="Train on so many, spread evenly.")
@click.option("--report", is_flag=True, help="Also say how finely the vocabulary cuts these texts.")
@_reading
def train(
    urls: Sequence[str], kind: Any, size: int, out: Path, special: str, cased: bool, least: int, samples: int | None,
    report: bool, field: str, parts: Sequence[str],
) -> None:
    """Train a vocabulary on the texts of shards. The same shards give the same file."""
    from mmask_text.training import Training
    from mmask_text.vocabulary import open_vocabulary

    names = [name.strip() for name in special.split(",") if name.strip()]
    wanted = Training(kind=kind, size=size, special=names, lower=not cased, least=least)
    if out.suffix != wanted.suffix:
        raise UsageError(f"--out {out} must end in {wanted.suffix} for --kind {kind}")
    shelf = Shelf(urls, field, parts, samples)
    data = wanted(shelf.texts("reading"))
    if wanted.passes and not shelf.read:
        raise DataError(f"none of {len(shelf.rows):,} samples has a text that can be read", hint=shelf.fault)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(data)
    made = open_vocabulary(out)
    click.echo(f"{kind} of {made.size:,} ids from {shelf.read:,} documents: {out}")
    if made.size < size and kind != "bytes":
        click.echo(f"  the texts have no more than {made.size:,} pieces that come {least} times; --size was {size:,}")
    shelf.tell()
    if report:
        _report(made, shelf)


@tokenizer.command()
@click.argument("urls", nargs=-1, required=True, metavar="SHARDS...")
@click.option("--vocabulary", "spec", required=True, metavar="NAME|FILE", help="A vocabulary, by name or file.")
@click.option("--samples", type=click.IntRange(1), default=_REPORT, show_default=True, help="Documents to look at.")
@_reading
def report(urls: Sequence[str], spec: str, samples: int, field: str, parts: Sequence[str]) -> None:
    """How finely a vocabulary cuts the texts of shards."""
    from mmask_text.vocabulary import open_vocabulary

    shelf = Shelf(urls, field, parts, samples)
    _report(open_vocabulary(spec), shelf)
    shelf.tell()


def _report(vocabulary: Any, shelf: Shelf) -> None:
    from mmask_text.training import fertility

    found = fertility(vocabulary, shelf.texts("report", most=_REPORT)())
    click.echo(
        f"fertility {found['fertility']:.3f} tokens a word, {found['characters'] / max(1, found['tokens']):.2f} "
        f"characters a token, {found['unknown']:.3%} unknown, over {found['tokens']:,.0f} tokens"
    )


class Shelf:
    """Texts of shards, read as often as they are asked for, in stored order. samples: at most so many, spread evenly.

    read: documents of the last pass. fault: why the first unreadable one could not be read.
    """

    def __init__(self, urls: Sequence[str], field: str, parts: Sequence[str], samples: int | None) -> None:
        from mmask.api import open_source
        from mmask_text.documents import PARTS

        self._source = open_source(urls[0] if len(urls) == 1 else f"{{{','.join(urls)}}}")
        self._field, self._parts = field, tuple(parts) or PARTS
        self.rows = _spread(len(self._source), samples)
        self.read, self.failed, self.fault = 0, 0, ""

    def texts(self, label: str, most: int | None = None) -> Texts:
        """A function that starts a pass, with a progress bar. most: at most so many of the documents."""
        chosen = [self.rows[at] for at in _spread(len(self.rows), most)]
        return lambda: self._pass(label, chosen)

    def tell(self) -> None:
        """One line about what could not be read."""
        if self.failed:
            click.echo(f"  {self.failed:,} samples were left out; the first: {self.fault}")

    def _pass(self, label: str, rows: Sequence[int]) -> Iterator[str]:
        from mmask_text.documents import stored_texts

        self.read = self.failed = 0
        with click.progressbar(rows, label=label, file=sys.stderr) as bar:
            for row in bar:
                try:
                    text = stored_texts(self._source.read(row), [self._field], self._parts)[0]
                except SampleError as error:
                    self.failed += 1
                    self.fault = self.fault or error.message
                    continue
                self.read += 1
                yield text


def _spread(count: int, most: int | None) -> list[int]:
    if most is None or most >= count:
        return list(range(count))
    return [count * i // most for i in range(most)]
