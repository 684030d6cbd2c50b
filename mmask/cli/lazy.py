"""LazyGroup: a click group that knows its commands by name and one line, and imports the one that is run."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from mmask.cli.session import Session
from mmask.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from mmask.plugin.registry import Claim

Table = Mapping[str, tuple[str, str]]  # name -> ("module:attribute", one line)
GROUPS = ("data",)  # groups of commands that plugins may add to


class LazyGroup(click.Group):
    """The table's commands, and those of plugins after them.

    A plugin's command has its bare name, or ``plugin/name`` where that is taken. Help is written from the
    table and the manifests alone; without overriding `format_commands`, click would import every command.
    guests: whether plugins' commands belong here; a text names the group: a plugin's command ``data.tokens`` is
    ``tokens`` in the group with ``guests="data"``, and is not seen at the top.
    """

    def __init__(self, *args: Any, table: Table, guests: bool | str = True, **options: Any) -> None:
        super().__init__(*args, **options)
        self.table, self.open = table, bool(guests)
        self._group = f"{guests}." if isinstance(guests, str) else ""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The core's commands in the table's order, then those of plugins."""
        return [*self.table, *sorted(self._guests(ctx))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None when there is none of that name."""
        if cmd_name in self.table:
            module, _, attribute = self.table[cmd_name][0].partition(":")
            command: click.Command = getattr(import_module(module), attribute)
            return command
        claim = self._guests(ctx).get(cmd_name)
        if claim is None:
            return None
        found = _session(ctx).host.target("command", claim.qualified)
        return found if isinstance(found, click.Command) else click.command(cmd_name)(found)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Names and lines, without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])
        session = _session(ctx)
        session.quiet = True
        guests = self._guests(ctx)
        if guests:
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(name, _line(claim)) for name, claim in sorted(guests.items())])
        session.quiet = False
        broken = [plugin.name for plugin in session.host.plugins if plugin.state == "broken"]
        if broken and self.open:
            session.notify(f"could not load {', '.join(broken)}: see mmask plugins")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest name for a misspelt command."""
        name = args[0]
        if name.startswith("-") or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        known = self.list_commands(ctx)
        lines = [f"there are {', '.join(known)}", *(_session(ctx).host.suspects() if self.open else ())]
        raise UsageError(f"no command '{name}'{did_you_mean(name, known)}", hint="\n  ".join(lines))

    def _guests(self, ctx: click.Context) -> dict[str, Claim]:
        if not self.open:
            return {}
        found = _session(ctx).host.claims("command", tolerant=True)
        claims = [claim for claim in found if self._mine(claim.component.name)]
        names = [claim.component.name for claim in claims]
        bare = [name.removeprefix(self._group) for name in names]
        taken = {*self.table, *(name for name in bare if bare.count(name) > 1)}
        return {c.qualified if name in taken else name: c for c, name in zip(claims, bare, strict=True)}

    def _mine(self, name: str) -> bool:
        """Whether a command belongs to this group: its own prefix, or, at the top, none of a group's."""
        return name.startswith(self._group) if self._group else name.partition(".")[0] not in GROUPS or "." not in name


def _line(claim: Claim) -> str:
    return f"{claim.component.summary} [{claim.plugin.name}]"


def _session(ctx: click.Context) -> Session:
    return ctx.ensure_object(Session)
