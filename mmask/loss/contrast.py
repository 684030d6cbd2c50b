"""InfoNce: pick the right one among the other scored places of the same sample (SSAST)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmask.errors import PlanError, RecipeError
from mmask.types import Prediction, Share, Target, Term


class InfoNce:
    """-log softmax over the scored places of one sample, summed over places; the count is that of places.

    over: ``predictions``: for each target, the predictions compete, as in SSAST's code; ``targets``: for each
    prediction, the targets compete (equation 1 of the paper, Gong et al. 2021). temperature: divides the products;
    1 in the reference. A sample with one scored place adds 0. Reports ``accuracy`` as the reference does: the shares
    are those of the loss, the right one must win along the other axis.
    """

    def __init__(
        self, *, over: Literal["predictions", "targets"] = "predictions", temperature: float = 1.0
    ) -> None:
        if over not in ("predictions", "targets") or temperature <= 0:
            raise RecipeError(f"loss.over '{over}' is predictions or targets, loss.temperature {temperature} above 0")
        self.over, self.temperature = over, temperature

    def __call__(self, prediction: Prediction, target: Target) -> Term:
        """prediction.value and target.value: (S, D). Raises PlanError when they differ."""
        logs, there = self._logs(prediction, target)
        own = logs.diagonal(dim1=1, dim2=2)
        total = torch.where(there, -own, own.new_zeros(())).sum() if len(prediction.value) else own.sum() * 0.0
        return Term(total, prediction.scored.count())

    @torch.no_grad()
    def metrics(self, prediction: Prediction, target: Target) -> dict[str, Share]:
        """``accuracy``: how often the right one has the largest share along the axis that was not normalised."""
        logs, there = self._logs(prediction, target)
        best = logs.masked_fill(~there[:, :, None], -torch.inf).argmax(1)
        right = (best == torch.arange(logs.shape[1], device=logs.device)) & there
        return {"accuracy": Share(right.sum(), there.sum())}

    def _logs(self, prediction: Prediction, target: Target) -> tuple[Tensor, Tensor]:
        """(B, K, K) log shares, those of one row sum to 1, and (B, K) bool, which are places and not filling."""
        value, truth = prediction.value, target.value
        if value.shape != truth.shape or value.ndim != 2:
            raise PlanError(f"the head predicts {tuple(value.shape)}, the target is {tuple(truth.shape)}")
        dtype = torch.promote_types(value.dtype, torch.float32)
        made, true = (self._rows(each.to(value.device, dtype), prediction) for each in (value, truth))
        there = self._there(prediction).to(value.device)
        products = (true @ made.transpose(1, 2)) / self.temperature  # B targets predictions
        if self.over == "targets":
            products = products.transpose(1, 2)
        own = torch.eye(products.shape[1], dtype=torch.bool, device=value.device)  # never all of a row: no NaN
        return products.masked_fill(~there[:, None, :] & ~own, -torch.inf).log_softmax(-1), there

    @staticmethod
    def _slots(prediction: Prediction) -> tuple[Tensor, Tensor, int]:
        """Each scored place's sample and its number among that sample's, (S,), and the most of any sample."""
        rows = prediction.scored.rows()
        counts = torch.bincount(rows, minlength=prediction.scored.layout.batch)
        start = counts.cumsum(0) - counts
        return rows, torch.arange(len(rows)) - start[rows], int(counts.max()) if len(counts) else 0

    def _rows(self, values: Tensor, prediction: Prediction) -> Tensor:
        """(S, D) -> (B, K, D), zeros where a sample has fewer."""
        rows, slot, most = self._slots(prediction)
        out = values.new_zeros(prediction.scored.layout.batch, most, values.shape[1])
        return out.index_put((rows.to(values.device), slot.to(values.device)), values)

    def _there(self, prediction: Prediction) -> Tensor:
        """(B, K) bool."""
        rows, slot, most = self._slots(prediction)
        there = torch.zeros(prediction.scored.layout.batch, most, dtype=torch.bool)
        there[rows, slot] = True
        return there
