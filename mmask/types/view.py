"""View: what a network is shown of a batch, after a plan and a corruption."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mmask.errors import PlanError
from mmask.types.plan import MaskPlan
from mmask.types.tokens import Tokens
from mmask.types.visibility import Visibility


@dataclass(frozen=True, slots=True)
class View:
    """One rendering of the batch: its streams, the plans that made it, who may see whom.

    tokens: stream name (usually the modality) -> Tokens. plans: stream name -> the plan applied to it.
    visibility: constraints beside padding, which every encoder reads from the layout itself; a tuple holds
        one for each layer, first to last.
    """

    name: str
    tokens: Mapping[str, Tokens]
    plans: Mapping[str, MaskPlan] = field(default_factory=dict)
    visibility: Visibility | tuple[Visibility, ...] | None = None

    def only(self) -> Tokens:
        """The tokens of a view with a single stream."""
        if len(self.tokens) != 1:
            raise PlanError(f"view '{self.name}' has streams {sorted(self.tokens)}; name the one to use")
        return next(iter(self.tokens.values()))

    def narrowed(self, stream: str) -> View:
        """The view of one stream, for a network that knows no other. Raises PlanError when there is none."""
        if stream not in self.tokens:
            raise PlanError(f"view '{self.name}' has no stream '{stream}'; it has {sorted(self.tokens)}")
        plans = {name: plan for name, plan in self.plans.items() if name == stream}
        return replace(self, tokens={stream: self.tokens[stream]}, plans=plans)

    def visible(self, layer: int) -> Visibility:
        """What layer ``layer`` may see, beside padding."""
        if isinstance(self.visibility, tuple):
            if layer >= len(self.visibility):
                known = len(self.visibility)
                raise PlanError(f"view '{self.name}' says what {known} layers see; there is a layer {layer}")
            return self.visibility[layer]
        return self.visibility or Visibility()

    def plan(self, stream: str | None = None) -> MaskPlan:
        """The plan applied to a stream (or to the only one)."""
        if stream is None and len(self.plans) == 1:
            return next(iter(self.plans.values()))
        if stream is None or stream not in self.plans:
            known = sorted(self.plans)
            raise PlanError(f"view '{self.name}' has no plan for stream '{stream}'; it has {known}")
        return self.plans[stream]
