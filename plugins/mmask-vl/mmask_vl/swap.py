"""Which pairs of a batch get the picture of another: the same draw for the view and for what is asked of it."""

from __future__ import annotations

import torch
from torch import Tensor

from mmask.api import Batch, MaskPlan, PlanError, RecipeError, Scene, Tokens, View, partners


def pictures_of(batch: Batch, field: str) -> Tensor:
    """(B,) int64, what tells pictures apart: the field ``<field>.picture``, or every sample's own."""
    known = batch.fields.get(f"{field}.picture")
    if known is None or known.is_meta:
        return torch.arange(len(batch))
    return known


class SwapPictures:
    """The regions of another sample of the group in place of a caption's own, as `mmask.api.partners` draws
    them; captions of one picture are no negatives of each other.

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
