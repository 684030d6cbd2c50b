"""The components a recipe names, with where they stand in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mmask.recipe.schema import ObjectiveSection, Recipe, Spec, use

# Parts of a run that are handed to components which declare them; no recipe sets these.
WIRING = frozenset(
    ["name", "section", "tokenizer", "tokenizers", "network", "networks", "target", "head", "loss", "out", "run", "recipe", "host", "model"]
)


@dataclass(frozen=True, slots=True)
class Part:
    """A component of a recipe. ``where`` is its dotted key; its options stand beside it, or in ``options``."""

    where: str
    kind: str
    spec: Spec
    options_at: str

    def options(self) -> dict[str, object]:
        """The options for the component itself; ``on`` of a masker says which streams it plans for."""
        given = self.spec.options()
        if self.kind == "masker":
            given.pop("on", None)
        return given


def parts(recipe: Recipe) -> list[Part]:
    """Every component of a recipe, in the order in which they are built."""
    return [Part(where, kind, spec, at) for where, kind, spec, at in _walk(recipe)]


def _walk(recipe: Recipe) -> Iterator[tuple[str, str, Spec, str]]:
    if recipe.data.dataset:
        yield "data.dataset", "dataset", use(recipe.data.dataset), "data.dataset"
    named = [("data.decode", "decoder", recipe.data.decode), ("tokenize", "tokenizer", recipe.tokenize)]
    for section, kind, table in named:
        for name, spec in table.items():
            yield f"{section}.{name}", kind, spec, f"{section}.{name}"
    if isinstance(recipe.mask, Spec):
        yield "mask", "masker", recipe.mask, "mask"
    else:
        for name, spec in recipe.mask.items():
            yield f"mask.{name}", "masker", spec, f"mask.{name}"
    for name, network in recipe.networks.items():
        yield f"networks.{name}", "encoder", network, f"networks.{name}"
    for name, view in recipe.views.items():
        if view.corrupt is not None:
            yield f"views.{name}.corrupt", "corruption", view.corrupt, f"views.{name}.corrupt"
    for name, objective in recipe.objectives.items():
        yield from _objective(f"objectives.{name}", objective)
    for index, spec in enumerate(recipe.train.trackers):
        yield f"train.trackers.{index}", "tracker", spec, f"train.trackers.{index}"
    if recipe.preview is not None:
        yield "preview", "preview", recipe.preview, "preview"


def _objective(where: str, section: ObjectiveSection) -> Iterator[tuple[str, str, Spec, str]]:
    for kind in ("target", "head", "loss"):
        spec = getattr(section, kind)
        if spec is not None:
            yield f"{where}.{kind}", kind, spec, f"{where}.{kind}"
    if section.use != "masked":
        spec = Spec.model_validate({"use": section.use, **section.options})
        yield where, "objective", spec, f"{where}.options"
