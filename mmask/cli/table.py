"""Tables for people: rich on a terminal, plain columns everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click


def show(head: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Print rows under a head. Piped output is tab-free text with two spaces between columns, never cut."""
    if sys.stdout.isatty():
        _rich(head, rows, title)
    else:
        _plain(head, rows, title)


def _rich(head: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # no markup: cells hold [brackets]
    Console().print(table)


def _plain(head: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    if title:
        click.echo(title)
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
        click.echo("  ".join([*cells, row[-1]]).rstrip())
