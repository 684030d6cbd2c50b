"""``mmask export``: a run's encoder in another library's form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmask.cli.session import Session, pass_session
from mmask.cli.table import show

if TYPE_CHECKING:
    from mmask.export.flow import Exported


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "form", required=True, metavar="NAME",
              help="timm, torchvision, hf, onnx, safetensors, or a plugin's; see mmask plugins.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR",
              help="A new folder; an earlier export there is replaced.")
@click.option("--network", metavar="NAME", help="Which of the run's networks [the one that the recipe exports].")
@click.option("--ema/--no-ema", default=True, show_default=True, help="The moving average where the run kept one.")
@click.option("--tolerance", type=click.FloatRange(min=0), metavar="X",
              help="Largest difference allowed, relative [the format's own].")
@click.argument("options", nargs=-1, metavar="[KEY=VALUE]...")
@pass_session
def command(
    session: Session, run: Path, form: str, out: Path, network: str | None, ema: bool, tolerance: float | None,
    options: tuple[str, ...],
) -> None:
    """Write RUN's encoder for another library, load it there, and compare the two.

    DIR has the weights, load.py, which was executed there, and export.json with the differences measured.
    It appears only when the written model agrees with the run. KEY=VALUE are options of the format.

    \b
    mmask export runs/mae-vit-b-1 --format timm --out exported/timm
    mmask export runs/mae-vit-b-1 --format hf --out exported/mae whole=true     the decoder too
    """
    from mmask.export.flow import Wanted, export
    from mmask.recipe.override import parse

    given = {".".join(key): value for key, value in map(parse, options)}
    _print(export(run, session.host, Wanted(form, out, given, ema, tolerance, network)))


def _print(made: Exported) -> None:
    click.echo(f"{made.out}: {', '.join(made.files)} of step {made.step:,}\n")
    rows = [
        [one.name, "x".join(map(str, one.shape)), f"{one.absolute:.2e}", f"{one.relative:.2e}"]
        for one in made.differences
    ]
    show(["compared", "shape", "largest difference", "relative"], rows)
    click.echo(f"\nIt agrees: {made.tolerance:.0e} is allowed. Executed in {made.out} (load.py):\n")
    click.echo("".join(f"    {line}".rstrip() + "\n" for line in made.snippet.splitlines()))
    click.echo(f"which printed: {made.printed}")
