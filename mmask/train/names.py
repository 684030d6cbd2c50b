"""Names inside a recipe: the parts that call each other by name exist, before anything is built."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from mmask.errors import RecipeError, did_you_mean
from mmask.recipe.schema import ObjectiveSection, Recipe, ViewSection

CLEAN = "clean"


def check_names(recipe: Recipe) -> None:
    """Raise RecipeError for a name that torch keeps, or that nothing in the recipe has."""
    for section, table in (("networks", recipe.networks), ("objectives", recipe.objectives)):
        for name in table:
            if not name or "." in name or hasattr(nn.ModuleDict, name):
                raise RecipeError(f"{section}.{name}: torch keeps this name for itself", hint="choose another")
    _known("exports", recipe.exports, "network", recipe.networks)
    for name, network in recipe.networks.items():
        if network.stream is not None:
            _known(f"networks.{name}.stream", network.stream, "stream", recipe.tokenize)
    for name, view in recipe.views.items():
        _check_view(f"views.{name}", name, view, recipe)
    for name, objective in recipe.objectives.items():
        if objective.use == "masked":
            _check_masked(f"objectives.{name}", name, objective, recipe)


def _check_view(at: str, name: str, view: ViewSection, recipe: Recipe) -> None:
    if name == CLEAN:
        raise RecipeError(f"{at}: '{CLEAN}' is the view nothing was done to", hint="choose another name")
    _known(f"{at}.of", view.of, "view", [CLEAN, *recipe.views])
    if view.plan is not None:
        _known(f"{at}.plan", view.plan, "plan", recipe.maskers(), hint=f"{at}.plan=none hides nothing")
    for stream in view.streams or ():
        _known(f"{at}.streams", stream, "stream", recipe.tokenize)
    seen, source = [name], view.of
    while source != CLEAN and source in recipe.views:
        if source in seen:
            raise RecipeError(f"{at}.of: {' of '.join([*seen, source])} never ends at '{CLEAN}'")
        seen.append(source)
        source = recipe.views[source].of


def _check_masked(at: str, name: str, objective: ObjectiveSection, recipe: Recipe) -> None:
    """What an objective of this package reads; other components read of their section what they like."""
    _known(f"{at}.network", objective.network, "network", recipe.networks)
    _known(f"{at}.view", objective.view, "view", [CLEAN, *recipe.views])
    if objective.stream is not None:
        _known(f"{at}.stream", objective.stream, "stream", recipe.tokenize)
    if objective.options:
        raise RecipeError(
            f"{at}.options.{next(iter(objective.options))}: objective 'masked' takes no options",
            hint=f"its head, target and loss have theirs; {at}.use names another objective",
        )


def _known(at: str, name: str, what: str, known: Iterable[str], *, hint: str = "") -> None:
    known = list(known)
    if name not in known:
        there = f"the recipe has {', '.join(known)}" if known else f"the recipe has no {what}"
        raise RecipeError(
            f"{at} = '{name}': no {what} of that name{did_you_mean(name, known)}",
            hint=f"{there}; {hint}" if hint else there,
        )
