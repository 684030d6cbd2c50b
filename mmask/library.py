"""mmask in other people's code: models, recipes and runs without the command line."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from mmask.plugin.host import Host
    from mmask.recipe.schema import Recipe
    from mmask.train.model import MaskedModel


@cache
def plugins() -> Host:
    """The installed plugins, found once a process."""
    from mmask.plugin.host import Host

    return Host()


def list_recipes() -> dict[str, str]:
    """Recipe name -> one line. A name that two plugins claim is listed as ``plugin/name``."""
    host = plugins()
    claims = host.claims("recipe")
    twice = {c.component.name for c in claims if len(host.registry().owners("recipe", c.component.name)) > 1}
    return {
        c.qualified if c.component.name in twice else c.component.name: c.component.summary for c in claims
    }


def load_recipe(
    name: str, overrides: Mapping[str, Any] | None = None, *, profile: str = "none", **keys: Any
) -> Recipe:
    """A recipe by name, or a TOML file ending in ``.toml``, with keys changed.

    overrides: dotted key -> value (``{"mask.ratio": 0.6}``); ``keys`` are the same with ``__`` for the dot
    (``mask__ratio=0.6``). profile: a profile of the recipe to apply, such as ``demo``.
    Raises UnknownNameError naming the nearest recipe or key, RecipeError for values that do not fit.
    """
    from mmask.recipe.resolve import resolve

    given = {**(overrides or {}), **{key.replace("__", "."): value for key, value in keys.items()}}
    flags = {key: (key, value) for key, value in given.items()}
    by_file = name.endswith(".toml")
    return resolve(
        plugins(), recipe=None if by_file else name, config=name if by_file else None, flags=flags, profile=profile
    ).recipe


def create_model(
    name: str | Recipe, overrides: Mapping[str, Any] | None = None, **keys: Any
) -> MaskedModel:
    """The model of a recipe, with random weights drawn under ``train.seed``, or those that ``networks.*.init`` names.

    ``create_model("mae-vit-b", {"mask.ratio": 0.6})`` or ``create_model("mae-vit-b", mask__ratio=0.6)``.
    ``model(batch)`` returns `mmask.types.Losses`; ``model(batch, plans)`` uses the plans given;
    ``predictions=True`` returns ``(losses, {objective: Prediction})``; ``model.encoder`` is what is kept.
    The caller's random state is left as it was.
    """
    from mmask.keyed import fold, seeded_scope
    from mmask.train.build import build_model
    from mmask.train.weights import starting_weights

    recipe = load_recipe(name, overrides, **keys) if isinstance(name, str) else name
    with seeded_scope(fold(recipe.train.seed, "init")):
        model = build_model(recipe, plugins())
    starting_weights(model, recipe, plugins())
    return model


def load_run(path: str | Path, *, ema: bool = True) -> MaskedModel:
    """The model of a run folder, with the weights of its last good checkpoint.

    ema: take the moving average of the weights where the run kept one.
    """
    from mmask.train.revive import load_model

    return load_model(path, plugins(), ema=ema)
