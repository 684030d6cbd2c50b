"""Binary cross entropy, and what losses tell beside their term."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import precision_score, recall_score, roc_auc_score
from torch.nn import functional as F

from mmask.errors import PlanError
from mmask.loss.binary import BinaryCrossEntropy
from mmask.loss.entropy import CrossEntropy
from mmask.types import Layout, Prediction, Scored, Target


def pair(logits, truth, weight=None, gate=None):
    scored = Scored(Layout(1, len(logits)), index=torch.arange(len(logits)), weight=weight)
    return Prediction(logits, scored), Target(truth, scored, weight=gate)


def test_it_is_torchs_mean_over_places():
    logits, truth = torch.randn(50).double(), (torch.rand(50) < 0.3).float()
    term = BinaryCrossEntropy()(*pair(logits, truth))
    assert term.count == 50
    assert torch.allclose(term.mean(), F.binary_cross_entropy_with_logits(logits, truth.double()))


def test_weights_weigh_and_a_gate_does_not_change_the_count():
    logits, truth = torch.zeros(3), torch.tensor([1.0, 0.0, 1.0])
    term = BinaryCrossEntropy()(*pair(logits, truth, torch.tensor([1.0, 0.0, 2.0]), torch.tensor([1.0, 1.0, 0.5])))
    assert term.count == 3.0
    assert float(term.total) == pytest.approx(2 * 0.6931472)


def test_nothing_scored_is_zero_and_still_reaches_the_parameters():
    logits = torch.zeros(0, requires_grad=True)
    said = pair(logits, torch.zeros(0))
    loss = BinaryCrossEntropy()
    loss(*said).mean().backward()
    assert logits.grad is not None
    assert all(float(share.count) == 0 for share in loss.metrics(*said).values())


def test_half_precision_is_summed_in_single():
    assert BinaryCrossEntropy()(*pair(torch.randn(4).bfloat16(), torch.ones(4))).total.dtype == torch.float32


def test_other_shapes_are_refused():
    with pytest.raises(PlanError, match="binary cross entropy takes"):
        BinaryCrossEntropy()(*pair(torch.randn(4, 2), torch.ones(4)))


def test_metrics_are_sklearns_ties_included():
    make = torch.Generator().manual_seed(0)
    logits = (torch.randn(400, generator=make) * 4).round() / 2 + 0.25
    truth = (torch.rand(400, generator=make) < torch.sigmoid(logits - 1)).float()
    shares = BinaryCrossEntropy().metrics(*pair(logits, truth))
    told = {name: float(share.total) / float(share.count) for name, share in shares.items()}
    said = (logits > 0).int()
    assert told["rate"] == pytest.approx(float(truth.mean()))
    assert told["accuracy"] == pytest.approx(float((said == truth).float().mean()))
    assert told["precision"] == pytest.approx(precision_score(truth, said))
    assert told["recall"] == pytest.approx(recall_score(truth, said))
    assert told["auc"] == pytest.approx(roc_auc_score(truth, logits))


def test_the_curve_of_one_class_alone_is_not_counted():
    told = BinaryCrossEntropy().metrics(*pair(torch.randn(5), torch.zeros(5)))
    assert float(told["auc"].count) == float(told["recall"].count) == 0.0


def test_accuracy_of_a_vocabulary():
    logits, ids = torch.eye(4)[[0, 1, 2, 2]], torch.tensor([0, 1, 2, 3])
    share = CrossEntropy().metrics(*pair(logits, ids))["accuracy"]
    assert (float(share.total), float(share.count)) == (3.0, 4.0)
