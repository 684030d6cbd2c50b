"""``mmask recipe show NAME``: every key, its value, where it came from and what it means."""

from __future__ import annotations

from dataclasses import replace

import click

from mmask.cli.flags import Chosen, recipe_flags
from mmask.cli.lazy import LazyGroup
from mmask.cli.session import Session, pass_session


@click.group(cls=LazyGroup, table={
    "show": ("mmask.cli.recipe:show", "Every key, its value, where that came from, and what it means."),
}, guests=False)
def command() -> None:
    """Look inside a recipe."""


@click.command("show")
@click.argument("name", required=False)
@click.option("--toml", is_flag=True, help="A TOML file that can be edited and run with --config.")
@click.option("--keys", "terse", is_flag=True, help="Keys and values only.")
@recipe_flags
@pass_session
def show(session: Session, name: str | None, toml: bool, terse: bool, chosen: Chosen) -> None:
    """Every key of a recipe: NAME, or what the flags of train make of it."""
    if name is not None and "=" in name:  # an override was meant: the name is in --recipe or --config
        chosen = replace(chosen, overrides=(name, *chosen.overrides))
    elif name is not None:
        chosen = replace(chosen, recipe=name)
    if chosen.profile is None and not chosen.flags and not chosen.overrides and chosen.config is None:
        chosen = replace(chosen, profile="none")
    made = session.resolve(chosen)
    if toml:
        from mmask.recipe.freeze import freeze

        click.echo(freeze(made), nl=False)
        return
    from mmask.recipe.describe import describe

    recipe = made.recipe
    click.echo(f"{recipe.name}: {recipe.summary}" if recipe.summary else recipe.name)
    if recipe.paper:
        click.echo(f"from {recipe.paper}")
    section = ""
    for row in describe(made, session.host):
        if row.section != section:
            section = row.section
            click.echo(f"\n[{section}]")
        origin = "" if row.origin == "default" else f"  ({row.origin})"
        click.echo(f"{row.key} = {row.value}" + ("" if terse else origin))
        if row.doc and not terse:
            click.echo(f"    {row.doc}")
