"""``mmask plan``: what a run would do, before it takes a machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from mmask.cli.flags import Chosen, recipe_flags
from mmask.cli.session import Session, pass_session
from mmask.errors import MmaskError

if TYPE_CHECKING:
    from mmask.recipe.resolve import Resolved
    from mmask.recipe.schema import Recipe
    from mmask.train.estimate import Estimate
    from mmask.train.source import StreamReader
    from mmask.types import Batch

_WIDEST = 44


@click.command()
@click.option("--ranks", type=click.IntRange(min=1), default=1, show_default=True, metavar="R", help="Processes.")
@click.option("--samples", type=click.IntRange(min=1), metavar="N", help="Training samples, if not to be read.")
@recipe_flags
@pass_session
def command(session: Session, ranks: int, samples: int | None, chosen: Chosen) -> None:
    """What train would do with these flags: settings, steps, learning rate, parameters, tokens, memory, shards.

    Works without data and without a GPU. Memory is an estimate: weights, gradients and optimizer state are
    counted, activations are measured on shapes alone; the allocator's own waste comes on top.
    """
    made = session.resolve(chosen)
    reader, why = _reader(session, made.recipe)
    batch, none = _batch(reader)
    if batch is None and made.recipe.data.dataset:  # the plugin's sample data has the same shapes
        data = made.recipe.data.model_copy(update={"train": [], "val": []})
        batch, _ = _batch(_reader(session, made.recipe.model_copy(update={"data": data}))[0])
    _show(session, made, reader, batch, samples, ranks, why or none)


def _reader(session: Session, recipe: Recipe) -> tuple[StreamReader | None, str]:
    """The run's reader, or None and why it cannot be had."""
    from mmask.train.ranks import Ranks
    from mmask.train.source import StreamReader

    try:
        return StreamReader(recipe, session.host, Ranks()), ""
    except MmaskError as error:
        return None, error.message


def _batch(reader: StreamReader | None) -> tuple[Batch | None, str]:
    """Two decoded samples: their shapes are what places and memory depend on."""
    if reader is None:
        return None, ""
    try:
        return reader.sight(2), ""
    except MmaskError as error:
        return None, error.message
    finally:
        reader.close()


def _show(
    session: Session, made: Resolved, reader: StreamReader | None, batch: Batch | None,
    samples: int | None, ranks: int, why: str,
) -> None:
    from mmask.train.estimate import estimate

    count = samples or (reader.units if reader is not None else 0)
    numbers = estimate(made.recipe, session.host, batch, ranks=ranks, why=f"no sample could be read: {why}")
    recipe = made.recipe
    click.echo(f"{recipe.name}: {recipe.summary}" if recipe.summary else recipe.name)
    for title, lines in (
        ("set for this run", _settings(made)),
        ("course", _course(made, count, ranks, numbers, why)),
        ("model", _model(numbers)),
        ("memory on one device, estimated", _memory(numbers)),
        ("shards", _shards(made, reader, ranks)),
    ):
        rows = list(lines)
        if rows:
            click.echo(f"\n{title}")
        width = min(max((len(name) for name, _ in rows), default=0), _WIDEST)
        for name, text in rows:
            click.echo(f"  {name:<{width}}  {text}")


def _settings(made: Resolved) -> Iterator[tuple[str, str]]:
    from mmask.recipe.describe import show
    from mmask.recipe.tree import leaves

    for path, value in leaves(made.recipe.model_dump(exclude={"profiles"})):
        key = ".".join(path)
        origin = made.origins.get(key, "default")
        if origin != "default" and not origin.startswith("recipe "):
            yield f"{key} = {show(value)}", f"({origin})"


def _course(
    made: Resolved, samples: int, ranks: int, numbers: Estimate, why: str
) -> Iterator[tuple[str, str]]:
    from mmask.train.schedule import course, peak_lr, step_sums, tokens_a_step, unit_name

    recipe = made.recipe
    accumulate = recipe.optim.accumulate
    parts = f" = {ranks} ranks × {recipe.data.batch_size // ranks}" if ranks > 1 else ""
    yield "batch", f"{recipe.data.batch_size:,} {unit_name(recipe)} a step{parts}" + (
        f" in {accumulate} micro-batches" if accumulate > 1 else ""
    )
    if samples:
        yield unit_name(recipe), f"{samples:,} in one pass" + (", estimated" if recipe.data.pack else "")
        yield from step_sums(recipe, samples).items()
    else:
        yield "samples", f"unknown: {why or 'no data'}; give --samples N"
        if recipe.schedule.steps is not None:
            yield "steps", f"{recipe.schedule.steps:,}"
        yield "learning rate", " = ".join(map(str, peak_lr(recipe)))
    steps = course(recipe, samples).steps if samples else recipe.schedule.steps
    if recipe.data.pack is not None:
        each = tokens_a_step(recipe)
        yield "tokens", f"{each:,} a step at most" + (f"; {each * steps:.3g} in all" if steps else "")
    for stream, places in numbers.places.items():
        kept = numbers.kept.get(stream)
        text = f"{places:g} of {stream} a sample" + (f", {kept:g} of them visible" if kept is not None else "")
        if recipe.data.pack is not None:
            yield stream, text
            continue
        text += f"; {places * recipe.data.batch_size:,.0f} a step"
        yield "tokens", text + (f"; {places * recipe.data.batch_size * steps:.3g} in all" if steps else "")
    for plan, share in numbers.ratios.items():
        yield f"plan {plan}", f"hides {share:.1%}"


def _model(numbers: Estimate) -> Iterator[tuple[str, str]]:
    for part, (trained, frozen) in numbers.parameters.items():
        yield part, f"{trained:,} parameters" + (f", {frozen:,} fixed" if frozen else "")
    total = sum(trained for trained, _ in numbers.parameters.values())
    yield "trained", f"{total:,} parameters in all"


def _memory(numbers: Estimate) -> Iterator[tuple[str, str]]:
    memory = numbers.memory
    yield "parameters", _bytes(memory.parameters)
    yield "gradients", _bytes(memory.gradients)
    yield "optimizer", _bytes(memory.optimizer)
    if memory.average:
        yield "average", _bytes(memory.average)
    if memory.activations is None:
        yield "activations", f"unknown: {memory.why}"
        yield "in all", f"{_bytes(memory.total)} and the activations"
        return
    yield "activations", f"{_bytes(memory.activations)} for {numbers.micro:,} samples at once, in fp32"
    yield "in all", f"about {_bytes(memory.total)}; halve a batch that does not fit with optim.accumulate=2"


def _shards(made: Resolved, reader: StreamReader | None, ranks: int) -> Iterator[tuple[str, str]]:
    from mmask.data.bundle import rule_of, windows_of
    from mmask.data.check import read_amplification

    data = made.recipe.data
    batch, workers = data.batch_size, max(1, data.workers)
    if batch % ranks:
        yield "wrong", f"{ranks} ranks do not divide a batch of {batch}: train will refuse it"
        return
    lanes = data.streams
    rule = rule_of(data)
    if rule is not None and reader is not None:
        lanes = windows_of(rule, reader.samples, data.streams, batch).lanes
    share = read_amplification(ranks, workers, lanes, data.group if rule is None else 1)
    readers = f"{ranks} × {workers} readers on {lanes} canonical streams"
    yield "readers", readers + (
        ", each with its own" if share == 1 else f": {share} share each, so shards are read {share} times"
    )
    if reader is not None:
        shards = sum(len(source.shards) for source in reader.stream.sources)
        yield "stored", f"{shards:,} shards, {reader.samples:,} samples"


def _bytes(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**28 else f"{size / 2**20:.1f} MiB"
