"""Session: what every command shares. Handed down as click's context object."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mmask.cli.flags import Chosen
    from mmask.plugin.host import Host
    from mmask.recipe.resolve import Resolved


class Session:
    """The plugin host of this process, made when first needed, and the lines that go to stderr.

    quiet: keep notices back; ``--help`` prints one line for all of them.
    """

    def __init__(self, host: Host | None = None) -> None:
        self.quiet = False
        self._given = host

    @cached_property
    def host(self) -> Host:
        """The plugins."""
        if self._given is not None:
            return self._given
        from mmask.plugin.host import Host

        return Host(notify=self.notify)

    def notify(self, line: str) -> None:
        """One line on stderr."""
        if not self.quiet:
            click.echo(f"mmask: {line}", err=True)

    def resolve(self, chosen: Chosen, *, check: bool = True) -> Resolved:
        """The recipe that the flags ask for (`mmask.recipe.resolve.resolve`); its notes go to stderr.

        check: import the components and check their options. Plugins may refuse the outcome.
        """
        from mmask.recipe.resolve import resolve

        made = resolve(
            self.host, recipe=chosen.recipe, config=chosen.config, flags=chosen.flags,
            overrides=chosen.overrides, profile=chosen.profile, check=check,
        )
        for note in made.notes:
            self.notify(note)
        self.host.hooks.recipe(made.recipe)
        return made


pass_session = click.make_pass_decorator(Session, ensure=True)
