"""MaskedModel: the composition root, where tokenizers, maskers, corruptions, networks and objectives meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import lcm
from typing import Any

import torch
from torch import nn

from mmask.errors import DataError, PlanError, RecipeError, did_you_mean
from mmask.keyed import Keys
from mmask.mask.action import Mixture
from mmask.protocols import Corruption, Masker, Objective, Scene, ScoredMasker, Tokenizer
from mmask.train.ema import Average
from mmask.train.given import by_name, check_given
from mmask.train.program import Program
from mmask.train.scene import BatchPlans, ModelScene
from mmask.train.shard import Gathering
from mmask.types import Batch, Layout, Losses, MaskPlan


@dataclass(frozen=True)
class ViewMaker:
    """How a view is made: see `mmask.recipe.schema.ViewSection`."""

    of: str = "clean"
    plan: str | None = "mask"
    corrupt: Corruption | None = None
    streams: tuple[str, ...] | None = None
    complement: bool = False


@dataclass(frozen=True)
class PlanMaker:
    """A masker and the streams it plans for: one stream, or several joined under a joint budget.

    action: what becomes of the hidden places, drawn after the plan; None leaves it to the masker and the corruption.
    """

    masker: Masker | ScoredMasker
    streams: tuple[str, ...]
    action: Mixture | None = None


class MaskedModel(Gathering):
    """Everything that is trained, as one module.

    ``model(batch)`` draws plans by ``seed`` and the batch's sample ids and returns `Losses`;
    ``model(batch, plans)`` uses the plans given, either `BatchPlans`, a single `MaskPlan`, or a mapping
    plan name -> MaskPlan. ``predictions=True`` returns (losses, {objective: Prediction}).

    emas: network name -> (the network it averages, decay); such networks start as copies and are frozen.
    program: which objectives a training step learns from; in evaluation mode every objective is computed.
    group: consecutive samples that belong together, whatever the objectives say (``data.group``).
    sees: network name -> the one stream that it is shown; networks that are not named see all.
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
        emas: Mapping[str, tuple[str, float]] | None = None,
        program: Program | None = None,
        group: int = 1,
        sees: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.tokenizers = dict(tokenizers)
        self.front_ends = _modules(tokenizers)
        self.maskers, self.view_makers = dict(maskers), dict(views)
        self.networks = nn.ModuleDict(networks)
        self.objectives = nn.ModuleDict(objectives)  # type: ignore[arg-type]  # objectives hold their heads
        self.corruptions = _modules({name: made.corrupt for name, made in views.items()})
        self.emas, self.program = dict(emas or {}), program or Program()
        self._group, self.sees = group, dict(sees or {})
        self.seed, self.exports, self.frozen = seed, exports, frozen | frozenset(self.emas)
        self.program.check(list(self.objectives))
        for name, (source, _) in self.emas.items():
            Average(self.network(source), self.network(name), 0.0).start()
        for name in self.frozen:
            self.network(name).requires_grad_(False)

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

    def update_emas(self) -> None:
        """Move every averaged network towards its source. Called after each optimizer step that was taken."""
        for name, (source, decay) in self.emas.items():
            Average(self.network(source), self.network(name), decay).update()

    @property
    def group(self) -> int:
        """Consecutive samples that neither the data nor an objective allows to be parted."""
        coupled = (getattr(o, "group", 1) for o in self.objectives.values() if o.coupling == "group")
        return lcm(self._group, *coupled)

    def check_split(self, batch: int, *, ranks: int = 1, accumulate: int = 1) -> None:
        """Raise RecipeError when a step of ``batch`` samples may not be cut over ranks and micro-batches."""
        parts = ranks * accumulate
        if batch % (parts * self.group):
            raise RecipeError(
                f"{batch} samples cannot be cut into {parts} parts of whole groups of {self.group}",
                hint=f"use a batch divisible by {parts * self.group}",
            )
        coupled = [name for name, o in self.objectives.items() if o.coupling == "global"]
        if coupled and accumulate > 1:
            raise RecipeError(
                f"objective '{coupled[0]}' couples the whole batch: {accumulate} micro-batches change it",
                hint="set optim.accumulate=1, or use a smaller batch",
            )

    def active(self, step: int) -> tuple[str, ...]:
        """The objectives that a step computes."""
        names = tuple(self.objectives)
        return self.program.active(self.seed, step, names) if self.training else names

    @property
    def encoder(self) -> nn.Module:
        """The network that is kept after pretraining."""
        return self.network(self.exports)

    def tokenizers_of(self, *, chance: bool = True) -> dict[str, Tokenizer]:
        """The tokenizers by stream. chance: False gives those that leave out what they draw, where they draw at all."""
        made = self.tokenizers.items()
        return {name: one if chance or not hasattr(one, "plain") else one.plain() for name, one in made}

    def layouts(self, batch: Batch, *, chance: bool = True) -> dict[str, Layout]:
        """Stream -> layout, from shapes alone. Raises DataError for a batch without samples."""
        if not len(batch):
            raise DataError("the batch has no samples", hint="a model needs at least one")
        return {name: tokenizer.layout(batch) for name, tokenizer in self.tokenizers_of(chance=chance).items()}

    @property
    def scored(self) -> set[str]:
        """Maskers whose plans depend on the weights."""
        return {name for name, maker in self.maskers.items() if isinstance(maker.masker, ScoredMasker)}

    def draw(self, batch: Batch, *, step: int = 0) -> BatchPlans:
        """The plans of a batch: a function of (seed, sample ids, visits, step) and the layouts.

        Scored maskers run last, without gradients and in evaluation mode, in a scene of the other plans.
        """
        layouts, keys = self.layouts(batch), batch.keys(self.seed, step)
        scored = self.scored
        plans = {
            name: _draw(maker, layouts, keys.of_view(name))
            for name, maker in self.maskers.items() if name not in scored
        }
        drawn = BatchPlans(batch, layouts, plans, step)
        if not scored:
            return drawn
        with _scoring(self):  # the networks run here, so the batch has to be where they are
            scene = ModelScene(self, replace(drawn, batch=batch.to(next(self.parameters()).device)), keys)
            late = self.run(lambda: {
                name: _draw(maker, layouts, keys.of_view(name), scene)
                for name, maker in self.maskers.items() if name in scored
            })
        return BatchPlans(batch, layouts, {**plans, **late}, step)

    def given(self, batch: Batch, plans: Any, step: int = 0) -> BatchPlans:
        """The caller's plans in full form; plans that were not given are not drawn. No plan at all (``{}``) asks for
        the batch as it is: tokenizers draw nothing either."""
        if isinstance(plans, BatchPlans):
            return plans
        if isinstance(plans, MaskPlan):
            if len(self.maskers) != 1:
                raise PlanError(f"this model needs plans by name: {sorted(self.maskers)}")
            plans = {next(iter(self.maskers)): plans}
        full: dict[str, Mapping[str, MaskPlan]] = {}
        named = list(by_name(plans))
        layouts = self.layouts(batch, chance=bool(named))
        for name, plan in named:
            if name not in self.maskers:
                near = did_you_mean(name, self.maskers)
                raise PlanError(f"no plan '{name}'{near}; this model draws {sorted(self.maskers)}")
            streams = self.maskers[name].streams
            full[name] = {streams[0]: plan} if isinstance(plan, MaskPlan) else dict(by_name(plan))
            check_given(name, full[name], layouts)
        return BatchPlans(batch, layouts, full, step, chance=bool(named))

    def denominators(self, plans: BatchPlans) -> dict[str, float]:
        """Term name -> the count this batch contributes, before any forward pass; active objectives only."""
        counts: dict[str, float] = {}
        for name in self.active(plans.step):
            _merge(counts, self.objectives[name].denominators(plans), name)  # type: ignore[operator]  # see above
        return counts

    def scene(self, batch: Batch, plans: Any = None, *, step: int | None = None) -> ModelScene:
        """A forward pass in the making: views and encodings on demand."""
        if step is None:
            step = plans.step if isinstance(plans, BatchPlans) else 0
        full = self.draw(batch, step=step) if plans is None else self.given(batch, plans, step)
        taps: dict[tuple[str, str], list[str]] = {}
        for name in self.active(step):
            for key, names in getattr(self.objectives[name], "taps", {}).items():
                taps.setdefault(key, []).extend(names)
        return ModelScene(self, full, batch.keys(self.seed, step), taps)

    def forward(
        self, batch: Batch, plans: Any = None, *, step: int | None = None, predictions: bool = False
    ) -> Any:
        """`Losses`, or (`Losses`, {objective name: Prediction}) with ``predictions=True``.

        step: decides the program and step-keyed draws; by default the step of the plans given.
        """
        scene = self.scene(batch, plans, step=step)
        terms: dict[str, Any] = {}
        metrics: dict[str, Any] = {}
        for name in self.active(scene.step):
            losses = self.objectives[name](scene)
            _merge(terms, losses.terms, name)
            metrics.update(losses.metrics)
        losses = Losses(terms, metrics)
        return (losses, scene.predictions) if predictions else losses


