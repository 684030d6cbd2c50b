"""``mmask verify-resume``: prove that a run continues where it stopped."""

from __future__ import annotations

from pathlib import Path

import click

from mmask.cli.session import Session, pass_session

EXIT_DIFFERS = 1


@click.command("verify-resume")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--around", type=click.IntRange(min=1), default=20, metavar="N", show_default=True,
              help="Steps to check at the start, at the end and on both sides of each resume.")
@click.option("--all", "everything", is_flag=True, help="Check every step.")
@click.pass_context
@pass_session
def command(session: Session, context: click.Context, run: Path, around: int, everything: bool) -> None:
    """Draw the samples, augmentations and mask plans of RUN again and compare them with those it used.

    Exits with 0 when they agree, with 1 and the first step that differs when they do not.
    """
    from mmask.train.verify import verify

    found = verify(run, session.host, around=around, everything=everything, tell=click.echo)
    resumed = f", resumed at {', '.join(map(str, found.resumes))}" if found.resumes else ""
    if found.first:
        click.echo(f"DIFFERS at step {found.first}: the samples or plans are not those that the run used{resumed}")
        context.exit(EXIT_DIFFERS)
    click.echo(f"OK: {found.checked} steps have the samples and plans that the run used{resumed}")
