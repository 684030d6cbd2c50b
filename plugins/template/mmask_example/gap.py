"""Masker: one gap in each signal."""

from __future__ import annotations

from mmask.api import Keys, Layout, MaskPlan, RecipeError


class GapMasker:
    """Hides one run of neighbouring places, of exact length, at a random start.

    ratio: share of the places that is hidden, in (0, 1); at least one place is hidden and one is kept.
    """

    def __init__(self, *, ratio: float = 0.5) -> None:
        if not 0 < ratio < 1:
            raise RecipeError(f"ratio is {ratio}; it is a share between 0 and 1")
        self.ratio = ratio

    def plan(self, layout: Layout, keys: Keys) -> MaskPlan:
        """A pure function of the layout and the samples' keys. Padding and special places stay visible."""
        import torch

        maskable = layout.maskable()  # (B, N)
        free = maskable.sum(1)
        length = torch.minimum((free * self.ratio).round().clamp_min(1), free - 1).clamp_min(0)
        share = torch.from_numpy(keys.uniform("start", 1))[:, 0]
        start = (share * (free - length + 1)).floor()
        number = maskable.cumsum(1) - 1  # the places that may be hidden, counted from 0
        inside = (number >= start[:, None]) & (number < (start + length)[:, None])
        return MaskPlan.of_hidden(layout, inside & maskable)
