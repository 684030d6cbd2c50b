"""``mmask mask preview``: mask plans of a recipe on real samples, as a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmask.cli.flags import Chosen, recipe_flags
from mmask.cli.lazy import LazyGroup
from mmask.cli.session import Session, pass_session
from mmask.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from mmask.types import Batch


@click.group(cls=LazyGroup, guests=False, table={
    "preview": ("mmask.cli.mask:preview", "Draw the plans of a few samples; no model is run."),
})
def command() -> None:
    """Look at mask plans."""


@click.command()
@click.option("--out", default="mask.png", show_default=True, metavar="FILE", help="The picture to write.")
@click.option("--samples", type=click.IntRange(min=1), default=8, show_default=True, help="Samples to draw.")
@click.option("--visit", type=click.IntRange(min=0), default=0, help="Which visit of the samples: another draw.")
@recipe_flags
@pass_session
def preview(session: Session, out: str, samples: int, visit: int, chosen: Chosen) -> None:
    """Draw what a recipe hides of a few samples. The plans are those that train would draw for them."""
    path = Path(out)
    if not path.parent.is_dir():
        raise UsageError(f"no folder {path.parent}", hint="make it first, or choose another --out")
    made = session.resolve(chosen)
    recipe = made.recipe
    if recipe.preview is None:
        raise UsageError(
            f"recipe '{recipe.name}' has no preview", hint="set one: preview.use=NAME; see mmask plugins NAME"
        )
    from mmask.train.estimate import build_on_meta
    from mmask.train.ranks import Ranks
    from mmask.train.source import StreamReader

    draw = session.host.build("preview", recipe.preview, where="preview", samples=samples)
    reader = StreamReader(recipe, session.host, Ranks())
    try:
        batch = reader.sight(samples)
    finally:
        reader.close()
    if batch is None:
        raise DataError("the data has no sample to draw")
    batch = replace(batch, visits=batch.visits + visit)
    model = build_on_meta(recipe, session.host)  # plans need no weights
    plans = model.draw(batch)
    _write(path, draw(model, batch, plans=plans, predict=False))
    hidden = ", ".join(f"{name} hides {share:.1%}" for name, share in plans.ratios().items())
    click.echo(f"{path}: {_count(batch)} of {recipe.name}; plan {hidden}")


def _count(batch: Batch) -> str:
    return "1 sample" if len(batch) == 1 else f"{len(batch)} samples"


def _write(path: Path, image: np.ndarray) -> None:
    from PIL import Image

    try:
        Image.fromarray(image).save(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be written: {error}", hint="--out takes a picture file, mask.png") from None
