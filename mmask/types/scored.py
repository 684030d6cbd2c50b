"""Scored places, and the predictions and targets that live there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Literal

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
    weight: (S,) float, (B, N, D) for cells without an index; None means 1 everywhere.
    """

    layout: Layout
    unit: Unit = "position"
    index: torch.Tensor | None = None
    weight: torch.Tensor | None = None

    @staticmethod
    def hidden(plan: MaskPlan) -> Scored:
        """Every hidden place, weight 1: the usual case of masked prediction."""
        return Scored(plan.layout, index=plan.flat_hidden)

    @staticmethod
    def valid(layout: Layout) -> Scored:
        """Every place that is not padding (ELECTRA's discriminator)."""
        if layout.valid is None:
            return Scored(layout)
        return Scored(layout, index=layout.valid.flatten().nonzero().squeeze(1).cpu())

    def count(self) -> float:
        """The denominator of a mean over these places: the sum of their weights."""
        if self.weight is not None:
            return float(self.weight.sum())
        if self.index is not None:
            return float(len(self.index))
        per_sample = {"pooled": 1, "signal": 1}.get(self.unit, self.layout.length)
        return float(self.layout.batch * per_sample)

    def take(self, dense: torch.Tensor) -> torch.Tensor:
        """The rows of ``dense`` (B, N, ...) at scored positions -> (S, ...)."""
        flat = dense.flatten(0, 1)
        return flat if self.index is None else flat.index_select(0, self.index.to(dense.device))

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
    """The truth at scored places. value: (S, ...), detached unless ``source`` says otherwise.

    weight: (S,) float per-place confidence or gate that multiplies the scored weight, or None.
    extra: what a loss needs beside the value (negatives, candidate sets, patch statistics).
    """

    value: torch.Tensor
    scored: Scored
    source: TargetSource = TargetSource.CLEAN
    weight: torch.Tensor | None = None
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)
