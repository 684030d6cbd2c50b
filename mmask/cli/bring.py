"""``mmask import``: another codebase's checkpoint as a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from mmask.cli.flags import Chosen, recipe_flags
from mmask.cli.session import Session, pass_session


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", "form", required=True, metavar="NAME",
              help="A weights format of a plugin, such as mae; see mmask plugins.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="RUN", help="The run's folder; new.")
@recipe_flags
@pass_session
def command(session: Session, file: Path, form: str, out: Path, chosen: Chosen) -> None:
    """Make a run of another codebase's checkpoint, at step 0.

    It can be trained on, embedded, evaluated and exported like any other. The recipe is taken at its full
    size: no profile is applied unless one is named.

    \b
    mmask import mae_pretrain_vit_base_full.pth --format mae --recipe mae-vit-b --out runs/official
    mmask train --init runs/official --recipe mae-vit-b --data 'train-{000..127}.tar'
    """
    made = session.resolve(chosen if chosen.profile else replace(chosen, profile="none"))
    from mmask.export.bring import bring

    for line in bring(file, form, made, session.host, out):
        click.echo(line)
