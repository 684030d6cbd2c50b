"""The fixed-plan validation loss: the same samples under the same plans each time, on any number of ranks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from mmask.train.feed import plan_batch
from mmask.train.model import MaskedModel
from mmask.train.precision import Precision
from mmask.train.ranks import Ranks
from mmask.train.scene import ModelScene
from mmask.types import Batch, Losses, Share

Batches = Callable[[], Iterable[Batch]]


@dataclass
class Tally:
    """Sums over batches: numerators, denominators and weights of loss terms by name, and both sums of metrics."""

    totals: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    shares: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, losses: Losses) -> None:
        """Another batch."""
        for name, term in losses.terms.items():
            self.totals[name] = self.totals.get(name, 0.0) + float(term.total)
            self.counts[name] = self.counts.get(name, 0.0) + float(term.count)
            self.weights[name] = float(term.weight)
        for name, value in losses.metrics.items():
            total, count = self.shares.get(name, (0.0, 0.0))
            share = value if isinstance(value, Share) else Share(value, 1.0)
            self.shares[name] = total + float(share.total), count + float(share.count)

    def over(self, ranks: Ranks) -> Tally:
        """The sums of all ranks. Rank 0, which has the first batch, says which terms there are."""
        weights: dict[str, float] = json.loads(ranks.share(json.dumps(self.weights)))
        totals = ranks.sum([self.totals.get(name, 0.0) for name in weights])
        counts = ranks.sum([self.counts.get(name, 0.0) for name in weights])
        metrics: list[str] = json.loads(ranks.share(json.dumps(list(self.shares))))
        sums = [ranks.sum([self.shares.get(name, (0.0, 0.0))[side] for name in metrics]) for side in (0, 1)]
        return Tally(
            dict(zip(weights, totals, strict=True)), dict(zip(weights, counts, strict=True)), weights,
            {name: (total, count) for name, total, count in zip(metrics, *sums, strict=True)},
        )

    def means(self) -> dict[str, float]:
        """Term name -> mean."""
        return {n: total / self.counts[n] if self.counts[n] > 0 else 0.0 for n, total in self.totals.items()}

    def loss(self) -> float:
        """The weighted sum of the means."""
        return sum(self.weights[name] * mean for name, mean in self.means().items())


class Validation:
    """Mean of every loss term over held-out samples, and of the trivial predictor where a target has one.

    batches: makes this rank's held-out batches, the same ones at every call. Plans are those of step 0. The trivial
    predictor is asked once, or every time where a masker looks at the weights, so that both have the same plans.
    """

    def __init__(self, batches: Batches, precision: Precision, ranks: Ranks) -> None:
        self.batches, self.precision, self.ranks = batches, precision, ranks
        self._trivial: Tally | None = None

    @torch.no_grad()
    def __call__(self, model: MaskedModel) -> dict[str, float]:
        """``val_loss``, ``val_<term>``, ``val_<metric>``, and ``val_trivial`` and ``val_gain`` (1 - loss / trivial)."""
        was_training = model.training
        model.eval()
        if model.scored:
            self._trivial = None
        ours, trivial = Tally(), Tally()
        try:
            model.run(partial(self._all, model, ours, trivial), at_once=True)
        finally:
            model.train(was_training)
        ours = ours.over(self.ranks)
        if self._trivial is None:  # it depends on samples and plans alone, so once is enough for fixed plans
            self._trivial = trivial.over(self.ranks)
        return self._report(ours, self._trivial)

    def _all(self, model: MaskedModel, ours: Tally, trivial: Tally) -> None:
        for batch in self.batches():
            self._add(model, batch, ours, trivial)

    def _add(self, model: MaskedModel, batch: Batch, ours: Tally, trivial: Tally) -> None:
        plans = plan_batch(model, self.precision, batch, 0)
        with self.precision.autocast():
            scene = model.scene(plans.batch, plans)
            for objective in model.objectives.values():
                ours.add(objective(scene))
                known = _trivial_losses(objective, scene) if self._trivial is None else None
                if known is not None:
                    trivial.add(known)

    def _report(self, ours: Tally, trivial: Tally) -> dict[str, float]:
        loss = ours.loss()
        out = {"val_loss": loss, **{f"val_{n}": mean for n, mean in ours.means().items() if n != "loss"}}
        out |= {f"val_{n}": total / count for n, (total, count) in ours.shares.items() if count > 0}
        if trivial.weights and trivial.weights.keys() == ours.weights.keys():  # a baseline of the whole loss
            base = Tally(trivial.totals, trivial.counts, ours.weights).loss()
            out["val_trivial"] = base
            if base > 0:
                out["val_gain"] = 1 - loss / base
        return out


def _trivial_losses(objective: torch.nn.Module, scene: ModelScene) -> Losses | None:
    """The loss of the objective's or its target's own trivial predictor, or None when there is none."""
    own: Any = getattr(objective, "trivial", None)
    if own is not None:
        known: Losses = own(scene)
        return known
    maker: Any = getattr(objective, "target", None)
    compare: Any = getattr(objective, "loss", None)
    if compare is None or not hasattr(maker, "trivial"):
        return None
    name = str(objective.name)
    scored = scene.predictions[name].scored
    target = maker(scene, scored)
    return Losses({name: compare(maker.trivial(target), target)})
