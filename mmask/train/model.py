"""MaskedModel: the composition root, where tokenizers, maskers, corruptions, networks and objectives meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from mmask.errors import PlanError, RecipeError, did_you_mean
from mmask.keyed import Keys
from mmask.protocols import Corruption, Masker, Objective, Tokenizer
from mmask.train.scene import BatchPlans, ModelScene
from mmask.types import Batch, Layout, Losses, MaskPlan


@dataclass(frozen=True)
class ViewMaker:
    """How a view is made: see `mmask.recipe.schema.ViewSection`."""

    of: str = "clean"
    plan: str | None = "mask"
    corrupt: Corruption | None = None
    streams: tuple[str, ...] | None = None


@dataclass(frozen=True)
class PlanMaker:
    """A masker and the streams it plans for: one stream, or several joined under a joint budget."""

    masker: Masker
    streams: tuple[str, ...]


class MaskedModel(nn.Module):
    """Everything that is trained, as one module.

    ``model(batch)`` draws plans by ``seed`` and the batch's sample ids and returns `Losses`;
    ``model(batch, plans)`` uses the plans given, either `BatchPlans`, a single `MaskPlan`, or a mapping
    plan name -> MaskPlan. ``predictions=True`` returns (losses, {objective: Prediction}).
    """

    def __init__(
        self,
        *,
        tokenizers: Mapping[str, Tokenizer],
        maskers: Mapping[str, PlanMaker],
        views: Mapping[str, ViewMaker],
        networks: Mapping[str, nn.Module],
        objectives: Mapping[str, Objective],
        seed: int = 0,
        exports: str = "encoder",
        frozen: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.tokenizers = dict(tokenizers)
        self.front_ends = nn.ModuleDict({n: t for n, t in tokenizers.items() if isinstance(t, nn.Module)})
        self.maskers, self.view_makers = dict(maskers), dict(views)
        self.networks = nn.ModuleDict(networks)
        self.objectives = nn.ModuleDict(objectives)  # type: ignore[arg-type]  # objectives hold their heads
        self.corruptions = nn.ModuleDict(
            {name: made.corrupt for name, made in views.items() if isinstance(made.corrupt, nn.Module)}
        )
        self.seed, self.exports, self.frozen = seed, exports, frozen
        for name in frozen:
            self.networks[name].requires_grad_(False)

    def train(self, mode: bool = True) -> MaskedModel:
        """Frozen networks stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            self.networks[name].eval()
        return self

    def network(self, name: str) -> nn.Module:
        """A network by name."""
        if name not in self.networks:
            known = list(self.networks)
            raise RecipeError(f"no network '{name}'{did_you_mean(name, known)}; the recipe has {known}")
        return self.networks[name]

    @property
    def encoder(self) -> nn.Module:
        """The network that is kept after pretraining."""
        return self.network(self.exports)

    def layouts(self, batch: Batch) -> dict[str, Layout]:
        """Stream -> layout, from shapes alone."""
        return {name: tokenizer.layout(batch) for name, tokenizer in self.tokenizers.items()}

    def draw(self, batch: Batch, *, step: int = 0) -> BatchPlans:
        """The plans of a batch: a function of (seed, sample ids, visits, step) and the layouts."""
        layouts, keys = self.layouts(batch), batch.keys(self.seed, step)
        plans = {
            name: _draw(maker, layouts, keys.of_view(name)) for name, maker in self.maskers.items()
        }
        return BatchPlans(batch, layouts, plans)

    def given(self, batch: Batch, plans: Any) -> BatchPlans:
        """The caller's plans in full form; plans that were not given are not drawn."""
        if isinstance(plans, BatchPlans):
            return plans
        if isinstance(plans, MaskPlan):
            if len(self.maskers) != 1:
                raise PlanError(f"this model needs plans by name: {sorted(self.maskers)}")
            plans = {next(iter(self.maskers)): plans}
        full: dict[str, Mapping[str, MaskPlan]] = {}
        for name, plan in plans.items():
            streams = self.maskers[name].streams
            full[name] = {streams[0]: plan} if isinstance(plan, MaskPlan) else plan
        return BatchPlans(batch, self.layouts(batch), full)

    def denominators(self, plans: BatchPlans) -> dict[str, float]:
        """Term name -> the count this batch contributes, before any forward pass."""
        return {
            term: count
            for objective in self.objectives.values()
            for term, count in objective.denominators(plans).items()
        }

    def scene(self, batch: Batch, plans: Any = None, *, step: int = 0) -> ModelScene:
        """A forward pass in the making: views and encodings on demand."""
        full = self.draw(batch, step=step) if plans is None else self.given(batch, plans)
        return ModelScene(self, full, batch.keys(self.seed, step))

    def forward(
        self, batch: Batch, plans: Any = None, *, step: int = 0, predictions: bool = False
    ) -> Any:
        """`Losses`, or (`Losses`, {objective name: Prediction}) with ``predictions=True``."""
        scene = self.scene(batch, plans, step=step)
        terms: dict[str, Any] = {}
        metrics: dict[str, Any] = {}
        for objective in self.objectives.values():
            losses = objective(scene)
            terms.update(losses.terms)
            metrics.update(losses.metrics)
        losses = Losses(terms, metrics)
        return (losses, scene.predictions) if predictions else losses


def _draw(maker: PlanMaker, layouts: Mapping[str, Layout], keys: Keys) -> dict[str, MaskPlan]:
    if len(maker.streams) == 1:
        stream = maker.streams[0]
        return {stream: maker.masker.plan(layouts[stream], keys)}
    joint = maker.masker.plan(Layout.join({name: layouts[name] for name in maker.streams}), keys)
    return {name: plan.with_layout(layouts[name]) for name, plan in joint.split().items()}
