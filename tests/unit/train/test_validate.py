"""The validation loss is that of one pass under fixed plans, and changes nothing of the model."""

from __future__ import annotations

import pytest
import torch

from mmask.testing.toy import ToyReader, toy_batch, toy_model
from mmask.train.precision import Precision
from mmask.train.ranks import Ranks
from mmask.train.validate import Validation


def validation(reader: ToyReader) -> Validation:
    return Validation(reader.val, Precision.of("fp32", torch.device("cpu")), Ranks())


def test_it_is_the_loss_of_all_held_out_samples_however_they_are_batched() -> None:
    torch.manual_seed(0)
    model = toy_model(dropout=0.5).train()
    whole = validation(ToyReader(held_out=10))(model)
    ids = range(1000, 1010)
    cut = Validation(
        lambda: [toy_batch(ids[:3]), toy_batch(ids[3:4]), toy_batch(ids[4:])],
        Precision.of("fp32", torch.device("cpu")), Ranks(),
    )(model)
    assert cut["val_loss"] == pytest.approx(whole["val_loss"], rel=1e-5)
    assert cut["val_trivial"] == pytest.approx(whole["val_trivial"], rel=1e-5)
    with torch.no_grad():
        assert whole["val_loss"] == pytest.approx(float(model.eval()(toy_batch(ids)).total()), rel=1e-5)
    assert whole["val_gain"] == pytest.approx(1 - whole["val_loss"] / whole["val_trivial"])


def test_it_is_the_same_every_time_and_leaves_the_mode_as_it_was() -> None:
    model = toy_model(dropout=0.5).train()
    check = validation(ToyReader())
    assert check(model) == check(model)
    assert model.training