def _modules(parts: Mapping[str, object]) -> nn.ModuleDict:
    """The parts that learn."""
    return nn.ModuleDict({name: part for name, part in parts.items() if isinstance(part, nn.Module)})


def _merge(into: dict[str, Any], terms: Mapping[str, Any], objective: str) -> None:
    for term, value in terms.items():
        if term in into:
            raise RecipeError(f"objective '{objective}' names a loss term '{term}', which another one has")
        into[term] = value


def _draw(
    maker: PlanMaker, layouts: Mapping[str, Layout], keys: Keys, scene: Scene | None = None
) -> dict[str, MaskPlan]:
    masker: Any = maker.masker
    scores = () if scene is None else (masker.scores(scene),)
    if len(maker.streams) == 1:
        stream = maker.streams[0]
        return {stream: _acted(maker, masker.plan(layouts[stream], keys, *scores), keys)}
    joint = masker.plan(Layout.join({name: layouts[name] for name in maker.streams}), keys, *scores)
    joint = _acted(maker, joint, keys)
    return {name: part.with_layout(layouts[name]) for name, part in joint.split().items()}


def _acted(maker: PlanMaker, plan: MaskPlan, keys: Keys) -> MaskPlan:
    return plan if maker.action is None else maker.action.apply(plan, keys)


@contextmanager
def _scoring(model: MaskedModel) -> Iterator[None]:
    """Evaluation mode without gradients, and the mode before on leaving."""
    before = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(before)
