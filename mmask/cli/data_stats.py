"""``mmask data stats``: mean and deviation of what decoders make of shards."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmask.cli.flags import Chosen, recipe_flags
from mmask.cli.session import Session, pass_session
from mmask.cli.table import show
from mmask.errors import DataError, UsageError

if TYPE_CHECKING:
    from mmask.recipe.schema import DataSection
    from mmask.train.measure import Measured


@click.command(options_metavar="[URL]... [OPTIONS]")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=None, metavar="JSON",
              help="Where the numbers go; a decoder's option 'stats' reads them.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many samples, spread evenly.")
@click.option("--decoder", metavar="NAME",
              help="One decoder in place of a recipe's; KEY=VALUE are its options then.")
@recipe_flags
@pass_session
def command(
    session: Session, out: Path | None, limit: int | None, decoder: str | None, chosen: Chosen
) -> None:
    """Mean, deviation and range of the values that a recipe's decoders make of shards.

    \b
    mmask data stats 'shards/train-*.tar' --recipe NAME --out stats.json
    mmask data stats 'shards/train-*.tar' --decoder NAME KEY=VALUE

    The shards are read once, as in evaluation; decoders leave their own normalisation out. Numbers are of all
    values of a field, and of each channel where it has such an axis. What cannot be read is left out and named.
    """
    from mmask.data.stream import open_stream
    from mmask.train.measure import measure

    words = chosen.overrides
    urls = tuple(word for word in words if "=" not in word.partition("/")[0].partition(":")[0])
    chosen = replace(chosen, overrides=tuple(word for word in words if word not in urls))
    if urls:
        chosen.flags["data.train"] = ("URL", [{"url": url} for url in urls])
    section, made = _one(session, decoder, chosen) if decoder else _recipe(session, chosen)
    stream = open_stream(section, seed=0)
    steps: Any = click.progressbar(length=min(limit or len(stream), len(stream)), label="samples", file=sys.stderr)
    with steps as bar:
        found = measure(
            stream, made, limit=limit, workers=section.workers, fault_budget=section.fault_budget, done=bar.update
        )
    _report(session, found)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        text = {"fields": found.fields, "samples": found.samples, "data": [one.url for one in section.train]}
        out.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
        click.echo(f"written: {out}")


def _recipe(session: Session, chosen: Chosen) -> tuple[DataSection, dict[str, Any]]:
    from mmask.train.source import with_dataset

    recipe = session.resolve(chosen).recipe
    made = {
        name: session.host.build("decoder", spec, where=f"data.decode.{name}")
        for name, spec in recipe.data.decode.items()
    }
    return with_dataset(recipe.data, session.host), made


def _one(session: Session, name: str, chosen: Chosen) -> tuple[DataSection, dict[str, Any]]:
    """One decoder on shards that were named, without a recipe."""
    from mmask.recipe.override import parse_value
    from mmask.recipe.schema import DataSection, Spec

    if chosen.recipe or chosen.config:
        raise UsageError("--decoder takes the place of a recipe", hint="leave --recipe and --config away")
    if "data.train" not in chosen.flags:
        raise UsageError("--decoder needs shards", hint="mmask data stats 'shards/train-*.tar' --decoder NAME")
    pairs = (word.partition("=") for word in chosen.overrides)
    options = {key.replace("-", "_"): parse_value(value) for key, _, value in pairs}
    given = {key.removeprefix("data."): value for key, (_, value) in chosen.flags.items() if key.startswith("data.")}
    made = session.host.build("decoder", Spec.model_validate({"use": name, **options}), where=name)
    return DataSection.model_validate({"batch_size": 1, **given}), {name: made}


def _report(session: Session, found: Measured) -> None:
    for line in found.faults[:5]:
        session.notify(f"left out: {line}")
    if not found.fields:
        raise DataError("no decoder made an array of any sample", hint="see: mmask data inspect URL")
    rows = [
        (
            name, f"{one['samples']:,}", f"{one['count']:,}",
            *(f"{one[key]:.6g}" for key in ("mean", "std", "min", "max")),
            str(len(one["each"]["mean"])) if "each" in one else "",
        )
        for name, one in found.fields.items()
    ]
    show(("field", "samples", "values", "mean", "std", "min", "max", "each of"), rows, title="values")
