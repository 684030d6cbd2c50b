"""MaskedObjective: predict a target at scored places of a view. Most recipes need no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from mmask.errors import PlanError
from mmask.protocols import Head, Loss, Plans, Scene, TargetMaker
from mmask.types import Layout, Losses, Prediction, Scored, Target


class MaskedObjective(nn.Module):
    """encode(view) -> head at scored places -> loss against the target there.

    name: the loss term's name. scored: ``hidden`` places of the view's plan, all ``valid`` places,
    ``cells`` the plan hides, or one ``pooled`` value a sample. weight: factor of the term. taps: internal
    states of the network that the head reads. Of a target that offers ``known``, only the samples whose truth
    it knows are scored, and counted.
    """

    coupling = "none"

    def __init__(
        self, *, name: str, head: Head, target: TargetMaker, loss: Loss, network: str = "encoder",
        view: str = "masked", plan: str | None = "mask", stream: str | None = None,
        scored: str = "hidden", weight: float = 1.0, taps: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.name, self.network, self.view, self.weight = name, network, view, weight
        self.plan, self.stream, self.scored_at = plan, stream, scored
        self.taps = {(network, view): tuple(taps)}
        self.head, self.target, self.loss = head, target, loss

    def scored(self, plans: Plans) -> Scored:
        """The places this objective compares, from the plans alone."""
        scored, known = self._asked(plans), getattr(self.target, "known", None)
        return scored if known is None else scored.of_samples(known(plans))

    def _asked(self, plans: Plans) -> Scored:
        if self.scored_at in ("hidden", "cells"):
            if self.plan is None:
                raise PlanError(f"objective '{self.name}' scores hidden places of a view without a plan")
            plan = plans.plan(self.plan, self.stream)
            if self.scored_at == "hidden":
                return Scored.hidden(plan)
            return Scored.cells(plan)
        if self.scored_at == "pooled":
            return Scored(Layout(len(plans.batch), 1), "pooled")
        if self.plan is None:
            layout = plans.layout(self.stream)
        else:
            layout = plans.plan(self.plan, self.stream).output.layout
        if self.scored_at == "valid":
            return Scored.valid(layout)
        return Scored(layout, self.scored_at)  # type: ignore[arg-type]  # a unit by its name

    def denominators(self, plans: Plans) -> Mapping[str, float]:
        """The number of scored places (the sum of their weights)."""
        return {self.name: self.scored(plans).count()}

    def predict(self, scene: Scene) -> Prediction:
        """The head's output at scored places."""
        encoded = scene.encode(self.network, self.view, taps=self.taps[self.network, self.view])
        if encoded.streams and self.stream is not None:
            encoded = encoded.stream(self.stream)
        return self.head(encoded, self.scored(scene))

    def forward(self, scene: Scene) -> Losses:
        """One term, named after the objective."""
        prediction = scene.predictions.get(self.name)
        if prediction is None:
            prediction = scene.predictions[self.name] = self.predict(scene)
        target = self.target(scene, prediction.scored)
        if not target.attached:
            target = replace(target, value=target.value.detach())
        term: Any = self.loss(prediction, target)
        return Losses({self.name: replace(term, weight=self.weight)}, self._metrics(prediction, target))

    @torch.no_grad()
    def _metrics(self, prediction: Prediction, target: Target) -> dict[str, Any]:
        """What the loss has to say beside its term, under the objective's name."""
        told: Any = getattr(self.loss, "metrics", None)
        return {} if told is None else {f"{self.name}_{k}": v for k, v in told(prediction, target).items()}
