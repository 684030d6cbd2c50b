"""BlocksOrAttended: a coin chooses cuboids and words at random, or what the network attends to (VIOLET)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmask.api import Keys, Layout, MaskPlan, RecipeError, Scene


class BlocksOrAttended:
    """The plan of a clip and its words together (Fu et al. 2021, section 3.3). Reads the network's attention, so it
    runs in the training process; its draws are keyed like any other's.

    With probability ``attended`` a sample spends one budget, int(ratio * valid places), over both streams, drawn
    without replacement in proportion to the attention that all places pay to each; a place without attention is never
    taken, so the budget may stay unspent. Otherwise the clip hides the plan ``blocks`` and each word with probability
    ``ratio``. The reference counts the frames' own [CLS] in the budget and can draw nothing there; here they are no
    places.

    network, view: whose attention, as the tap ``votes`` on the clean view. video: the stream of plan ``blocks``.
    """

    def __init__(
        self, *, ratio: float = 0.15, attended: float = 0.5, blocks: str = "blocks", network: str = "encoder",
        view: str = "clean",
    ) -> None:
        if not 0 < ratio < 1 or not 0 <= attended <= 1:
            raise RecipeError(f"mask.ratio is {ratio} and mask.attended {attended}; shares between 0 and 1")
        self.ratio, self.attended, self.blocks, self.network, self.view = ratio, attended, blocks, network, view

    def scores(self, scene: Scene) -> Mapping[str, Tensor]:
        """``votes`` (B, N) over both streams, or (B, 1) where all are alike, and ``blocks`` (B, cells) of the clip."""
        plan = scene.plan(self.blocks)
        network: Any = scene.network(self.network)
        if self.attended == 0 or next(network.parameters()).is_meta:  # shapes alone attend to nothing
            return {"votes": torch.ones(len(scene.batch), 1), "blocks": plan.hidden}
        votes = scene.encode(self.network, self.view, taps=("votes",)).taps["votes"]
        return {"votes": votes.detach().cpu(), "blocks": plan.hidden}

    def plan(self, layout: Layout, keys: Keys, scores: Mapping[str, Tensor]) -> MaskPlan:
        """The plan of each sample over the joint layout, the clip's cells first."""
        free, blocks = layout.maskable(), scores["blocks"].cpu()
        cells = blocks.shape[1]
        words = torch.from_numpy(keys.uniform("words", layout.length - cells)) < self.ratio
        hidden = torch.cat([blocks, words], 1)
        if self.attended > 0:
            coin = torch.from_numpy(keys.uniform("coin", 1)) < self.attended
            hidden = torch.where(coin, self._attended(layout, keys, scores["votes"], free), hidden)
        return MaskPlan.of_hidden(layout, hidden & free)

    def _attended(self, layout: Layout, keys: Keys, votes: Tensor, free: Tensor) -> Tensor:
        """(B, N) bool: a weighted draw without replacement (Efraimidis & Spirakis 2006)."""
        weight = votes.double().expand(-1, layout.length).masked_fill(~free, 0.0).clamp_min(0.0)
        draws = torch.from_numpy(1.0 - keys.uniform("attended", layout.length))
        race = torch.where(weight > 0, draws.log() / weight.clamp_min(1e-300), -torch.inf)
        rank = race.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        budget = (layout.lengths() * self.ratio).long()
        return (rank < budget[:, None]) & (weight > 0)
