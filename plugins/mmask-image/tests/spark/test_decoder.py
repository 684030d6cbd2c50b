"""The decoder's merged convolutions, and its blocks."""

from __future__ import annotations

import pytest
import torch

from mmask_image.spark.decoder import LightDecoder, UpBlock


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (2, 2), (3, 5)])
def test_two_convolutions_as_one_agree_with_the_pair(size):
    """Edges and corners too, values and gradients, with a bias that does not vanish."""
    torch.manual_seed(0)
    block, x = UpBlock(6, merge="never").double(), torch.randn(2, 6, *size, dtype=torch.float64)
    block.up.bias.data.normal_()
    x.requires_grad_()
    found = []
    for merge in ("never", "always"):
        block.merge = merge
        out = block(x)
        slope = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
        grads = torch.autograd.grad((out * slope).sum(), [x, *block.parameters()])
        found.append([out, *grads])
    for plain, merged in zip(*found, strict=True):
        torch.testing.assert_close(merged, plain, rtol=1e-9, atol=1e-9)


def test_merging_is_chosen_where_it_saves_products():
    block = UpBlock(48)
    assert block._merges(torch.empty(1, 48, 112, 112))
    assert not UpBlock(768)._merges(torch.empty(8, 768, 7, 7))


def test_skips_are_added_before_the_block_that_starts_at_their_size():
    decoder = LightDecoder(ups=3, width=16).eval()
    maps = [torch.randn(2, 16, 4, 4), torch.randn(2, 8, 8, 8), torch.randn(2, 4, 16, 16)]
    x = decoder.blocks[0](maps[0])
    x = decoder.blocks[1](x + maps[1])
    x = decoder.blocks[2](x + maps[2])
    torch.testing.assert_close(decoder(maps), decoder.proj(x))
    assert decoder(maps).shape == (2, 3, 32, 32)
