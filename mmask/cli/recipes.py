"""``mmask recipes``: what can be trained. Reads manifests only; no recipe and no torch is imported."""

from __future__ import annotations

import sys

import click

from mmask.cli.session import Session, pass_session
from mmask.cli.table import show


@click.command()
@pass_session
def command(session: Session) -> None:
    """The recipes that are installed, with the plugin each comes from."""
    claims = session.host.claims("recipe", tolerant=True)
    names = [claim.component.name for claim in claims]
    rows = [
        (
            claim.component.name if names.count(claim.component.name) == 1 else claim.qualified,
            claim.plugin.label, claim.component.summary,
        )
        for claim in claims
    ]
    if not rows:
        click.echo("no recipes are installed; plugins bring them: pip install mmask-image")
        return
    show(("recipe", "plugin", "summary"), rows)
    if sys.stdout.isatty():
        click.echo("try one on sample data: mmask train --recipe NAME    look inside: mmask recipe show NAME")
