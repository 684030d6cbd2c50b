"""Certificates: the first steps of a recipe are found again, and what differs is said."""

from __future__ import annotations

import json

import pytest

from mmask.cli import main as cli
from mmask.train import certify

SMALL = ["data.batch_size=2", "networks.encoder.depth=1", "networks.encoder.width=48", "schedule.warmup_steps=1"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("certificate") / "new" / "mae-vit-tiny.json"
    assert cli.run(["certify", "mae-vit-tiny", "--write", str(path), "--steps", "3", *SMALL]) == 0
    return path


@pytest.fixture
def run(path, tmp_path, monkeypatch, capsys):
    """``mmask certify`` on the certificate with some values changed -> (code, stdout, stderr)."""
    monkeypatch.delenv("MMASK_TRACEBACK", raising=False)
    other = tmp_path / "mae-vit-tiny.json"
    monkeypatch.setattr(certify, "place", lambda name, host: other)

    def go(*words, **changes):
        other.write_text(json.dumps(json.loads(path.read_text()) | changes))
        code = cli.run(["certify", "mae-vit-tiny", *words])
        out = capsys.readouterr()
        return code, out.out, out.err

    return go


def test_the_same_steps_agree(run, path):
    given = json.loads(path.read_text())
    assert len(given["losses"]) == len(given["stamps"]) == 3 and given["tolerance"] >= certify.LEAST
    code, out, _ = run()
    assert code == 0 and "OK: mae-vit-tiny does here what it did for its author" in out


def test_another_loss_differs(run, path):
    losses = json.loads(path.read_text())["losses"]
    losses[2] *= 1.01
    code, out, _ = run(losses=losses)
    assert code == 1 and "DIFFERS: a loss is off by 9.9e-03" in out


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_no_number_agrees_with_nothing(run, path, loss):
    losses = json.loads(path.read_text())["losses"]
    assert run(losses=[*losses[:2], loss])[0] == 1


def test_other_samples_differ_whatever_the_losses(run, path):
    stamps = json.loads(path.read_text())["stamps"]
    code, out, _ = run(stamps=[stamps[0], "0" * 16, stamps[2]], tolerance=1e9)
    assert code == 1 and "DIFFERS: step 2 has other samples or plans" in out


@pytest.mark.parametrize(("words", "changes", "said"), [
    (["mask.ratio=0.5"], {}, "a certificate is taken as it is"),
    ([], {"losses": None}, "is no certificate"),
    ([], {"surprise": 1}, "is no certificate"),
])
def test_what_cannot_be_compared_is_said(run, words, changes, said):
    code, _, err = run(*words, **changes)
    assert code == 2 and said in err


def test_a_recipe_without_one_says_how_to_make_it(capsys):
    assert cli.run(["certify", "mae-vit-h"]) == 2
    assert "mmask certify mae-vit-h --write FILE" in capsys.readouterr().err
