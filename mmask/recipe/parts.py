"""The components a recipe names, with where they stand in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmask.recipe.schema import ObjectiveSection, Recipe, Spec, use


@dataclass(frozen=True, slots=True)
class Part:
    """A component of a recipe. ``where`` is its dotted key; its options stand beside it, or in ``options``."""

    where: str
    kind: str
    spec: Spec
    options_at: str

    def options(self) -> dict[str, Any]:
        """The options for the component itself: not ``on`` and ``action``, which say which streams a masker plans
        for and what becomes of the places it hides, and not the maskers inside a masker, which are parts of their
        own."""
        given = self.spec.options()
        if self.kind != "masker":
            return given
        return {key: value for key, value in given.items() if key not in ("on", "action") and _inner(value) is None}


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
        yield from _maskers("mask", recipe.mask)
    else:
        for name, spec in recipe.mask.items():
            yield from _maskers(f"mask.{name}", spec)
    for name, network in recipe.networks.items():
        yield f"networks.{name}", "encoder", network, f"networks.{name}"
    for name, view in recipe.views.items():
        if view.corrupt is not None:
            yield f"views.{name}.corrupt", "corruption", view.corrupt, f"views.{name}.corrupt"
    for name, objective in recipe.objectives.items():
        yield from _objective(f"objectives.{name}", objective)
    yield from _engine(recipe)
    if recipe.preview is not None:
        yield "preview", "preview", recipe.preview, "preview"


def _engine(recipe: Recipe) -> Iterator[tuple[str, str, Spec, str]]:
    evaluators = recipe.train.probe.evaluators if recipe.train.probe is not None else []
    for section, kind, specs in (
        ("train.trackers", "tracker", recipe.train.trackers), ("train.probe.evaluators", "evaluator", evaluators),
    ):
        for index, spec in enumerate(specs):
            yield f"{section}.{index}", kind, spec, f"{section}.{index}"


def _maskers(where: str, spec: Spec) -> Iterator[tuple[str, str, Spec, str]]:
    yield where, "masker", spec, where
    for key, value in spec.options().items():
        inner = _inner(value)
        if inner is not None:
            yield from _maskers(f"{where}.{key}", inner)


def _inner(value: Any) -> Spec | None:
    if isinstance(value, Spec):
        return value
    return Spec.model_validate(value) if isinstance(value, Mapping) and "use" in value else None


def _objective(where: str, section: ObjectiveSection) -> Iterator[tuple[str, str, Spec, str]]:
    for kind in ("target", "head", "loss"):
        spec = getattr(section, kind)
        if spec is not None:
            yield f"{where}.{kind}", kind, spec, f"{where}.{kind}"
    if section.use != "masked":
        spec = Spec.model_validate({"use": section.use, **section.options})
        yield where, "objective", spec, f"{where}.options"
