"""A finished or running run's recipe and model, for evaluation and for other people's code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmask.errors import CheckpointError, UsageError
from mmask.train.build import build_model
from mmask.train.model import MaskedModel
from mmask.train.seed import init_scope
from mmask.train.weights import run_weights

if TYPE_CHECKING:
    from mmask.plugin.host import Host
    from mmask.recipe.resolve import Resolved


def load_resolved(run: Path, host: Host, overrides: Sequence[str] = ()) -> Resolved:
    """The recipe of a run folder, with ``key=value`` overrides. Raises UsageError when there is none."""
    from mmask.recipe.resolve import resolve

    if not (run / "recipe.toml").is_file():
        raise UsageError(f"{run} is no run: it has no recipe.toml", hint="give the folder that train wrote (--out)")
    return resolve(host, config=run, overrides=overrides)


def load_model(run: str | Path, host: Host, *, ema: bool = True) -> MaskedModel:
    """The model of a run in evaluation mode, with the weights of its newest whole checkpoint.

    ema: take the moving average where the run kept one. Raises CheckpointError when there is none.
    """
    run = Path(run)
    recipe = load_resolved(run, host).recipe
    weights = run_weights(run, ema=ema)
    with init_scope(recipe.train.seed):
        model = build_model(recipe, host)
    if recipe.train.precision == "fp64":
        model.double()
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint of {run} does not fit its recipe: {error}") from error
    return model.eval()
