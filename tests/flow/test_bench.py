"""``mmask bench``: recipes beside each other, and beside another library that trains the same thing."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from mmask.api import Component
from mmask.cli import main as cli
from mmask.cli.session import Session
from mmask.plugin.host import Host
from mmask.testing import fakes
from mmask.testing.shards import tiny_shards


class FakePeer:
    """Writes nothing; trains a copy of the model with a loss that is ``off`` by so much."""

    needs, extra, dtype, tolerance, off = (), "", "float32", 1e-6, 0.0

    def write(self, model, recipe, folder):
        return ""

    def inputs(self, model, batch):
        return {}

    ours = theirs = inputs

    def peer(self, model, plans, folder):
        own = nn.Linear(1, 1)
        counts = model.denominators(plans)
        ours = float(model(plans.batch, plans).total(counts).detach())
        return own, lambda: (own(torch.ones(1, 1)) * 0).sum() + ours + self.off


class WrongPeer(FakePeer):
    off = 0.1


class NoPeer(FakePeer):
    peer = property()  # hasattr says no


@pytest.fixture
def bench(capsys, tmp_path, monkeypatch):
    """Run ``mmask bench`` with the fakes as the only plugin -> (code, stdout, stderr)."""
    monkeypatch.delenv("MMASK_TRACEBACK", raising=False)
    data = tiny_shards(tmp_path)

    def run(*args):
        at = f"{__name__}:"
        entry = fakes.entry(
            "fakes", Component("exporter", "right", at + "FakePeer", "agrees"),
            Component("exporter", "wrong", at + "WrongPeer", "does not"),
            Component("exporter", "none", at + "NoPeer", "offers none"),
        )
        session = Session()
        session._given = Host([entry], environ={}, notify=session.notify)
        words = ["bench", "fakes-tiny", "--data", data, "--rounds", "2", "--device", "cpu", *args]
        code = cli.run(words, session)
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_a_recipe_alone_says_memory_and_the_wait_for_data(bench):
    code, out, err = bench()
    assert code == 0, err
    assert re.search(r"peak memory +\d", out) and re.search(r"waiting for data +\d", out)


def test_two_recipes_take_turns(bench):
    code, out, err = bench("--vs", "fakes-tiny")
    assert code == 0, err
    assert re.search(r"fakes-tiny takes full steps \d+\.\d\d times as fast as fakes-tiny", out)
    assert "peak memory" not in out  # of two in one process it would be that of the larger


def test_a_library_that_agrees_is_timed_and_both_losses_are_shown(bench):
    code, out, err = bench("--vs", "right")
    assert code == 0, err
    ours, theirs = re.search(r"losses of the same batch (\S+) and (\S+)", out).groups()
    assert abs(float(ours) - float(theirs)) < 1e-4 and "right: Linear" in out


def test_a_library_that_computes_something_else_is_not_timed(bench):
    code, _, err = bench("--vs", "wrong")
    assert code != 0 and "on the same weights, batch and plan" in err


@pytest.mark.parametrize(("args", "said"), [
    (("--vs", "none"), "exporter 'none' offers no peer to be timed"),
    (("--vs", "nothing"), "no recipe named 'nothing'"),
    (("--vs", "right", "--precision", "fp16"), "a peer is timed in fp32, fp64, bf16, not in fp16"),
])
def test_what_cannot_be_timed_is_said(bench, args, said):
    code, _, err = bench(*args)
    assert code != 0 and said in err


@pytest.mark.parametrize(("recipe", "sizes"), [
    ("mae-vit-tiny", ["networks.encoder.depth=1", "objectives.pixels.head.depth=1"]),
    ("bert-tiny", ["networks.encoder.depth=1", "networks.encoder.width=32", "data.pack.window=64", "data.streams=2"]),
])
def test_transformers_has_the_same_loss_on_the_same_batch(recipe, sizes, capsys):
    words = ["bench", recipe, "--vs", "hf", "--rounds", "1", "--batch-size", "4", "--workers", "0", "--device", "cpu"]
    assert cli.run([*words, *sizes]) == 0, capsys.readouterr().err
    assert "losses of the same batch" in capsys.readouterr().out
