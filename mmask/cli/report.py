"""``mmask report``: write the page of a run again."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Write RUN/report.html from what the run folder holds; while it trains, too."""
    from mmask.observe.report import write_report

    click.echo(str(write_report(run)))
