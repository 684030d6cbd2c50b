"""ImageTextMatching: does this picture belong to this caption, and which word to which region (UNITER)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import Encoded, Losses, PairScores, Plans, RecipeError, Scene, Share, Term
from mmask_vl.swap import SwapPictures
from mmask_vl.transport import cosine_cost, transport_distance, transport_plan


class ImageTextMatching(PairScores, nn.Module):
    """Two-way cross entropy on the pooled state of pairs half of which are wrong, and ``alignment`` times the cost of
    carrying the words of a pair to its regions, of matched pairs minus that of others, over all pairs.

    The view's corruption is `SwapPictures` of the same ``group`` and ``share``. The paper adds the distance of matched
    pairs alone; ``signed`` False does. beta, steps, inner: of `transport_plan`. Terms ``<name>``, and
    ``<name>_alignment`` unless that is 0. text, regions: the streams. networks (wired): the one named in the section
    has ``width`` and pools.
    """

    coupling = "group"

    def __init__(
        self, *, name: str, section: Any, networks: Mapping[str, Any], group: int = 2, share: float = 0.5,
        alignment: float = 0.1, signed: bool = True, beta: float = 0.5, steps: int = 50, inner: int = 1,
        text: str = "text", regions: str = "regions", std: float = 0.02,
    ) -> None:
        super().__init__()
        if beta <= 0 or steps < 1 or inner < 1:
            raise RecipeError(f"objectives.{name}: beta {beta} is above 0, steps {steps} and inner {inner} at least 1")
        self.name, self.network, self.view, self.weight = name, section.network, section.view, section.weight
        self.group, self.alignment, self.signed = group, alignment, signed
        self.beta, self.steps, self.inner, self.text, self.regions = beta, steps, inner, text, regions
        self.swap = SwapPictures(group=group, share=share, field=regions)
        self.score = nn.Linear(int(networks[section.network].width), 2)
        nn.init.trunc_normal_(self.score.weight, std=std, a=-2 * std, b=2 * std)
        nn.init.zeros_(self.score.bias)
        self.two_sided(networks)

    def denominators(self, plans: Plans) -> Mapping[str, float]:
        """Pairs, of either term."""
        names = [self.name] + [f"{self.name}_alignment"] * (self.alignment > 0)
        return dict.fromkeys(names, float(len(plans.batch)))

    def matched(self, scene: Scene) -> Tensor:
        """(B,) int64: 1 where the caption keeps its own picture."""
        partners = self.swap.partners(scene)
        return (partners == torch.arange(len(partners))).long()

    def own(self, encoded: Encoded) -> Tensor:
        """(P,) log-odds of a pair being matched."""
        scores = self.score(encoded.pooled)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return scores[:, 1] - scores[:, 0]

    def distances(self, encoded: Encoded) -> tuple[Tensor, Tensor, Tensor]:
        """Costs (B, L, R), plans (B, R, L) and what they come to (B,); the gradient goes through the costs."""
        words, regions = encoded.stream(self.text), encoded.stream(self.regions)
        first, second = (valid_of(part) for part in (words, regions))
        wide = torch.promote_types(words.places.dtype, torch.float32)
        with torch.autocast(words.places.device.type, enabled=False):
            cost = cosine_cost(
                words.places.to(wide), regions.places.to(wide), first[:, :, None] & second[:, None, :]
            )
            plan = transport_plan(cost.detach(), first, second, beta=self.beta, steps=self.steps, inner=self.inner)
            return cost, plan, transport_distance(cost, plan)

    def forward(self, scene: Scene) -> Losses:
        """Both terms, over pairs, and the ``accuracy`` of the first."""
        encoded = scene.encode(self.network, self.view)
        assert encoded.pooled is not None
        return self.compare(encoded, self.matched(scene).to(encoded.pooled.device))

    def compare(self, encoded: Encoded, matched: Tensor) -> Losses:
        """The same for pairs given. matched: (B,) int64, 1 or 0."""
        scores = self.score(encoded.pooled)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        count = float(len(scores))
        terms = {self.name: Term(F.cross_entropy(scores, matched, reduction="sum"), count, self.weight, "samples")}
        if self.alignment > 0:
            distance = self.distances(encoded)[2]
            sign = 2 * matched - 1 if self.signed else matched
            total = (distance * sign.to(distance.dtype)).sum()
            terms[f"{self.name}_alignment"] = Term(total, count, self.weight * self.alignment, "samples")
        right = (scores.detach().argmax(1) == matched).sum()
        return Losses(terms, {f"{self.name}_accuracy": Share(right, count)})


def valid_of(part: Encoded) -> Tensor:
    """(B, N) bool on the device of the states: which places are no padding."""
    layout, states = part.layout, part.places
    if layout.valid is None:
        return torch.ones(layout.batch, layout.length, dtype=torch.bool, device=states.device)
    return layout.valid.to(states.device)
