"""What the codes of cells look like: pictures of guessed codes, without a decoder of the tokenizer."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from mmask.api import Layout, MaskPlan, Scored


def reconstructed(clips: Tensor, plan: MaskPlan, objective: Any, scene: Any, whole: Any, seen: Tensor) -> Tensor:
    """Clips (B, 3, T, H, W) whose hidden cells show the guessed codes. -> the same shape.

    A code looks as the mean of the cells of ``whole``, a scene of more clips ``seen`` (C, 3, T, H, W), that have it;
    the guess is the likeliest of the codes that occur there. It needs nothing but ids of the tokenizer, so that it
    works for any.
    """
    codes, looks = appearances(seen, whole, objective)
    prediction = objective.predict(scene)
    best = prediction.value.cpu()[:, codes].argmax(-1)
    cells = cut(clips, plan.layout)
    cells[prediction.scored.index.cpu()] = looks[best]
    return joined(cells, plan.layout)[..., : clips.shape[-2], : clips.shape[-1]]


def appearances(seen: Tensor, whole: Any, objective: Any) -> tuple[Tensor, Tensor]:
    """(K,) codes that occur, and (K, values) the mean cell of each."""
    layout = whole.layout(objective.stream)
    target = objective.target(whole, Scored.valid(layout))
    codes, which, counts = target.value.cpu().unique(return_inverse=True, return_counts=True)
    cells = cut(seen, layout)
    total = cells.new_zeros(len(codes), cells.shape[1]).index_add_(0, which, cells)
    return codes, total / counts[:, None]


def cut(clips: Tensor, layout: Layout) -> Tensor:
    """(B, 3, T, H, W) -> (B·N, values) cells, row by row; edges go on where a grid is larger than its frames."""
    times, (high, wide) = _unit(layout), clips.shape[-2:]
    assert layout.grid is not None
    full = layout.grid[1] * times[1], layout.grid[2] * times[2]
    clips = F.pad(clips, (0, full[1] - wide, 0, full[0] - high, 0, 0), mode="replicate")
    parts = clips.unflatten(4, (-1, times[2])).unflatten(3, (-1, times[1])).unflatten(2, (-1, times[0]))
    return parts.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(0, 3).clone()  # b T H W (c t h w)


def joined(cells: Tensor, layout: Layout) -> Tensor:
    """The reverse of `cut`, with whole cells at the edges."""
    parts = cells.view(layout.batch, *(layout.grid or ()), 3, *_unit(layout))
    parts = parts.permute(0, 4, 1, 5, 2, 6, 3, 7)
    return parts.flatten(6, 7).flatten(4, 5).flatten(2, 3)


def _unit(layout: Layout) -> tuple[int, ...]:
    unit: Any = layout.unit
    return (1, *unit) if len(unit) == 2 else tuple(unit)
