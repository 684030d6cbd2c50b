"""Targets of hidden regions: their features, and the classes a detector gave them."""

from __future__ import annotations

from typing import Any, Literal

import torch

from mmask.api import PlanError, Prediction, RecipeError, Scene, Scored, Target


class RegionFeatures:
    """The stored features of scored regions (UNITER's regression). value: (S, dim).

    stream: of the regions. tokenizers (wired): that of the stream.
    """

    def __init__(self, *, stream: str = "regions", tokenizers: Any) -> None:
        self.stream, self.tokenizer = stream, tokenizers[stream]
        self.dim: int = self.tokenizer.dim

    def __call__(self, scene: Scene, scored: Scored) -> Target:
        """value: (S, dim) of the clean view."""
        values = scene.view("clean").tokens[self.stream].values
        if values is None:
            raise PlanError(f"stream '{self.stream}' has no values")
        return Target(self.tokenizer.split(scored.take(values))[0], scored)

    def trivial(self, target: Target) -> Prediction:
        """The mean of the scored features: what learning has to beat."""
        return Prediction(target.value.mean(0, keepdim=True).expand_as(target.value), target.scored)


class RegionClasses:
    """What a detector saw in scored regions, from the field ``<field>.class`` (B, R, classes), a distribution.

    classes: how many, background included. kind: ``soft``, the distribution (S, classes); ``hard``, the likeliest class
    (S,). background: the class that is never a hard one, None for none of that sort (UNITER: 0).
    """

    def __init__(
        self, *, classes: int = 1601, kind: Literal["soft", "hard"] = "soft", background: int | None = 0,
        field: str = "regions",
    ) -> None:
        if kind not in ("soft", "hard"):
            raise RecipeError(f"target.kind is '{kind}'; it is soft or hard")
        if background is not None and not 0 <= background < classes:
            raise RecipeError(f"target.background is {background}; there are {classes} classes")
        self.dim, self.kind, self.background, self.field = classes, kind, background, field

    def __call__(self, scene: Scene, scored: Scored) -> Target:
        """value: (S, classes) float or (S,) int64. Raises PlanError where the batch has other classes, or none."""
        name = f"{self.field}.class"
        if name not in scene.batch.fields:
            raise PlanError(f"the batch has no '{name}'", hint="store class distributions, or leave this task out")
        shares = scored.take(scene.batch[name])
        if shares.ndim != 2 or shares.shape[1] != self.dim:
            raise PlanError(f"field '{name}' has {shares.shape[-1]} classes, the target {self.dim}",
                            hint="set objectives.*.target.classes")
        if self.kind == "soft":
            return Target(shares if shares.dtype == torch.float64 else shares.float(), scored)
        if self.background is not None:
            shares = shares.index_fill(1, torch.tensor([self.background], device=shares.device), -torch.inf)
        return Target(shares.argmax(1), scored)

    def trivial(self, target: Target) -> Prediction:
        """Logits of how often each class occurs among the scored regions: what learning has to beat."""
        value = target.value
        if self.kind == "hard":
            value = torch.nn.functional.one_hot(value, self.dim).double()
        share = value.double().mean(0, keepdim=True) if len(value) else value.new_ones(1, self.dim).double()
        return Prediction(share.clamp_min(1e-12).log().float().expand(len(value), -1), target.scored)
