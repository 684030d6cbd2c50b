"""``mmask new plugin NAME``: a package that installs, trains and passes the conformance kit as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from mmask.cli.lazy import LazyGroup
from mmask.errors import PluginError, UsageError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_WORD = re.compile("example")
_LEFT_OUT = ("__pycache__", ".pytest_cache", ".ruff_cache", "dist", "build")


@click.group(cls=LazyGroup, guests=False, table={
    "plugin": ("mmask.cli.new:plugin", "A plugin package with one part of each common kind."),
})
def command() -> None:
    """Write something new."""


@click.command()
@click.argument("name")
@click.option("--into", metavar="DIR", help="Where to write; default mmask-NAME.")
def plugin(name: str, into: str | None) -> None:
    """Write a plugin package called mmask-NAME that works as it is; change it piece by piece."""
    if not _NAME.fullmatch(name) or name in ("core", "example"):
        raise UsageError(
            f"'{name}' cannot be a plugin's name", hint="lower case letters, digits and single dashes, such as audio"
        )
    folder = Path(into or f"mmask-{name}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already", hint="choose another folder with --into")
    for source, place in _files(template()):
        target = folder / renamed(str(place), name)
        target.parent.mkdir(parents=True, exist_ok=True)
        data = source.read_bytes()
        target.write_bytes(data if source.suffix == ".tar" else renamed(data.decode(), name).encode())
    click.echo(
        f"wrote {folder}\n"
        f"  pip install -e '{folder}[test]'\n"
        f"  mmask plugins {name}\n"
        f"  mmask train --recipe {name}-tiny --steps 50\n"
        f"  pytest {folder}"
    )


def template() -> Path:
    """The template's folder: in the wheel beside `mmask.testing`, in a checkout under ``plugins/``."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "testing" / "template", package.parent / "plugins" / "template"):
        if (folder / "pyproject.toml").is_file():
            return folder
    raise PluginError("the plugin template is missing from this installation", hint="install mmask again")


def renamed(text: str, name: str) -> str:
    """The template's text with its own name replaced: ``acme-b`` is ``acme_b`` wherever Python wants one."""
    module = name.replace("-", "_")

    def put(found: re.Match[str]) -> str:
        start, end = found.span()
        joined = text[start - 1 : start] == "_" or text[end : end + 1] == "_"
        return module if joined else name

    return _WORD.sub(put, text)


def _files(folder: Path) -> Iterator[tuple[Path, Path]]:
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        generated = any(part in _LEFT_OUT or part.endswith(".egg-info") for part in place.parts)
        if path.is_file() and not generated:
            yield path, place
