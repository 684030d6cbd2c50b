"""Session: what every command shares. Handed down as click's context object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pathlib import Path

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

    def resolve(
        self, recipe: str | None, config: str | Path | None, flags: Mapping[str, tuple[str, Any]],
        overrides: Sequence[str], *, profile: str | None = None, check: bool = True,
    ) -> Resolved:
        """`mmask.recipe.resolve.resolve` with this session's plugins; its notes go to stderr."""
        from mmask.recipe.resolve import resolve

        made = resolve(
            self.host, recipe=recipe, config=config, flags=flags, overrides=overrides,
            profile=profile, check=check,
        )
        for note in made.notes:
            self.notify(note)
        return made


pass_session = click.make_pass_decorator(Session, ensure=True)
