"""Who is decayed, at which learning rate, and what a checkpoint keeps of an optimizer."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from mmask.errors import RecipeError
from mmask.recipe.schema import OptimSection
from mmask.testing.toy import toy_model
from mmask.train.optim import layer_shares, make_optimizer, pack_state, param_groups, set_lr, unpack_state


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(1, 1, 4))
        self.lin = nn.Linear(4, 4)
        self.still = nn.Linear(4, 4).requires_grad_(False)

    def no_weight_decay(self) -> set[str]:
        return {"cls"}


def decayed(model: nn.Module, **options: object) -> dict[str, bool]:
    groups = param_groups(model, OptimSection(lr=1.0, **options))
    return {name: group["weight_decay"] > 0 for group in groups for name in group["names"]}


def test_matrices_are_decayed_and_biases_norms_and_declared_tokens_are_not() -> None:
    model = nn.Sequential(Tokens(), nn.LayerNorm(4))
    assert decayed(model) == {
        "0.cls": False, "0.lin.weight": True, "0.lin.bias": False, "1.weight": False, "1.bias": False
    }


def test_frozen_parameters_are_in_no_group() -> None:
    assert not any("still" in name for name in decayed(Tokens()))


def test_decay_1d_decays_everything_but_what_modules_declare() -> None:
    assert decayed(Tokens(), decay_1d=True) == {"cls": False, "lin.weight": True, "lin.bias": True}


def test_decay_tokens_decays_what_modules_declare_and_no_vectors() -> None:
    assert decayed(Tokens(), decay_tokens=True) == {"cls": True, "lin.weight": True, "lin.bias": False}


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(RecipeError, match="nothing is trained"):
        param_groups(nn.Linear(2, 2).requires_grad_(False), OptimSection(lr=1.0))


def test_layer_decay_follows_timms_layers() -> None:
    vit = timm.create_model("vit_tiny_patch16_224", depth=3, num_classes=0)
    shares = layer_shares(nn.ModuleDict({"encoder": vit}), 0.5)
    by_block = [shares[f"encoder.blocks.{i}.attn.qkv.weight"] for i in range(3)]
    assert by_block == pytest.approx([by_block[2] / 4, by_block[2] / 2, by_block[2]])
    assert shares["encoder.patch_embed.proj.weight"] < by_block[0]
    assert set(shares) == {f"encoder.{name}" for name, _ in vit.named_parameters()}


def test_layer_decay_scales_the_learning_rate_of_a_step() -> None:
    vit = timm.create_model("vit_tiny_patch16_224", depth=2, num_classes=0)
    optimizer = make_optimizer(nn.ModuleDict({"encoder": vit}), OptimSection(lr=1.0, layer_decay=0.5), 1.0)
    set_lr(optimizer, 0.1)
    rates = {round(group["lr"] / group["lr_scale"], 12) for group in optimizer.param_groups}
    assert rates == {0.1}
    assert len({group["lr"] for group in optimizer.param_groups}) > 2


def test_layer_decay_of_a_network_without_layers_is_an_error() -> None:
    with pytest.raises(RecipeError, match="layer_decay"):
        layer_shares(nn.Linear(2, 2), 0.5)


def test_an_unknown_optimizer_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean 'lion'"):
        make_optimizer(Tokens(), OptimSection(lr=1.0, name="lionn"), 1.0)


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    sum((p * (i + 1)).square().sum() for i, p in enumerate(model.parameters()) if p.requires_grad).backward()
    optimizer.step()


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars", "lion", "lamb"])
def test_an_optimizer_goes_on_from_its_packed_state(name: str) -> None:
    torch.manual_seed(0)
    one = toy_model()
    section = OptimSection(lr=0.1, name=name)
    first = make_optimizer(one, section, 0.1)
    for _ in range(3):
        step(one, first)
    tensors, plain = pack_state(first)
    two = toy_model()
    two.load_state_dict(one.state_dict())
    second = make_optimizer(two, section, 0.1)
    unpack_state(second, {k: v.clone() for k, v in tensors.items()}, plain)
    for _ in range(2):
        step(one, first)
        step(two, second)
    for ours, theirs in zip(two.parameters(), one.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_run_with_an_unknown_optimizer_begins_nothing(tmp_path, capsys):
    from mmask.testing import mmask

    out = tmp_path / "run"
    assert mmask("train", "--recipe", "mae-vit-tiny", "--out", out, "optim.name=adamv") == 3
    said = capsys.readouterr()
    assert "optim.name 'adamv' is unknown (did you mean 'adam" in said.err
    assert said.out == "" and not out.exists()
