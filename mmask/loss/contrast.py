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
    1 in the reference. A sample with one scored place adds 0. Reports ``accuracy``, how often the right one wins over
    the other axis, which is what the reference logs.
    """

    def __init__(
        self, *, over: Literal["predictions", "targets"] = "predictions", temperature: float = 1.0
    ) -> None:
        if over not in ("predictions", "targets") or temperature <= 0:
            raise RecipeError(f"loss.over '{over}' is predictions or targets, loss.temperature {temperature} above 0")
        self.over, self.temperature = over, temperature

    def __call__(self, prediction: Prediction, target: Target) -> Term:
        """prediction.value and target.value: (S, D). Raises PlanError when they differ."""
        value, truth = prediction.value, target.value
        if value.shape != truth.shape or value.ndim != 2:
            raise PlanError(f"the head predicts {tuple(value.shape)}, the target is {tuple(truth.shape)}")
        dtype = torch.promote_types(value.dtype, torch.float32)
        made, true = (self._rows(each.to(value.device, dtype), prediction) for each in (value, truth))
        there = self._there(prediction).to(value.device)
        products = true @ made.transpose(1, 2) / self.temperature  # B targets predictions
        if self.over == "targets":
            products = products.transpose(1, 2)
        own = torch.eye(products.shape[1], dtype=torch.bool, device=value.device)  # never all of a row: no NaN
        logs = products.masked_fill(~there[:, None, :] & ~own, -torch.inf).log_softmax(-1).diagonal(dim1=1, dim2=2)
        total = torch.where(there, -logs, logs.new_zeros(())).sum() if len(value) else value.sum() * 0.0
        return Term(total, prediction.scored.count())

    def metrics(self, prediction: Prediction, target: Target) -> dict[str, Share]:
        """``accuracy``: how often a prediction is nearest to its own target."""
        with torch.no_grad():
            made, true = (self._rows(each.float(), prediction) for each in (prediction.value, target.value))
            there = self._there(prediction).to(made.device)
            products = (made @ true.transpose(1, 2)).masked_fill(~there[:, None, :], -torch.inf)
            right = (products.argmax(-1) == torch.arange(made.shape[1], device=made.device)) & there
        return {"accuracy": Share(float(right.sum()), float(there.sum()))}

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
