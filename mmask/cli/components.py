"""``mmask components [KIND [NAME]]``: every part a recipe can name, from whichever plugin, and its options."""

from __future__ import annotations

import inspect
import textwrap
from collections import Counter
from typing import Any

import click

from mmask.cli.session import Session, pass_session
from mmask.cli.table import show
from mmask.errors import UnknownNameError, did_you_mean
from mmask.plugin.component import KINDS
from mmask.plugin.registry import Claim


@click.command()
@click.argument("kind", required=False)
@click.argument("name", required=False)
@pass_session
def command(session: Session, kind: str | None, name: str | None) -> None:
    """The kinds of components; of KIND, all that are installed; of NAME, what it does and its options.

    \b
    mmask components
    mmask components masker
    mmask components masker block

    Listing reads manifests alone; only NAME imports its component.
    """
    if kind is None:
        _kinds(session)
    elif kind not in KINDS:
        raise UnknownNameError(f"no kind '{kind}'{did_you_mean(kind, KINDS)}", hint=f"kinds are {', '.join(KINDS)}")
    elif name is None:
        claims = session.host.claims(kind, tolerant=True)
        show((kind, "plugin", "summary"), [
            (_name(claim, claims), claim.plugin.label, claim.component.summary) for claim in claims
        ])
    else:
        _one(session.host.find(kind, name), session.host.target(kind, name))


def _kinds(session: Session) -> None:
    counts = Counter(claim.component.kind for claim in session.host.claims(tolerant=True))
    show(("kind", "installed"), [(kind, str(counts[kind])) for kind in KINDS])


def _name(claim: Claim, claims: list[Claim]) -> str:
    same = [one for one in claims if one.component.name == claim.component.name]
    return claim.component.name if len(same) == 1 else claim.qualified


def _one(claim: Claim, target: Any) -> None:
    from mmask.plugin.options import options_of
    from mmask.recipe.describe import option_doc
    from mmask.recipe.describe import show as written

    component = claim.component
    click.echo(f"{component.kind} {component.name} of plugin {claim.plugin.label}: {component.summary}")
    click.echo(f"{component.target}\n")
    text = inspect.getdoc(target)
    if text:
        click.echo(textwrap.indent(text, "  ") + "\n")
    rows = [
        (one.name, "(given or wired)" if one.required else written(one.default), option_doc(target, one.name))
        for one in options_of(target).values()
    ]
    if rows:
        show(("option", "default", "meaning"), rows)
