"""``mmask data``: pack, index, inspect, measure and check shards."""

from __future__ import annotations

import click

from mmask.cli.lazy import LazyGroup

TABLE = {
    "pack": ("mmask.cli.data_pack:command", "Write a folder or a manifest of files into shuffled shards."),
    "index": ("mmask.cli.data_index:command", "Index shards, so that they can be read in any order."),
    "inspect": ("mmask.cli.data_inspect:command", "Parts, types and sizes of samples, and a contact sheet."),
    "stats": ("mmask.cli.data_stats:command", "Mean and deviation of decoded values, for normalisation."),
    "check": ("mmask.cli.data_check:command", "What will go wrong with shards on a topology."),
}


@click.group(cls=LazyGroup, table=TABLE, guests="data")
def command() -> None:
    """Pack, index, inspect, measure and check shards.

    \b
    mmask data pack photos/ --out shards/ --val-fraction 0.05
    mmask data inspect 'shards/train-*.tar' --out contact.png
    mmask data stats 'shards/train-*.tar' --recipe NAME --out stats.json
    mmask data check 'shards/train-*.tar' --ranks 8 --workers 4
    """
