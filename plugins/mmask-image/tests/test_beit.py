"""The encoder of BEiT, SimMIM and CAE against timm, and the laws of dropping and replacing patches."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from timm.models.beit import Beit
from torch import nn

from mmask.api import Layout, MaskPlan, PlanError, RecipeError, Tokens, View
from mmask.testing import checkpoint_units, component
from mmask_image.beit import BeitEncoder
from mmask_image.patch import PatchTokenizer

KINDS = ["fixed", "relative"]


def encoder(positions: str, *, mask_token: bool = False, **more: object) -> BeitEncoder:
    torch.manual_seed(0)
    tokenizer = PatchTokenizer(size=(8, 16), image_size=(32, 48))
    made = BeitEncoder(
        width=24, depth=3, heads=3, tokenizer=tokenizer, positions=positions, mask_token=mask_token, **more
    ).double()
    with torch.no_grad():  # nothing trivially 0 or 1
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def view(batch: int = 3, replaced: torch.Tensor | None = None) -> View:
    torch.manual_seed(1)
    layout = Layout(batch, 12, grid=(4, 3), unit=(8, 16))
    return View("v", {"image": Tokens(layout, torch.randn(batch, 12, 384).double(), replaced=replaced)})


def dropped(full: View, plan: MaskPlan) -> View:

    return View("v", {"image": component("corruption", "drop")(full, "image", plan)}, {"image": plan})


def hidden(rows: list[list[int]]) -> torch.Tensor:
    out = torch.zeros(len(rows), 12, dtype=torch.bool)
    for row, places in enumerate(rows):
        out[row, places] = True
    return out


def timms(positions: str, scale: float | None = 0.1) -> Beit:
    return Beit(
        img_size=(32, 48), patch_size=(8, 16), num_classes=0, global_pool="token", embed_dim=24, depth=3,
        num_heads=3, init_values=scale, use_abs_pos_emb=positions == "fixed",
        use_shared_rel_pos_bias=positions == "relative", norm_layer=partial(nn.LayerNorm, eps=1e-6),
    ).double()


@pytest.mark.parametrize("scale", [0.1, 0.0])
@pytest.mark.parametrize("positions", KINDS)
def test_weights_load_into_timm_unchanged_and_states_agree(positions, scale):
    mine, theirs = encoder(positions, layer_scale=scale).eval(), timms(positions, scale or None).eval()
    theirs.load_state_dict(mine.state_dict(), strict=True)
    full = view()
    tokens = full.only()
    picture = tokens.values.view(3, 4, 3, 8, 16, 3).permute(0, 5, 1, 3, 2, 4).reshape(3, 3, 32, 48)
    with torch.no_grad():
        got, want = mine(full).state, theirs.forward_features(picture)
    assert (got - want).abs().max() < 1e-12


@pytest.mark.parametrize("positions", KINDS)
def test_dropped_patches_are_as_if_attention_could_not_see_them(positions):
    made, full = encoder(positions).eval(), view(2)
    plan = MaskPlan.of_hidden(full.only().layout, hidden([[0, 5, 7], [1, 2, 11]]))
    got = made(dropped(full, plan)).places
    unseen = replace(full.only(), layout=replace(full.only().layout, valid=~plan.hidden))
    want = made(View("v", {"image": unseen})).places
    want = want.gather(1, plan.keep_idx[..., None].expand(-1, -1, 24))
    assert (got - want).abs().max() < 1e-12


@pytest.mark.parametrize("positions", KINDS)
def test_a_ragged_plan_gives_each_sample_what_it_gets_alone(positions):
    made, full = encoder(positions).eval(), view(2)
    layout = full.only().layout
    plan = MaskPlan.of_hidden(layout, hidden([[0, 5, 7, 8], [1]]))
    got = made(dropped(full, plan))
    for row in range(2):
        alone = View("v", {"image": replace(
            full.only(), layout=layout.rows(row, row + 1), values=full.only().values[row : row + 1]
        )})
        want = made(dropped(alone, plan.rows(row, row + 1)))
        count = want.places.shape[1]
        assert (got.places[row, :count] - want.places[0]).abs().max() < 1e-12
        assert (got.pooled[row] - want.pooled[0]).abs().max() < 1e-12


@pytest.mark.parametrize("positions", KINDS)
def test_what_a_replaced_patch_shows_changes_nothing(positions):
    made = encoder(positions, mask_token=True)
    marks = hidden([[0, 3], [4, 5], [11, 2]])
    one, two = view(3, marks), view(3, marks)
    two.only().values[marks] = torch.randn(6, 384).double() * 100
    assert torch.equal(made(one).state, made(two).state)
    plain = made(view(3)).state
    assert not torch.equal(made(one).state, plain)


def test_replaced_patches_keep_their_positions():
    made = encoder("relative", mask_token=True).eval()
    marks = torch.ones(1, 12, dtype=torch.bool)
    with torch.no_grad():
        places = made(view(1, marks)).places[0]
    assert (places[:, None] - places[None]).abs().amax(-1).fill_diagonal_(1).min() > 1e-6


def test_a_view_that_replaces_needs_a_mask_token():
    with pytest.raises(PlanError, match="has none"):
        encoder("relative")(view(1, torch.ones(1, 12, dtype=torch.bool)))


def test_fixed_positions_take_no_gradient_and_keys_have_no_bias():
    made = encoder("fixed")
    assert not made.pos_embed.requires_grad
    names = dict(made.named_parameters())
    assert "blocks.0.attn.q_bias" in names
    assert not any("k_bias" in name for name in names)
    assert "rel_pos_bias.relative_position_bias_table" in dict(encoder("relative").named_parameters())


def test_initialisation_is_the_one_that_is_asked_for():
    torch.manual_seed(0)
    tokenizer = PatchTokenizer(size=16, image_size=32)
    rescaled = BeitEncoder(width=192, depth=4, heads=3, tokenizer=tokenizer, start="rescaled", mask_token=True)
    for number, block in enumerate(rescaled.blocks, start=1):
        assert block.mlp.fc2.weight.abs().max() <= 0.02 / (2 * number) ** 0.5 + 1e-9
    xavier = BeitEncoder(width=192, depth=1, heads=3, tokenizer=tokenizer, start="xavier", layer_scale=0.3)
    bound = (6 / (192 + 768)) ** 0.5
    assert 0.95 * bound < xavier.blocks[0].mlp.fc1.weight.abs().max() <= bound
    assert xavier.patch_embed.proj.weight.abs().max() <= 0.02
    assert torch.equal(xavier.blocks[0].gamma_1, torch.full((192,), 0.3))
    assert rescaled.mask_token.abs().max() <= 0.02
    assert rescaled.mask_token.any()


def test_taps_are_the_blocks_outputs_and_a_wrong_name_is_an_error():
    made, full = encoder("fixed").eval(), view()
    taps = made(full, taps=("block.0", "block.-1")).taps
    assert torch.equal(made.norm(taps["block.-1"]), made(full).state)
    with pytest.raises(PlanError, match=r"did you mean 'block\.1'"):
        made(full, taps=("blok.1",))


def test_heads_must_divide_the_width():
    with pytest.raises(RecipeError, match="cannot have"):
        BeitEncoder(width=20, depth=1, heads=3, tokenizer=PatchTokenizer(size=16, image_size=32))


def test_checkpointed_blocks_give_the_same_gradients():
    one, two = encoder("relative"), encoder("relative")
    checkpoint_units(two)
    for made in (one, two):
        made.train()(view()).state.square().sum().backward()
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        if a.grad is not None:
            assert (a.grad - b.grad).abs().max() < 1e-10
