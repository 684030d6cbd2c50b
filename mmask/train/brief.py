"""The lines before a run starts: what it will do, with numbers, and where each setting came from."""

from __future__ import annotations

from collections.abc import Iterator

from mmask.recipe.describe import show
from mmask.recipe.resolve import Resolved
from mmask.train.model import MaskedModel
from mmask.train.precision import Precision
from mmask.train.ranks import Ranks
from mmask.train.reader import Reader
from mmask.train.schedule import course, step_sums, tokens_a_step, unit_name

_WIDTH = 14


def opening(resolved: Resolved) -> Iterator[str]:
    """The recipe, and how to give data, steps and size when the sample data is used."""
    recipe = resolved.recipe
    yield f"{recipe.name}: {recipe.summary}" if recipe.summary else recipe.name
    if not recipe.data.train:
        yield f"  no --data was given, so this run uses the sample data '{recipe.data.dataset}'. For your own:"
        yield "    data    --data 'shards/train-{000..127}.tar' --val shards/val.tar   (see: mmask data pack)"
        yield "    length  --steps N or --epochs N"
        origin = resolved.origins.get("name", "")
        shown = recipe.name if origin.startswith("recipe ") else f"--config {origin}"
        yield f"    size    --batch-size B, or any key=value of: mmask recipe show {shown}"


def settings(resolved: Resolved) -> Iterator[str]:
    """Every value that a profile, a file or the command line set, with its origin."""
    values = dict(_leaves(resolved.recipe.model_dump()))
    shown = [
        (key, origin) for key, origin in resolved.origins.items()
        if origin != "default" and not origin.startswith("recipe ") and key in values
    ]
    if shown:
        yield "  set for this run"
    width = max((len(key) + len(_text(values[key])) for key, _ in shown), default=0) + 3
    for key, origin in shown:
        yield f"    {f'{key} = {_text(values[key])}':<{min(width, 60)}}  {origin}"


def numbers(
    resolved: Resolved, reader: Reader, ranks: Ranks, model: MaskedModel, precision: Precision, tokens: int
) -> Iterator[str]:
    """The run in numbers. tokens: places of one sample."""
    recipe = resolved.recipe
    made = course(recipe, reader.units)
    local, accumulate = recipe.data.batch_size // ranks.world, recipe.optim.accumulate
    lines = {
        "data": f"{reader.samples:,} samples, {reader.held_out:,} held out",
        "batch": f"{made.batch} {unit_name(recipe)} a step = {ranks.world} × {local}"
        + (f", each in {accumulate} micro-batches" if accumulate > 1 else ""),
        **step_sums(recipe, reader.units),
    }
    if recipe.data.pack is not None:
        lines["tokens"] = f"{tokens_a_step(recipe):,} a step at most, in {reader.units:,} packs a pass, about"
    elif tokens:
        lines["tokens"] = f"{tokens * made.steps * made.batch:,} = {tokens} × {made.batch} × {made.steps:,}"
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    still = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    lines["parameters"] = f"{trained / 1e6:.2f} M trained" + (f", {still / 1e6:.2f} M frozen" if still else "")
    lines["computed in"] = f"{precision.name} on {precision.device}"
    for name, text in lines.items():
        yield f"  {name:<{_WIDTH}}{text}"


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _text(value: object) -> str:
    text = show(value)
    return text if len(text) <= 48 else text[:47] + "…"
