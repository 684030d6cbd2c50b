"""``mmask certify``: does a recipe do here what it did for its author?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmask.cli.session import Session, pass_session
from mmask.errors import UsageError

if TYPE_CHECKING:
    from mmask.train.certify import Compared

EXIT_DIFFERS = 1


@click.command("certify")
@click.argument("name", metavar="RECIPE")
@click.option("--write", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Make a certificate instead: RECIPE's package/certificates/RECIPE.json.")
@click.option("--steps", type=click.IntRange(min=1), default=6, show_default=True, help="Of a new certificate.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.pass_context
@pass_session
def command(
    session: Session, context: click.Context, name: str, write: Path | None, steps: int, overrides: tuple[str, ...]
) -> None:
    """Take the first steps of RECIPE as its certificate describes them, and compare.

    A certificate is shipped with a recipe: a few steps on the plugin's sample data, with the fingerprint of the samples
    and plans of each step, which must be the same, and its loss, which may differ by rounding. Exits with 0 when they
    agree, with 1 when they do not.

    \b
    mmask certify mae-vit-tiny
    mmask certify acme-tiny --write mmask_acme/certificates/acme-tiny.json networks.encoder.depth=1
    """
    from mmask.train.certify import Certificate, compare, issue, place

    if write is not None:
        made = issue(name, overrides, steps, session.host)
        made.write(write)
        click.echo(f"{write}: {len(made.losses)} steps, losses may differ by {made.tolerance:g}")
        return
    if overrides:
        raise UsageError("a certificate is taken as it is: KEY=VALUE is for new ones", hint="add --write FILE")
    path = place(name, session.host)
    if not path.is_file():
        raise UsageError(
            f"recipe '{name}' has no certificate: there is no {path}", hint=f"mmask certify {name} --write FILE"
        )
    found = compare(Certificate.read(path), session.host)
    _show(found)
    if not found.holds:
        context.exit(EXIT_DIFFERS)


def _show(found: Compared) -> None:
    from mmask.cli.table import show

    given, here = found.given, found.found
    rows = zip(given.losses, here.losses, found.differences, given.stamps, here.stamps, strict=True)
    show(("step", "certificate", "here", "difference", "samples and plans"), [
        (str(step), f"{one:.6f}", f"{other:.6f}", f"{off:.1e}", "the same" if stamp == mine else "OTHERS")
        for step, (one, other, off, stamp, mine) in enumerate(rows, 1)
    ])
    with_ = ", ".join(f"{name} {version}" for name, version in given.made_with.items())
    click.echo(f"made with {with_}; losses may differ by {given.tolerance:g}")
    if found.other_samples:
        click.echo(f"DIFFERS: step {found.other_samples} has other samples or plans")
    elif not found.holds:
        click.echo(f"DIFFERS: a loss is off by {max(found.differences):.1e}")
    else:
        click.echo(f"OK: {given.recipe} does here what it did for its author")
