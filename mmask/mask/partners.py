"""Which samples of a batch are given a part of another one: matching and its negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from mmask.keyed import Keys


def partners(keys: Keys, kinds: torch.Tensor, *, group: int, share: float, purpose: str = "swap") -> torch.Tensor:
    """(B,) int64: the sample whose part each one gets, itself for a match.

    A sample gets another's with probability ``share``, a uniform one among those of its group (``group`` consecutive
    ones; a last, smaller group is one too) that are of another kind. kinds: (B,) int64, equal where two samples share
    what they are told apart by, such as captions of one picture: these are no negatives of each other. Where all are
    of one kind, the pair stays as it is. Drawn from (seed, sample, visit) for this ``purpose``.
    """
    import torch

    batch = len(kinds)
    here = torch.arange(batch)
    others = here[:, None] // group * group + torch.arange(group)
    inside = others < batch
    others = others.clamp_max(batch - 1)
    known = kinds.cpu()
    allowed = inside & (known[others] != known[:, None])
    draw = torch.from_numpy(keys.uniform(purpose, 1 + group))
    chosen = draw[:, 1:].masked_fill(~allowed, -1.0).argmax(1, keepdim=True)
    swap = (draw[:, 0] < share) & allowed.any(1)
    return torch.where(swap, others.gather(1, chosen).squeeze(1), here)
