"""The validation loss is that of one pass under fixed plans, and changes nothing of the model."""

from __future__ import annotations

import pytest
import torch

from mmask.testing.toy import ToyLoss, ToyReader, toy_batch, toy_model
from mmask.train.precision import Precision
from mmask.train.ranks import Ranks
from mmask.train.validate import Validation
from mmask.types import Prediction, Share, Target


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


class Telling(ToyLoss):
    """A loss that tells the share of places whose first value it has the sign of."""

    def metrics(self, prediction: Prediction, target: Target) -> dict[str, Share]:
        asked = target.value[:, 0] > 0
        return {"signs": Share(((prediction.value[:, 0] > 0) & asked).sum(), asked.sum()), "none": Share(0.0, 0.0)}


def test_metrics_are_quotients_of_the_sums_over_all_samples() -> None:
    torch.manual_seed(0)
    model = toy_model()
    model.objectives["vectors"].loss = Telling()
    whole = validation(ToyReader(held_out=10))(model)
    ids, cpu = range(1000, 1010), Precision.of("fp32", torch.device("cpu"))
    cut = Validation(lambda: [toy_batch(ids[:1]), toy_batch(ids[1:])], cpu, Ranks())(model)
    assert 0 < whole["val_vectors_signs"] < 1
    assert cut["val_vectors_signs"] == pytest.approx(whole["val_vectors_signs"])
    assert "val_vectors_none" not in whole


def test_it_is_the_same_every_time_and_leaves_the_mode_as_it_was() -> None:
    model = toy_model(dropout=0.5).train()
    check = validation(ToyReader())
    assert check(model) == check(model)
    assert model.training
