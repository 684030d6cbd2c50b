"""The codebook on two ranks."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from mmask.testing import on_ranks
from mmask_image.codebook import Codebook

DEAD = (0.0, 0.9)  # without revival; with so much that codes come back at every update


def latents(step: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    return F.normalize(torch.randn(64, 4, generator=generator), dim=1)


def book(dead: float) -> Codebook:
    torch.manual_seed(0)
    return Codebook(8, 4, decay=0.9, dead=dead).train()


def work(rank: int, out: str) -> None:
    for dead in DEAD:
        made = book(dead)
        for step in range(5):
            made(latents(step)[rank::2])
        torch.save(made.state_dict(), f"{out}/{dead}-{rank}.pt")


def test_two_ranks_hold_the_same_codes_and_without_revival_those_of_one_rank(tmp_path):
    on_ranks(work, str(tmp_path))
    for dead in DEAD:
        one, two = (torch.load(tmp_path / f"{dead}-{rank}.pt", weights_only=True) for rank in (0, 1))
        assert all(torch.equal(one[name], two[name]) for name in one)
        if dead == 0.0:
            alone = book(dead)
            for step in range(5):
                alone(latents(step))
            for name, value in alone.state_dict().items():
                assert torch.allclose(one[name].double(), value.double(), atol=1e-6)
