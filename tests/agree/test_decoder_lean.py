"""The decoder's last block at scored places only, against running it everywhere."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mmask.heads.decoder import TransformerDecoder
from mmask.layers.block import Block, run_block
from mmask.types import Encoded, Layout, MaskPlan, Scored


def plans():
    layout = Layout(3, 12, grid=(3, 4))
    generator = torch.Generator().manual_seed(3)
    order = torch.stack([torch.randperm(12, generator=generator) for _ in range(3)])
    yield MaskPlan.of_order(layout, order, 3)
    yield MaskPlan.of_hidden(layout, torch.rand(3, 12, generator=generator) < 0.5)
    hidden = torch.zeros(3, 12, dtype=torch.bool)
    hidden[1, 4] = True
    yield MaskPlan.of_hidden(layout, hidden)


@pytest.mark.parametrize("plan", list(plans()), ids=["even", "ragged", "one"])
def test_values_and_gradients_agree(plan):
    results = []
    for lean in (True, False):
        torch.manual_seed(0)
        head = TransformerDecoder(
            network=SimpleNamespace(width=12, prefix=1), tokenizer=SimpleNamespace(grid=(3, 4)),
            target=SimpleNamespace(dim=5), width=16, depth=2, heads=2, lean=lean,
        ).double()
        layout = plan.layout.take(plan.keep_idx, plan.kept)
        state = torch.randn(3, 1 + layout.length, 12, dtype=torch.float64, requires_grad=True)
        value = head(Encoded(layout, state, 1), Scored.hidden(plan)).value
        (value * torch.linspace(-1, 1, value.numel()).view_as(value)).sum().backward()
        results.append([value, state.grad, *(p.grad for p in head.parameters())])
    for lean, plain in zip(*results, strict=True):
        assert (lean - plain).abs().max() <= 1e-12 * max(1, plain.abs().max())


@pytest.mark.parametrize("training", [True, False])
def test_a_block_run_for_all_places_is_timms_own(training):
    block = Block(16, 4, qkv_bias=True, init_values=0.1).double().train(training)
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    assert (run_block(block, x) - block(x)).abs().max() < 1e-12
