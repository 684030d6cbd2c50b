"""One big batch, micro-batches and ranks are the same step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mmask.recipe.schema import OptimSection, TrainSection
from mmask.testing.toy import ToyReader, toy_model
from mmask.train.feed import Feed
from mmask.train.guard import Guard
from mmask.train.optim import make_optimizer
from mmask.train.precision import Precision
from mmask.train.ranks import Ranks
from mmask.train.seed import init_scope
from mmask.train.shard import whole
from mmask.train.step import Stepper
from mmask.train.wrap import wrap

STEPS = 4


def train(
    accumulate: int, ranks: Ranks, *, clip: float | None = 0.05, **section: Any
) -> tuple[list[float], list[int], torch.Tensor]:
    """Losses, stamps and final weights (their average, with ``ema``) of a few float64 steps over a global batch of 8.

    section: of the recipe's ``train``.
    """
    with init_scope(3):
        model = toy_model(seed=3).double().train()
    precision = Precision.of("fp64", torch.device("cpu"))
    options = TrainSection(**{"precision": "fp64", **section})
    wrapped, average = wrap(model, options, ranks, precision)
    stepper = Stepper(
        model, wrapped, make_optimizer(model, OptimSection(lr=1e-2), 1e-2), ranks, precision, Guard(Path("."), 0, 3), 3,
        accumulate, clip, () if average is None else (average.update,),
    )
    feed = Feed(ToyReader(rank=ranks.rank, world=ranks.world).train(0), model, precision, 0)
    outcomes = [stepper(feed.take(), step, 1e-2) for step in range(STEPS)]
    kept = model if average is None else average.average
    weights = torch.cat([whole(p.detach()).flatten() for p in kept.parameters()])
    return [o.loss for o in outcomes], [o.stamp for o in outcomes], weights


@pytest.mark.parametrize("accumulate", [2, 4, 8, 3])
def test_micro_batches_give_the_step_of_the_whole_batch(accumulate: int) -> None:
    want_losses, want_stamps, want = train(1, Ranks())
    losses, stamps, weights = train(accumulate, Ranks())
    assert stamps == want_stamps
    assert losses == pytest.approx(want_losses, abs=1e-12)
    assert (weights - want).abs().max() < 1e-6


def test_micro_batches_with_unequal_counts_would_differ_without_the_steps_denominator() -> None:
    """The law above is not empty: the micro-batches of this batch hide different numbers of places."""
    model = toy_model(seed=3)
    batch = next(iter(ToyReader().train(0)))
    plans = model.draw(batch)
    counts = {model.denominators(plans.rows(i, i + 2))["vectors"] for i in range(0, 8, 2)}
    assert len(counts) > 1


RANKED = """
import importlib.util, os, sys, torch
torch.set_num_threads(1)
from mmask.train.ranks import Ranks
spec = importlib.util.spec_from_file_location("law", {law!r})
law = importlib.util.module_from_spec(spec); spec.loader.exec_module(law)
ranks = Ranks.start("cpu")
found = {{}}
for name, (accumulate, section) in law.CASES.items():
    losses, stamps, weights = law.train(accumulate, ranks, **section)
    found[name] = {{"losses": losses, "stamps": [str(s) for s in stamps], "weights": weights}}
if ranks.first:
    torch.save(found, {out!r})
ranks.barrier()
sys.stdout.flush()
os._exit(0)  # torch 2.14 may abort in its own teardown, after everything is done and written
"""
CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "ddp": (1, {}),
    "ddp in micro-batches": (2, {}),
    "fsdp2": (1, {"parallel": "fsdp2"}),
    "fsdp2 in micro-batches": (2, {"parallel": "fsdp2"}),
    "fsdp2 and activations again": (1, {"parallel": "fsdp2", "checkpoint_activations": True}),
    "average under fsdp2": (1, {"parallel": "fsdp2", "ema": 0.5}),
}


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two ranks found, case by case."""
    folder = tmp_path_factory.mktemp("ranked")
    out, script = folder / "out.pt", folder / "ranked.py"
    script.write_text(RANKED.format(law=__file__, out=str(out)))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", str(script)],
        capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = torch.load(out, weights_only=True)
    return found


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_give_the_step_of_one(case: str, ranked: dict[str, Any]) -> None:
    losses, stamps, weights = train(1, Ranks(), ema=CASES[case][1].get("ema"))
    assert ranked[case]["stamps"] == [str(stamp) for stamp in stamps]
    assert ranked[case]["losses"] == pytest.approx(losses, abs=1e-12)
    assert (ranked[case]["weights"] - weights).abs().max() < 1e-6
