"""``mmask data regions``: shards of pictures with captions -> shards of regions with captions."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmask.api import DataError, UsageError, open_source

if TYPE_CHECKING:
    from mmask_vl.extract import Describe

FAILED = "regions-failed.jsonl"


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="SHARDS...")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where shards go.")
@click.option("--detector", default=None, metavar="NAME", help="One of torchvision's: fasterrcnn_resnet50_fpn_v2.")
@click.option("--weights", type=click.Path(path_type=Path, dir_okay=False, exists=True), default=None, metavar="FILE",
              help="Its state dict (.pth, .safetensors). Nothing is downloaded.")
@click.option("--grid", type=click.IntRange(1), default=4, show_default=True,
              help="Without a detector: cells of a side.")
@click.option("--show", type=click.FloatRange(0, 1), default=None,
              help="Confidence above which a region stays  [default: 0.2; grid: 0.1]")
@click.option("--least", type=click.IntRange(1), default=2, show_default=True, help="Regions a picture has at least.")
@click.option("--most", type=click.IntRange(1), default=36, show_default=True, help="And at most (detector).")
@click.option("--device", default="cpu", show_default=True, help="Where the detector runs.")
@click.option("--keep-pictures", is_flag=True, help="Keep the pictures beside the regions.")
def regions(
    urls: Sequence[str], out: Path, detector: str | None, weights: Path | None, grid: int, show: float | None,
    least: int, most: int, device: str, keep_pictures: bool,
) -> None:
    """Describe the regions of pictures and keep the captions beside them.

    Every shard becomes one of the same name in OUT: its samples with their other parts (json, txt, cls) and a part npz
    with the arrays features, boxes, classes and confidence. With --detector the regions are a detector's; without, the
    cells of a grid, described by their colours and edges. The same command again goes on where it was stopped; other
    settings need another OUT.

    \b
    mmask data pack photos.csv --out shards
    mmask data regions 'shards/*.tar' --out regions --detector fasterrcnn_resnet50_fpn_v2 --weights frcnn.pth
    mmask train --recipe uniter-base --data 'regions/train-*.tar'
    """
    from mmask_vl.extract import extract, note_failed

    describe, what = _describer(detector, weights, grid, show, least, most, device)
    settings: dict[str, object] = {"show": show, "least": least, "keep_pictures": keep_pictures}
    settings |= {"grid": grid} if weights is None else {"detector": detector, "weights": weights.name, "most": most}
    count = len(open_source(urls[0] if len(urls) == 1 else f"{{{','.join(urls)}}}"))
    with click.progressbar(length=count, label="pictures", file=sys.stderr) as bar:
        done = extract(urls, out, describe, keep_pictures=keep_pictures, told=bar.update, settings=settings)
    if done.failed:
        note_failed(out / FAILED, done.failed)
    if not done.samples and not done.skipped:
        raise DataError(f"none of {len(done.failed):,} samples has a picture that can be read",
                        hint=done.failed[0][1] if done.failed else "")
    click.echo(f"{done.samples:,} pictures, {done.regions:,} regions ({what}), {done.shards} shards in {out}")
    if done.skipped:
        click.echo(f"  {done.skipped} shards were there already and stay as they are")
    if done.failed:
        click.echo(f"  {len(done.failed):,} samples were left out, see {out / FAILED}; the first: {done.failed[0][1]}")


def _describer(
    detector: str | None, weights: Path | None, grid: int, show: float | None, least: int, most: int, device: str
) -> tuple[Describe, str]:
    """What describes a picture, and the sizes a recipe has to know."""
    if (detector is None) != (weights is None):
        raise UsageError("give --detector and --weights together",
                         hint="a detector needs a local file of its weights; without either, a grid is used")
    if detector is None or weights is None:
        from mmask_vl.describe import GridDescriber

        made = GridDescriber(side=grid, least=least, **({} if show is None else {"show": show}))
        return made, f"a grid of {grid} x {grid}, {made.dim} features, {made.classes} classes"
    from mmask_vl.detect import Detector

    more = {} if show is None else {"show": show}
    found = Detector(detector, weights, most=most, least=least, device=device, **more)
    return found, f"{detector}, {found.dim:,} features, {found.classes:,} classes"


@click.command()
@click.argument("rows", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="ROWS.jsonl")
@click.option("--pictures", "urls", multiple=True, required=True, metavar="URL", help="Shards with the pictures.")
@click.option("--key", "keys", multiple=True, default=("picture",), show_default=True, metavar="COLUMN",
              help="Column with a picture's key; twice for rows about two pictures.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where shards go.")
@click.option("--shard-size", type=click.IntRange(1), default=1000, show_default=True, help="Rows of a shard.")
def questions(rows: Path, urls: Sequence[str], keys: Sequence[str], out: Path, shard_size: int) -> None:
    """Put rows of text beside the pictures that they are about.

    A row is a JSON object with the key of its picture: a question and its answer (or a table answer -> score), or a
    statement about two pictures. Each becomes a sample: the row as json, the picture's other parts (npz, webp) under
    their names, those of a second picture with 2. before them.

    \b
    mmask data questions vqa.jsonl --pictures 'regions/*.tar' --out vqa
    mmask eval finetune RUN --data 'vqa/*.tar' --label answer data.decode.text.field=question
    """
    from mmask_vl.questions import put_together

    count = put_together(rows, urls, out, keys=keys, size=shard_size)
    click.echo(f"{count:,} rows in {out}")
