"""Writes the help text of every command into docs/cli.md, between its two marks; ``--check`` only compares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from mmask.cli.main import cli
from mmask.cli.session import Session
from mmask.plugin.host import Host

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
BEGIN, END = "<!-- commands: begin -->\n", "<!-- commands: end -->\n"
WIDTH = 100


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """(full name, help) of a command and of those below it."""
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            inside = click.Context(inner, info_name=name, parent=context, max_content_width=WIDTH)
            yield from commands(inner, inside)


def text() -> str:
    """The section: a heading and a block for each command."""
    session = Session(Host([], environ={}))  # the core's own commands, whatever is installed
    settings = {**cli.context_settings, "terminal_width": WIDTH}
    context = click.Context(cli, info_name="mmask", obj=session, **settings)
    parts = [f"## `{name}`\n\n```text\n{help_}\n```\n" for name, help_ in commands(cli, context)]
    return "\n" + "\n".join(parts) + "\n"


def main() -> int:
    """Write the page, or say that it is out of date."""
    page = PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    new = head + BEGIN + text() + END + rest.partition(END)[2]
    if "--check" in sys.argv:
        if " ".join(page.split()) != " ".join(new.split()):
            print("docs/cli.md is out of date: run python tools/cli_docs.py", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
