"""``mmask data inspect``: what lies in shards, as tables and as a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmask.cli.session import Session, pass_session
from mmask.cli.table import show
from mmask.errors import UsageError

if TYPE_CHECKING:
    from mmask.data.survey import Survey
    from mmask.types import Sample


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=None, metavar="PNG",
              help="Write a contact sheet of the samples looked at.")
@click.option("--samples", "-n", type=click.IntRange(1), default=24, show_default=True, help="Samples to look at.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which ones.")
@click.option("--preview", default=None, metavar="NAME", help="How the sheet is drawn (default: by the parts).")
@pass_session
def command(
    session: Session, urls: Sequence[str], out: Path | None, samples: int, seed: int, preview: str | None,
) -> None:
    """Parts, types and sizes of samples, and a contact sheet.

    Counts and sizes are of all samples; the kinds of bytes, keys and the sheet are of those looked at.
    """
    from mmask.data.source import open_source
    from mmask.data.survey import survey

    if preview is not None and out is None:
        raise UsageError("--preview draws a contact sheet, which needs a place", hint="give --out PNG as well")

    source = open_source(urls[0] if len(urls) == 1 else f"{{{','.join(urls)}}}")
    seen = survey(source, look=samples, seed=seed)
    click.echo(f"{seen.samples:,} samples in {seen.shards} shards, {size_of(seen.total)} of parts")
    show(("part", "samples", "share", "kind", "smallest", "mean", "largest"), _part_rows(seen), title="parts")
    if seen.columns:
        show(("column", "values"), list(seen.columns.items()), title="indexed columns")
    keys = [(str(sample.id), ", ".join(sample.parts), _text(sample)) for sample in seen.read[:8]]
    show(("sample", "parts", "text"), keys, title="some samples")
    for line in seen.unreadable:
        click.echo(f"unreadable: {line}", err=True)
    if out is not None:
        _sheet(session, seen, preview, out)
        click.echo(f"contact sheet of {len(seen.read)} samples: {out}")


def _part_rows(seen: Survey) -> list[tuple[str, ...]]:
    return [
        (
            part.name, f"{part.count:,}", "all" if part.count == seen.samples else f"{part.count / seen.samples:.1%}",
            ", ".join(sorted(part.kinds)), size_of(part.least), size_of(part.total / part.count), size_of(part.most),
        )
        for part in seen.parts if part.count
    ]


def size_of(count: float) -> str:
    """1234567 -> ``1.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _text(sample: Sample) -> str:
    """The shortest readable part, cut to a line."""
    texts = []
    for name in ("txt", "json", "cls"):
        if name in sample.parts:
            texts.append(" ".join(sample.parts[name].decode("utf-8", "replace").split()))
    line = texts[0] if texts else ""
    return line if len(line) <= 60 else line[:59] + "…"


def _sheet(session: Session, seen: Survey, name: str | None, out: Path) -> None:
    import numpy as np
    from PIL import Image

    from mmask.recipe.schema import use
    from mmask.types import Batch

    if not seen.read:
        raise UsageError("no sample could be read, so there is nothing to draw")
    parts = list(dict.fromkeys(part for sample in seen.read for part in sample.parts))
    draw = session.host.build("preview", use(name or _drawer(session, parts)))
    fields: dict[str, Any] = {part: [sample.parts.get(part) for sample in seen.read] for part in parts}
    batch = Batch(
        fields, np.array([sample.id.digest() for sample in seen.read], np.uint64),
        np.zeros(len(seen.read), np.int64), tuple(sample.id.key for sample in seen.read),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(draw(None, batch))
    try:
        picture.save(out)
    except ValueError as error:  # Pillow: no format of that ending
        raise UsageError(f"{out}: {error}", hint="--out takes a picture file, contact.png") from error


def _drawer(session: Session, parts: Sequence[str]) -> str:
    """The preview that draws stored samples with one of these parts; one that calls itself a ``fallback``, because its
    parts also lie beside other things, comes last. Of two the one with fewer kinds of parts is made for them: a film is
    drawn by its pictures, not by its sound."""
    names = [claim.qualified for claim in session.host.claims("preview")]
    targets = {name: session.host.target("preview", name) for name in names}
    kinds = {name: getattr(target, "parts", ()) for name, target in targets.items()}
    last = {name: bool(getattr(target, "fallback", False)) for name, target in targets.items()}
    for name in sorted(targets, key=lambda one: (last[one], len(kinds[one]))):
        if set(kinds[name]) & set(parts):
            return name
    raise UsageError(
        f"no installed preview draws {', '.join(parts)}", hint="leave --out away, or install the modality's plugin"
    )
