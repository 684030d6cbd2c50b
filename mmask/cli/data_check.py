"""``mmask data check``: what will go wrong with shards on a topology."""

from __future__ import annotations

from collections.abc import Sequence

import click

from mmask.errors import DataError

_COLOURS = {"fail": "red", "warn": "yellow", "note": "cyan"}


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option("--ranks", "-r", type=click.IntRange(1), default=1, show_default=True, help="Training processes.")
@click.option("--workers", "-w", type=click.IntRange(0), default=1, show_default=True, help="Loader processes a rank.")
@click.option("--streams", type=click.IntRange(1), default=64, show_default=True, help="The recipe's data.streams.")
@click.option("--shuffle", type=click.IntRange(0), default=4096, show_default=True, help="The recipe's data.shuffle.")
@click.option("--batch-size", type=click.IntRange(1), default=None, help="Samples of a step over all ranks.")
@click.option("--jobs", "-j", type=click.IntRange(1), default=1, show_default=True,
              help="Shards indexed at a time, where indices are missing.")
def command(
    urls: Sequence[str], ranks: int, workers: int, streams: int, shuffle: int, batch_size: int | None, jobs: int,
) -> None:
    """What will go wrong with shards on a topology.

    Looks for torn tars, unsorted or duplicate keys, samples with missing or empty parts, too few shards or
    samples for the readers, stored orders sorted by class or size, and streams read by more than one reader.
    Each finding comes with what to do. Exit code 0: nothing will fail; 5: something will.
    """
    from mmask.data.advice import Topology, advise
    from mmask.data.sidecar import build_index
    from mmask.data.store import find_shards, is_remote

    here = [ref.url for url in urls for ref in find_shards(url) if not is_remote(ref.url)]
    if not here and not any(is_remote(url) for url in urls):
        raise DataError(f"{', '.join(urls)} names no tar")
    if jobs > 1 and here:
        build_index(here, jobs)
    topology = Topology(ranks, workers, streams, shuffle, batch_size or 0)
    found = advise(urls, topology)
    click.echo(
        f"{found.samples:,} samples in {found.shards} shards; {ranks} ranks x {workers} workers; "
        f"{streams} streams; read amplification {topology.amplification}"
    )
    for one in found.advice:
        click.echo(click.style(one.level, fg=_COLOURS[one.level], bold=True) + f"  {one.kind}  {one.where}: {one.what}")
        if one.advice:
            click.echo(f"      {one.advice}")
    if found.fails:
        count = sum(one.level == "fail" for one in found.advice)
        raise DataError(f"{count} findings will make samples or the run fail", hint="see the lines marked 'fail'")
    click.echo("nothing will fail" if found.advice else "fine")
