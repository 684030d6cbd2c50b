"""One big batch, micro-batches and ranks are the same step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmask.recipe.schema import OptimSection
from mmask.testing.toy import ToyReader, toy_model
from mmask.train.feed import Feed
from mmask.train.guard import Guard
from mmask.train.optim import make_optimizer
from mmask.train.precision import Precision
from mmask.train.ranks import Ranks
from mmask.train.seed import init_scope
from mmask.train.step import Stepper

STEPS = 4


def train(accumulate: int, ranks: Ranks, *, clip: float | None = 0.05) -> tuple[list[float], list[int], torch.Tensor]:
    """Losses, stamps and final weights of a few float64 steps over a global batch of 8."""
    with init_scope(3):
        model = toy_model(seed=3).double().train()
    precision = Precision.of("fp64", torch.device("cpu"))
    section = OptimSection(lr=1e-2)
    wrapped = ranks.wrap(model, torch.device("cpu"))
    stepper = Stepper(
        model, wrapped, make_optimizer(model, section, 1e-2), ranks, precision, Guard(Path("."), 0, 3), 3,
        accumulate, clip,
    )
    feed = Feed(ToyReader(rank=ranks.rank, world=ranks.world).train(0), model, precision, 0)
    outcomes = [stepper(feed.take(), step, 1e-2) for step in range(STEPS)]
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    return [o.loss for o in outcomes], [o.stamp for o in outcomes], weights


@pytest.mark.parametrize("accumulate", [2, 4, 8, 3])
def test_micro_batches_give_the_step_of_the_whole_batch(accumulate: int) -> None:
    whole_losses, whole_stamps, whole = train(1, Ranks())
    losses, stamps, weights = train(accumulate, Ranks())
    assert stamps == whole_stamps
    assert losses == pytest.approx(whole_losses, abs=1e-12)
    assert (weights - whole).abs().max() < 1e-6


def test_micro_batches_with_unequal_counts_would_differ_without_the_steps_denominator() -> None:
    """The law above is not empty: the micro-batches of this batch hide different numbers of places."""
    model = toy_model(seed=3)
    batch = next(iter(ToyReader().train(0)))
    plans = model.draw(batch)
    counts = {model.denominators(plans.rows(i, i + 2))["vectors"] for i in range(0, 8, 2)}
    assert len(counts) > 1


RANKED = """
import os, sys, torch
sys.path.insert(0, {here!r})
torch.set_num_threads(1)
from mmask.train.ranks import Ranks
import importlib.util
spec = importlib.util.spec_from_file_location("law", {law!r})
law = importlib.util.module_from_spec(spec); spec.loader.exec_module(law)
ranks = Ranks.start("cpu")
losses, stamps, weights = law.train({accumulate}, ranks)
if ranks.first:
    torch.save({{"losses": losses, "stamps": [str(s) for s in stamps], "weights": weights}}, {out!r})
ranks.close()
sys.stdout.flush()
os._exit(0)  # torch 2.14 may abort in its own teardown, after everything is done and written
"""


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_ranks_give_the_step_of_one(accumulate: int, tmp_path: Path) -> None:
    out, script = tmp_path / "out.pt", tmp_path / "ranked.py"
    script.write_text(RANKED.format(here=str(tmp_path), law=__file__, accumulate=accumulate, out=str(out)))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", str(script)],
        capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = torch.load(out, weights_only=True)
    losses, stamps, weights = train(1, Ranks())
    assert found["stamps"] == [str(stamp) for stamp in stamps]
    assert found["losses"] == pytest.approx(losses, abs=1e-12)
    assert (found["weights"] - weights).abs().max() < 1e-6
