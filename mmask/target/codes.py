"""Codes: ids that a frozen discrete tokenizer gives to the places of a sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mmask.errors import PlanError, RecipeError, did_you_mean
from mmask.protocols import Scene
from mmask.types import Prediction, Scored, Target, TargetSource


class Codes:
    """One id a scored place, from a network that has ``ids(values) -> (B, ...)`` and ``vocabulary``.

    network: the tokenizer's name among the recipe's networks; it should be frozen there. field: the batch's
    field it reads, such as a second rendering of the sample that gives one code for each place. fold: an axis
    of the field that the tokenizer does not know and that is taken into the batch for it (2 of (B, C, T, H, W)).
    networks (wired): where the vocabulary is looked up.
    """

    def __init__(
        self, *, network: str = "tokenizer", field: str = "image", fold: int | None = None,
        networks: Mapping[str, Any] | None = None,
    ) -> None:
        known = networks or {}
        if network not in known:
            raise RecipeError(f"target 'codes' needs the network '{network}'{did_you_mean(network, known)}")
        if not hasattr(known[network], "ids"):
            raise RecipeError(f"network '{network}' gives no ids; target 'codes' needs a discrete tokenizer")
        self.network, self.field, self.fold = network, field, fold
        self.dim: int = known[network].vocabulary

    @torch.no_grad()
    def __call__(self, scene: Scene, scored: Scored) -> Target:
        """value: (S,) int64. Raises PlanError when codes and places are not one to one."""
        network: Any = scene.network(self.network)
        ids = self._ids(network, scene.batch[self.field])
        layout = scored.layout
        grid = tuple(ids.shape[1:])
        if grid != (layout.grid if layout.grid is not None else (layout.length,)):
            raise PlanError(
                f"the tokenizer gives {grid} codes of field '{self.field}', the layout has"
                f" {layout.grid or layout.length} places",
                hint="the field's size over the tokenizer's stride must equal the picture's size over the patch",
            )
        return Target(scored.take(ids.flatten(1)), scored, TargetSource.NETWORK)

    def _ids(self, network: Any, values: torch.Tensor) -> torch.Tensor:
        if self.fold is None:
            return network.ids(values)
        spread = values.movedim(self.fold, 1)
        return network.ids(spread.flatten(0, 1)).unflatten(0, spread.shape[:2])

    def trivial(self, target: Target) -> Prediction:
        """The logits that know how often each code occurs among the scored places of the batch, and nothing
        else: what learning has to beat. Their loss is the entropy of the codes."""
        share = torch.bincount(target.value, minlength=self.dim).double() / max(1, len(target.value))
        logits = share.clamp_min(1e-12).log().float()
        return Prediction(logits.expand(len(target.value), -1), target.scored)
