"""``mmask plugins [NAME]``: origin, version, state and, of one, everything that is known."""

from __future__ import annotations

import click

from mmask.cli.session import Session, pass_session
from mmask.cli.table import show
from mmask.errors import UnknownNameError, did_you_mean
from mmask.plugin.quarantine import Plugin


@click.command()
@click.argument("name", required=False)
@pass_session
def command(session: Session, name: str | None) -> None:
    """Installed plugins and their state; with NAME, its components or the whole reason it is broken."""
    session.quiet = True  # the table says it all
    known = session.host.load_all(tolerant=True)
    if name is None:
        show(("plugin", "distribution", "version", "state", "components", "reason"), [_row(p) for p in known])
        return
    found = [plugin for plugin in known if name in (plugin.name, plugin.entry.distribution)]
    if not found:
        names = [plugin.name for plugin in known]
        raise UnknownNameError(
            f"no plugin named '{name}'{did_you_mean(name, names)}", hint=f"installed are {', '.join(names)}"
        )
    for plugin in found:
        _detail(plugin)


def _row(plugin: Plugin) -> tuple[str, ...]:
    return (
        plugin.name, plugin.entry.distribution or "-", plugin.entry.version or "-", plugin.state,
        str(len(plugin.components)) if plugin.state == "ready" else "-", plugin.reason,
    )


def _detail(plugin: Plugin) -> None:
    entry = plugin.entry
    click.echo(f"{plugin.label}: {plugin.state}" + (f", {plugin.reason}" if plugin.reason else ""))
    click.echo(f"manifest {entry.value} through {entry.group}, imported in {plugin.seconds * 1000:.0f} ms")
    if plugin.trace:
        click.echo(f"\n{plugin.trace}")
    if plugin.components:
        click.echo("")
        show(
            ("kind", "name", "target", "summary"),
            [(c.kind, c.name, c.target, c.summary) for c in plugin.components],
        )
