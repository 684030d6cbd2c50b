"""ReplaceRegions: the features of hidden regions become zeros, those of a region elsewhere, or stay (LXMERT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmask.api import Action, Batch, Keys, MaskPlan, PlanError, RecipeError, Scene, Tokens, View

_KNOWN = {Action.ZERO, Action.MASK, Action.RANDOM, Action.KEEP}


class ReplaceRegions:
    """As the plan's actions say: ``zero`` (or ``mask``) makes the features zero, ``random`` takes those of a random
    region of a random other picture of the group, ``keep`` leaves them. A plan without actions zeroes every hidden
    place. Boxes stay. In a group without another picture, ``random`` is ``zero``.

    group: consecutive samples that belong together; the recipe sets ``data.group`` to it. field: of the batch's
    regions, whose ``<field>.picture`` (B,) tells pictures apart; without it every sample has its own. tokenizers
    (wired): that of the stream splits values into features and boxes. Each draw belongs to (seed, sample, visit, view,
    place).
    """

    site = "feature"

    def __init__(self, *, tokenizers: Mapping[str, Any], group: int = 2, field: str = "regions") -> None:
        if group < 2:
            raise RecipeError(f"replace-regions: group {group} is 2 or more")
        self.tokenizers, self.group, self.field = tokenizers, group, field

    def __call__(self, view: View, stream: str, plan: MaskPlan, scene: Scene) -> Tokens:
        """Tokens of the same layout, `Tokens.replaced` where features are no longer their own. Raises PlanError for
        tokens that are no regions, and for other actions."""
        tokens, tokenizer = view.tokens[stream], self.tokenizers[stream]
        if tokens.values is None or tokens.flat or not hasattr(tokenizer, "split"):
            raise PlanError(f"stream '{stream}' holds no regions, which corruption 'replace-regions' replaces")
        action = plan.action
        other = set() if action is None else set(action[plan.hidden].unique().tolist()) - _KNOWN
        if other:
            raise PlanError(f"corruption 'replace-regions' cannot do {Action(other.pop()).name}",
                            hint="use the actions zero, random and keep")
        kept = torch.zeros_like(plan.hidden) if action is None else plan.hidden & (action == Action.KEEP)
        features, boxes = tokenizer.split(tokens.values)
        zero = (plan.hidden & ~kept).to(features.device)
        new = torch.where(zero[..., None], features.new_zeros(()), features)
        if action is not None:
            new = self._strange(new, features, plan, scene.keys.of_view(view.name), scene.batch)
        return tokens.with_data(torch.cat([new, boxes], -1), replaced=plan.hidden & ~kept)

    def _strange(self, new: Tensor, features: Tensor, plan: MaskPlan, keys: Keys, batch: Batch) -> Tensor:
        """``new`` with features of other pictures at random places."""
        assert plan.action is not None
        row, place = (plan.hidden & (plan.action == Action.RANDOM)).nonzero(as_tuple=True)
        allowed = self.strangers(batch)[row]
        some = allowed.any(1)
        if not bool(some.any()):
            return new
        row, place, allowed = row[some], place[some], allowed[some].double()
        length = plan.layout.length
        first, second = (torch.from_numpy(keys.uniform(f"random-region.{i}", length))[row, place] for i in (0, 1))
        edges = allowed.cumsum(1)
        column = torch.searchsorted(edges, (first * edges[:, -1])[:, None], right=True).squeeze(1)
        source = row // self.group * self.group + column.clamp_max(self.group - 1)
        at = (second * plan.layout.lengths().cpu()[source]).long()
        taken = features[source.to(features.device), at.to(features.device)]
        return new.index_put((row.to(new.device), place.to(new.device)), taken)

    def strangers(self, batch: Batch) -> Tensor:
        """(B, group) bool: which samples of its group show another picture than each one."""
        pictures = batch.fields.get(f"{self.field}.picture", torch.arange(len(batch))).cpu()
        here = torch.arange(len(batch))
        others = here[:, None] // self.group * self.group + torch.arange(self.group)
        inside = others < len(batch)
        return inside & (pictures[others.clamp_max(len(batch) - 1)] != pictures[:, None])
