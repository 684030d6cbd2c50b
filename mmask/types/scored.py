"""Scored places, and the predictions and targets that live there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Literal

from mmask.errors import PlanError

if TYPE_CHECKING:
    import torch

    from mmask.types.layout import Layout
    from mmask.types.plan import MaskPlan

Unit = Literal["position", "cell", "pair", "pooled", "signal"]


class TargetSource(Enum):
    """What a target is made from."""

    CLEAN = "clean input"
    CORRUPTED = "corrupted input"
    NETWORK = "another network's output"
    EDIT_MAP = "edit map"
    PAIRING = "pairing"


@dataclass(frozen=True, slots=True)
class Scored:
    """The places where one objective compares prediction and target.

    unit: what is addressed. ``position``: places of the layout; ``cell``: (place, channel) pairs;
        ``pair``: pairs of places or samples; ``pooled``: one value a sample; ``signal``: the raw input.
    index: (S,) int64 into the flattened (B·N) positions, ascending; (S, A) for cells and pairs; None
        means every one.
    weight: (S,) float, (B, N, D) for cells without an index; None means 1 everywhere. It weighs the numerator
        and the denominator; a confidence that weighs the numerator alone (LXMERT) is `Target.weight`.
    Both are known from the plans and the batch, before any forward pass, and so is `count`.
    """

    layout: Layout
    unit: Unit = "position"
    index: torch.Tensor | None = None
    weight: torch.Tensor | None = None

    @staticmethod
    def hidden(plan: MaskPlan) -> Scored:
        """Every hidden place of the (edited) sequence, weight 1: the usual case of masked prediction."""
        return Scored(plan.output.layout, index=plan.output.flat_hidden)

    @staticmethod
    def cells(plan: MaskPlan) -> Scored:
        """Every cell of a hidden place, and every hidden cell elsewhere (TERA), as (B, N, D) weights."""
        if plan.cells is None:
            raise PlanError("this plan hides places only, no cells", hint="score 'hidden' instead of 'cells'")
        return Scored(plan.layout, "cell", weight=(plan.cells | plan.hidden[..., None]).float())

    @staticmethod
    def valid(layout: Layout) -> Scored:
        """Every place that is not padding (ELECTRA's discriminator)."""
        if layout.valid is None:
            return Scored(layout)
        return Scored(layout, index=layout.flat_index())

    def count(self) -> float:
        """The denominator of a mean over these places: the sum of their weights."""
        if self.weight is not None:
            return float(self.weight.sum())
        if self.index is not None:
            return float(len(self.index))
        if self.unit in ("cell", "pair"):
            raise PlanError(f"scored {self.unit}s need an index or weights: their number is not the layout's")
        per_sample = {"pooled": 1, "signal": 1}.get(self.unit, self.layout.length)
        return float(self.layout.batch * per_sample)

    def take(self, dense: torch.Tensor) -> torch.Tensor:
        """The rows of ``dense`` (B, N, ...) at scored positions -> (S, ...); (B, 1, ...) where samples are scored."""
        flat = dense.flatten(0, 1)
        return flat if self.index is None else flat.index_select(0, self.index.to(dense.device))

    def of_samples(self, chosen: torch.Tensor) -> Scored:
        """The same places, those of the samples ``chosen`` (B,) bool alone. Raises PlanError for weights of cells."""
        if self.index is None and self.weight is not None:
            raise PlanError("scored cells cannot be cut down to some samples")
        if self.index is None and self.unit not in ("position", "pooled"):
            raise PlanError(f"a scored {self.unit} cannot be cut down to some samples without an index")
        rows = self.rows()
        kept = chosen.to(rows.device)[rows].nonzero().squeeze(1)
        index = kept if self.index is None else self.index[kept]
        return replace(self, index=index, weight=None if self.weight is None else self.weight[kept])

    def rows(self) -> torch.Tensor:
        """(S,) int64: the sample each scored position belongs to."""
        import torch

        if self.index is None:
            return torch.arange(self.layout.batch).repeat_interleave(self.layout.length)
        first = self.index if self.index.ndim == 1 else self.index[:, 0]
        return first // self.layout.length


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a head says at scored places only. value: (S, ...)."""

    value: torch.Tensor
    scored: Scored
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """The truth at scored places. value: (S, ...).

    weight: (S,) float confidence or gate that multiplies each place's loss but not the denominator, or None.
    attached: whether gradients flow into ``value``; a network's output is a constant unless this is said.
    extra: what a loss needs beside the value (negatives, candidate sets, patch statistics).
    """

    value: torch.Tensor
    scored: Scored
    source: TargetSource = TargetSource.CLEAN
    weight: torch.Tensor | None = None
    attached: bool = False
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)
