"""``mmask data index``: indices of shards, made ahead of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mmask.data.sidecar import Built


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option("--jobs", "-j", type=click.IntRange(1), default=1, show_default=True, help="Shards at a time.")
@click.option("--column", "columns", multiple=True, metavar="NAME=PART",
              help="Metadata to keep in the index: label=cls, width=json.width. May be repeated.")
@click.option("--force", is_flag=True, help="Index again what has a fresh index.")
def command(urls: Sequence[str], jobs: int, columns: Sequence[str], force: bool) -> None:
    """Index shards, so that they can be read in any order.

    URL is a tar, a brace pattern, a glob, a folder of tars, an http(s) or any fsspec URL. The index lies beside
    the shard as SHARD.mmidx, or in the user's cache where that place cannot be written. Local shards are
    indexed on first use anyway; remote ones only by this command. It goes on where it was stopped.
    """
    from mmask.data.columns import Column
    from mmask.data.sidecar import build_index
    from mmask.errors import DataError, did_you_mean

    def tell(one: Built) -> None:
        click.echo(f"{one.state:6s}  {one.url}  {one.reason or f'{one.samples:,} samples'}")

    wanted = [Column.parse(text) for text in columns]
    done = build_index(urls, jobs, wanted, force=force, progress=tell)
    failed = [one for one in done if one.state == "failed"]
    click.echo(f"{len(done) - len(failed)} of {len(done)} shards indexed, {sum(o.samples for o in done):,} samples")
    parts = sorted({part for one in done for part in one.fields})
    empty = [column for column in wanted if column.field not in parts and parts]
    if empty:
        name, part = empty[0].name, empty[0].field
        raise DataError(
            f"no shard has the part '{part}', so the column '{name}' holds nothing{did_you_mean(part, parts)}",
            hint=f"the parts are {', '.join(parts)}; index again with another --column",
        )
    if failed:
        raise DataError(f"{len(failed)} shards could not be indexed", hint=f"the first: {failed[0].reason}")
