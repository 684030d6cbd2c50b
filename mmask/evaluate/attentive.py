"""attentive: one learnt query over the states of all places."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmask.evaluate.heads import Course, Probe, whiten
from mmask.types import Labelled, Verdict


class AttentiveProbe:
    """Cross-attention of one learnt query to the fixed states of all places, then the linear probe's head.

    Chen et al. 2022 (CAE, section 4.2): pooling by a mean punishes encoders that keep different things at
    different places; a query may look where a class is. States are made once, from the evaluation view.

    heads: of the attention; the next smaller divisor of the width where it does not divide. lrs: learning
    rates, chosen as in the linear probe. epochs, warmup: passes, and those of warm-up. batch: samples of a
    step. optimizer: by timm's name. weight_decay: decoupled. tuning: share of labels that lr is chosen on.
    """

    wants = "places"

    def __init__(
        self, *, heads: int = 12, lrs: Sequence[float] = (3e-4, 1e-3, 3e-3), epochs: int = 50, batch: int = 256,
        optimizer: str = "adamw", weight_decay: float = 0.05, warmup: int = 5, tuning: float = 0.2,
        device: str = "auto",
    ) -> None:
        course = Course(tuple(lrs), epochs, batch, optimizer, weight_decay, warmup, tuning)
        self.heads = heads
        self.probe = Probe(course, self._head, _inputs, device)

    def __call__(self, fit: Labelled, test: Labelled, *, seed: int) -> Verdict:
        """(M, C) logits, or (M, 1) numbers, and the learning rate that was taken."""
        return self.probe(fit, test, seed)

    def _head(self, fit: Labelled) -> nn.Module:
        assert fit.places is not None
        return QueryHead(fit.places.shape[2], fit.outputs, self.heads)


class QueryHead(nn.Module):
    """One query attends to (B, K, D) states; the answer is normalised and mapped to (B, C) logits."""

    def __init__(self, width: int, classes: int, heads: int) -> None:
        super().__init__()
        heads = next(h for h in range(min(heads, width), 0, -1) if width % h == 0)
        self.query = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.trunc_normal_(self.query, std=0.02)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)
        self.white, self.out = whiten(width), nn.Linear(width, classes)
        nn.init.trunc_normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)

    def forward(self, places: Tensor, valid: Tensor) -> Tensor:
        """(B, K, D) and (B, K) bool -> (B, C)."""
        states = self.norm(places)
        query = self.query.expand(len(places), -1, -1)
        padding = None if bool(valid.all()) else ~valid
        found, _ = self.attend(query, states, states, key_padding_mask=padding, need_weights=False)
        return self.out(self.white(found[:, 0]))


def _inputs(data: Labelled) -> tuple[Tensor, ...]:
    places = data.places
    assert places is not None
    valid = data.valid if data.valid is not None else torch.ones(places.shape[:2], dtype=torch.bool)
    return places.float(), valid
