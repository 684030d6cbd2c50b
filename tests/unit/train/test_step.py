"""One step: precisions, averages, skipped steps, and what a fault leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mmask.errors import NonFiniteError, OutOfMemoryError
from mmask.recipe.schema import OptimSection
from mmask.testing.toy import ToyLoss, ToyReader, toy_model
from mmask.train.ema import Average
from mmask.train.feed import Feed
from mmask.train.guard import Guard, memory_guard
from mmask.train.optim import make_optimizer
from mmask.train.precision import Precision
from mmask.train.ranks import Ranks
from mmask.train.seed import init_scope
from mmask.train.step import Stepper
from mmask.types import Prediction, Share, Target

CPU = torch.device("cpu")


def parts(
    out: Path, *, precision: str = "fp32", budget: int = 0, spoil: frozenset[int] = frozenset(),
    dropout: float = 0.0, seed: int = 1,
) -> tuple[Stepper, Feed]:
    with init_scope(seed):
        model = toy_model(seed=seed, dropout=dropout)
    made = Precision.of(precision, CPU)
    made.prepare(model)
    model.train()
    stepper = Stepper(
        model, model, make_optimizer(model, OptimSection(lr=1e-2), 1e-2), Ranks(), made, Guard(out, budget, seed), seed
    )
    return stepper, Feed(ToyReader(spoil=spoil).train(0), model, made, 0)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "fp64"])
def test_the_loss_falls_in_every_precision(precision: str, tmp_path: Path) -> None:
    stepper, feed = parts(tmp_path, precision=precision)
    losses = [stepper(feed.take(), step, 1e-2).loss for step in range(40)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_dropout_is_a_function_of_seed_and_step_alone(tmp_path: Path) -> None:
    runs = []
    for junk in (0, 17):
        stepper, feed = parts(tmp_path, dropout=0.3)
        torch.rand(junk + 1)  # the generator's history must not matter
        runs.append([stepper(feed.take(), step, 1e-2).loss for step in range(4)])
    assert runs[0] == runs[1]


def test_a_step_that_is_not_finite_is_skipped_and_leaves_a_dump(tmp_path: Path) -> None:
    stepper, feed = parts(tmp_path, budget=1, spoil=frozenset({9}))
    average = Average.of(stepper.model, 0.5)
    stepper.averages = (average.update,)
    assert not stepper(feed.take(), 0, 1e-2).skipped
    before = [p.detach().clone() for p in stepper.model.parameters()]
    averaged = [p.detach().clone() for p in average.average.parameters()]
    assert stepper(feed.take(), 1, 1e-2).skipped
    assert all(torch.equal(a, b) for a, b in zip(before, stepper.model.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(averaged, average.average.parameters(), strict=True))
    dump = json.loads((tmp_path / "nonfinite" / "step-00000001-rank0.json").read_text())
    assert [sample["name"] for sample in dump["samples"]] == [f"toy:{i}" for i in range(8, 16)]
    assert dump["seed"] == 1
    assert len(dump["keep_idx"]["mask"]["x"]) == 8
    assert not stepper(feed.take(), 2, 1e-2).skipped


def test_beyond_the_budget_the_run_stops_and_says_where_to_look(tmp_path: Path) -> None:
    stepper, feed = parts(tmp_path, budget=1, spoil=frozenset({1, 9}))
    stepper(feed.take(), 0, 1e-2)
    with pytest.raises(NonFiniteError, match="nonfinite_budget of 1") as found:
        stepper(feed.take(), 1, 1e-2)
    assert str(tmp_path / "nonfinite") in found.value.hint


def test_an_average_starts_as_its_source_and_moves_by_its_decay() -> None:
    source = torch.nn.BatchNorm1d(2)
    average = Average.of(source, 0.9)
    with torch.no_grad():
        source.weight.fill_(3.0)
        source.running_mean.fill_(10.0)
        source.num_batches_tracked += 5
    average.update()
    twin = average.average
    assert twin.weight.tolist() == pytest.approx([1.2, 1.2])
    assert twin.running_mean.tolist() == pytest.approx([1.0, 1.0])
    assert int(twin.num_batches_tracked) == 5
    assert not twin.weight.requires_grad


def test_a_failed_allocation_becomes_numbers_and_advice() -> None:
    with pytest.raises(OutOfMemoryError, match="micro-batch of 8 samples") as found, memory_guard(16, 2, CPU):
        torch.empty(1 << 60)
    assert "optim.accumulate=4" in found.value.hint


def test_other_errors_pass_the_memory_guard() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory_guard(1, 1, CPU):
        raise RuntimeError("shape mismatch")


class Telling(ToyLoss):
    """A loss that tells how many of the positive values it has the sign of."""

    def metrics(self, prediction: Prediction, target: Target) -> dict[str, Any]:
        assert not torch.is_grad_enabled()
        right, asked = ((one.value > 0).flatten() for one in (prediction, target))
        right = right & asked
        return {"near": Share(right.sum(), asked.sum()), "plain": 2.5, "none": Share(0, 0)}


def test_metrics_are_those_of_the_whole_step_however_it_is_cut(tmp_path: Path) -> None:
    told, plain = [], []
    for cuts in (1, 2, 4):
        stepper, feed = parts(tmp_path, precision="fp64")
        stepper.accumulate = cuts
        plain.append(stepper(feed.take(), 0, 1e-2))
        stepper, feed = parts(tmp_path, precision="fp64")
        stepper.model.objectives["vectors"].loss = Telling()
        stepper.accumulate = cuts
        told.append(stepper(feed.take(), 0, 1e-2))
    assert [one.loss for one in told] == [one.loss for one in plain]
    assert plain[0].metrics == {}
    for one in told:
        assert set(one.metrics) == {"vectors_near", "vectors_plain"}
        assert one.metrics == pytest.approx(told[0].metrics)
    assert 0 < told[0].metrics["vectors_near"] < 1
    assert told[0].metrics["vectors_plain"] == 2.5
