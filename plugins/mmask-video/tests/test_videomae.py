"""VideoMAE under the plans that its tokens allow: tubes of random places, tubes of blocks, cuboids."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmask.api import Batch
from mmask.testing import build

SMALL = [
    "networks.encoder.depth=1", "networks.encoder.width=48", "objectives.pixels.head.depth=1",
    "data.decode.video.size=32", "tokenize.video.image_size=32", "tokenize.video.size=[2,8,8]",
    "data.decode.video.frames=8", "tokenize.video.frames=8",
]
PLANS = {
    "tubes of places": ["mask.spatial.ratio=0.75"],
    "tubes of blocks": ["mask.spatial=block", "mask.spatial.ratio=0.5"],
    "cuboids": ["mask=cuboids"],
}


def clips(count: int) -> Batch:
    make = torch.Generator().manual_seed(3)
    field = torch.randint(0, 256, (count, 3, 8, 32, 32), generator=make, dtype=torch.uint8)
    return Batch({"video": field}, np.arange(count, dtype=np.uint64), np.zeros(count, np.int64))


@pytest.mark.parametrize("kind", PLANS)
def test_every_plan_trains_and_hides_what_it_says(kind):
    model = build("videomae-tiny", overrides=[*SMALL, *PLANS[kind]])
    batch = clips(6)
    plans = model.draw(batch)
    hidden = plans.plan("mask").hidden.view(6, 4, 4, 4)
    assert hidden.any() and not hidden.all()
    if kind.startswith("tubes"):
        assert torch.equal(hidden, hidden[:, :1].expand_as(hidden))  # the same in every frame
    else:
        assert not torch.equal(hidden, hidden[:, :1].expand_as(hidden))
    loss = model(batch, plans).total(model.denominators(plans))
    loss.backward()
    assert torch.isfinite(loss) and model.encoder.patch_embed.weight.grad.abs().sum() > 0
