"""Which pairs of a batch get the picture of another: the same draw for the view and for what is asked of it."""

from __future__ import annotations

import torch
from torch import Tensor

from mmask.api import Batch, Keys, MaskPlan, PlanError, RecipeError, Scene, Tokens, View


def partners(keys: Keys, pictures: Tensor, *, group: int, share: float) -> Tensor:
    """(B,) int64: the sample whose picture each caption gets, itself for a match.

    A caption gets another picture with probability ``share``, a uniform one among those of the other samples of its
    group (``group`` consecutive ones; a last, smaller group is one too) that show something else. pictures: (B,)
    int64, equal where two samples are of one picture: captions of one picture are no negatives of each other. Where
    all show the same, the pair stays as it is. Drawn from (seed, sample, visit).
    """
    batch = len(pictures)
    here = torch.arange(batch)
    turn = torch.arange(group)
    others = here[:, None] // group * group + turn
    inside = others < batch
    others = others.clamp_max(batch - 1)
    known = pictures.cpu()
    allowed = inside & (known[others] != known[:, None])
    draw = torch.from_numpy(keys.uniform("swap", 1 + group))
    chosen = draw[:, 1:].masked_fill(~allowed, -1.0).argmax(1, keepdim=True)
    swap = (draw[:, 0] < share) & allowed.any(1)
    return torch.where(swap, others.gather(1, chosen).squeeze(1), here)


def pictures_of(batch: Batch, field: str) -> Tensor:
    """(B,) int64, what tells pictures apart: the field ``<field>.picture``, or every sample's own."""
    known = batch.fields.get(f"{field}.picture")
    if known is None or known.is_meta:
        return torch.arange(len(batch))
    return known


class SwapPictures:
    """The regions of another sample of the group in place of a caption's own, as `partners` draws them.

    group: consecutive samples that belong together, at least 2. share: of captions that get another picture. field: of
    the batch's regions.
    """

    site = "signal"

    def __init__(self, *, group: int = 2, share: float = 0.5, field: str = "regions") -> None:
        if group < 2 or not 0 <= share <= 1:
            raise RecipeError(f"swap-pictures: group {group} is 2 or more, share {share} between 0 and 1")
        self.group, self.share, self.field = group, share, field

    def partners(self, scene: Scene) -> Tensor:
        """(B,) int64: the sample each picture comes from."""
        pictures = pictures_of(scene.batch, self.field)
        return partners(scene.keys, pictures, group=self.group, share=self.share)

    def __call__(self, view: View, stream: str, plan: MaskPlan, scene: Scene) -> Tokens:
        """The regions of the partners. Raises PlanError for streams of words or flat tokens."""
        if view.tokens[stream].values is None:
            raise PlanError("swap-pictures exchanges regions", hint='set streams = ["regions"] of its view')
        return view.tokens[stream].samples(self.partners(scene))
