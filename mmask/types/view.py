"""View: what a network is shown of a batch, after a plan and a corruption."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmask.errors import PlanError
from mmask.types.plan import MaskPlan
from mmask.types.tokens import Tokens
from mmask.types.visibility import Visibility

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class View:
    """One rendering of the batch: its streams, the plans that made it, who may see whom.

    tokens: stream name (usually the modality) -> Tokens. plans: stream name -> the plan applied to it.
    edited: stream name -> (B, M) int64 edit map (new place -> old place, -1 inserted), when lengths changed.
    sampled: stream name -> (S,) int64 ids another network drew at the plan's hidden places (ELECTRA).
    """

    name: str
    tokens: Mapping[str, Tokens]
    plans: Mapping[str, MaskPlan] = field(default_factory=dict)
    visibility: Visibility | None = None
    edited: Mapping[str, torch.Tensor] = field(default_factory=dict)
    sampled: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def only(self) -> Tokens:
        """The tokens of a view with a single stream."""
        if len(self.tokens) != 1:
            raise PlanError(f"view '{self.name}' has streams {sorted(self.tokens)}; name the one to use")
        return next(iter(self.tokens.values()))

    def plan(self, stream: str | None = None) -> MaskPlan:
        """The plan applied to a stream (or to the only one)."""
        if stream is None and len(self.plans) == 1:
            return next(iter(self.plans.values()))
        if stream not in self.plans:
            raise PlanError(f"view '{self.name}' has no plan for stream '{stream}'; it has {sorted(self.plans)}")
        return self.plans[stream]
