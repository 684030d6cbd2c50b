"""``mmask embed``: encoder features of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmask.cli.session import Session, pass_session


@click.command("embed")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", multiple=True, metavar="URL", help="Shards to embed [the run's training shards].")
@click.option("--val", "held_out", is_flag=True, help="Embed the run's held-out shards.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="A .safetensors file.")
@click.option("--pool", type=click.Choice(["auto", "mean", "cls"]), default="auto", show_default=True,
              help="The network's own pooling, the mean of the places, or the first token.")
@click.option("--batch-size", "batch", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Loader processes.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many samples, spread evenly.")
@click.option("--device", default="auto", show_default=True)
@pass_session
def command(session: Session, run: Path, out: Path, data: tuple[str, ...], held_out: bool, **options: Any) -> None:
    """Write features, sample ids and labels (where there are any) of RUN's encoder, with nothing hidden.

    The file has ``features`` (N, D) float32, ``ids`` (N,) and ``labels`` (N,), in stored order.
    """
    from mmask.errors import UsageError
    from mmask.train.embed import Wanted, embed, write_features

    if data and held_out:
        raise UsageError("--data and --val exclude each other", hint="give the held-out shards with --data")
    wanted = Wanted(data=data, held_out=held_out, **options)
    tensors = embed(run, session.host, wanted, session.notify)
    about = {"run": str(run), "data": " ".join(data) or ("val" if held_out else "train"), "pool": str(options["pool"])}
    write_features(out, tensors, about)
    rows, width = tensors["features"].shape
    labels = "with labels" if "labels" in tensors else "without labels"
    click.echo(f"{out}: {rows:,} samples, {width} features each, {labels}")
