"""Units: who they are, and that computing them again changes nothing but memory."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mmask.errors import RecipeError, UsageError
from mmask.recipe.schema import TrainSection
from mmask.testing.toy import toy_batch, toy_model
from mmask.train.precision import Precision
from mmask.train.ranks import Ranks
from mmask.train.units import checkpoint_units, own_units, units_of
from mmask.train.wrap import wrap

CPU = torch.device("cpu")


class Block(nn.Module):
    """Linear and dropout; counts how often its inside runs."""

    def __init__(self, width: int = 4, **more: nn.Module) -> None:
        super().__init__()
        self.inner, self.drop, self.runs = nn.Linear(width, width), nn.Dropout(0.5), 0
        for name, module in more.items():
            self.add_module(name, module)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.runs += 1
        return self.drop(torch.relu(self.inner(x)))


class Stack(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks, self.last = nn.ModuleList(blocks), nn.Linear(4, 1)

    def units(self) -> list[nn.Module]:
        return list(self.blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return self.last(x)


def gradients(stack: nn.Module) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    stack(torch.randn(8, 4)).square().sum().backward()
    return {name: p.grad for name, p in stack.named_parameters() if p.grad is not None}


def test_gradients_are_the_same_with_dropout_and_the_inside_runs_twice() -> None:
    plain = Stack(Block(), Block())
    again = copy.deepcopy(plain)
    assert checkpoint_units(again) == 2
    want, found = gradients(plain), gradients(again)
    assert found.keys() == want.keys()
    for name, value in want.items():
        assert torch.equal(found[name], value), name
    assert [block.runs for block in plain.blocks] == [1, 1]
    assert [block.runs for block in again.blocks] == [2, 2]


def test_evaluation_and_frozen_units_run_once() -> None:
    stack = Stack(Block(), Block())
    stack.blocks[0].requires_grad_(False)
    assert checkpoint_units(stack) == 1
    gradients(stack)
    assert [block.runs for block in stack.blocks] == [1, 2]
    gradients(stack.eval())
    assert [block.runs for block in stack.blocks] == [2, 3]


def test_a_copy_of_a_checkpointed_module_runs_its_own_weights() -> None:
    stack = Stack(Block())
    checkpoint_units(stack)
    other = copy.deepcopy(stack)
    nn.init.zeros_(other.blocks[0].inner.weight)
    nn.init.zeros_(other.blocks[0].inner.bias)
    assert torch.equal(other.eval()(torch.ones(1, 4)), other.last.bias[None])
    assert not torch.equal(stack.eval()(torch.ones(1, 4)), stack.last.bias[None])


def test_units_inside_units_and_units_named_twice_count_once() -> None:
    inner = Stack(Block(), Block())
    outer = Stack(inner)
    assert units_of(outer) == [inner]
    assert units_of(nn.ModuleList([outer, outer])) == [inner]
    assert units_of(nn.Linear(2, 2)) == []


def test_weights_tied_across_a_units_border_keep_it_in_one_piece_with_the_rest() -> None:
    stack = Stack(Block(), Block())
    assert own_units(stack) == list(stack.blocks)
    stack.tied = stack.blocks[1].inner
    assert own_units(stack) == [stack.blocks[0]]
    stack.blocks[0].inner.weight = stack.blocks[1].inner.weight
    assert own_units(stack) == []


def test_what_cannot_be_computed_again_is_refused() -> None:
    with pytest.raises(RecipeError, match="names its units"):
        checkpoint_units(nn.Linear(2, 2))
    with pytest.raises(RecipeError, match="BatchNorm1d, which would count every batch twice"):
        checkpoint_units(Stack(Block(norm=nn.BatchNorm1d(4))))


def test_the_key_of_a_recipe_does_it() -> None:
    model = toy_model(seed=3)
    runs: list[Any] = []
    model.encoder.mix.register_forward_hook(lambda *_: runs.append("outside"))
    kept = model.encoder.mix.forward
    wrapped, average = wrap(model, TrainSection(checkpoint_activations=True), Ranks(), Precision.of("fp32", CPU))
    assert wrapped is model
    assert average is None
    assert model.encoder.mix.forward != kept
    model.train()(toy_batch([1, 2])).total().backward()
    assert runs == ["outside"]


def test_fp16_is_refused_where_each_rank_would_scale_its_own_loss(tmp_path: Path) -> None:
    section = TrainSection(precision="fp16", parallel="fsdp2")
    with pytest.raises(UsageError, match="--precision bf16"):
        wrap(toy_model(seed=3), section, Ranks(0, 2), Precision.of("fp16", CPU))
    wrapped, _ = wrap(toy_model(seed=3), section, Ranks(), Precision.of("fp16", CPU))  # one process has nothing to cut
    assert wrapped is not None
