"""plan and mask preview, on real shards of fakes."""

from __future__ import annotations

import pytest
from PIL import Image

from mmask.cli import main as cli
from mmask.cli.session import Session
from mmask.plugin.host import Host
from mmask.testing import fakes, tiny_shards


@pytest.fixture
def mm(capsys):
    def run(*args):
        session = Session()
        session._given = Host([fakes.entry()], environ={}, notify=session.notify)
        code = cli.run(list(args), session)
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_plan_shows_the_arithmetic_of_the_run(mm, tmp_path):
    url = tiny_shards(tmp_path, shards=2, samples=10)
    code, out, err = mm("plan", "--recipe", "fakes-tiny", "--data", url, "optim.base_lr=1e-2", "--batch-size", "8")
    assert code == 0, err
    lines = {line.split("  ")[1].strip(): line for line in out.splitlines() if line.startswith("  ")}
    assert "20 in one pass" in lines["samples"]
    assert "10 = 4 epochs × 20 / 8" in lines["steps"]
    assert "0.0003125 = 0.01 × 8 / 256" in lines["learning rate"]
    assert "4 of x a sample" in lines["tokens"]
    assert "hides 50.0%" in lines["plan mask"]
    assert "40 parameters" in lines["networks.encoder"]  # 4 x 8 + 8
    assert "2 shards, 20 samples" in lines["stored"]
    assert "(command line --batch-size)" in out
    assert "about" in lines["in all"]


def test_plan_works_without_data(mm):
    code, out, _ = mm("plan", "--recipe", "fakes-tiny", "--data", "/nowhere/x.tar", "--samples", "100")
    assert code == 0
    assert "50 = 4 epochs × 100 / 8" in out
    assert "activations  unknown" in out


@pytest.mark.parametrize(("flags", "said"), [
    (["--ranks", "3"], "3 ranks do not divide a batch of 8"),
    (["--ranks", "2", "--workers", "1", "data.streams=3"], "shards are read 2 times"),
    (["--ranks", "4"], "= 4 ranks × 2"),
])
def test_plan_tells_how_shards_fit(mm, tmp_path, flags, said):
    code, out, _ = mm("plan", "--recipe", "fakes-tiny", "--data", tiny_shards(tmp_path), *flags)
    assert code == 0
    assert said in out


def test_preview_writes_a_picture_of_the_plans_that_train_would_draw(mm, tmp_path):
    url, out = tiny_shards(tmp_path), tmp_path / "m.png"
    code, text, err = mm("mask", "preview", "--recipe", "fakes-tiny", "--data", url, "--out", str(out))
    assert code == 0, err
    assert "plan mask hides 50.0%" in text
    first = Image.open(out)
    assert first.size == (4, 8)
    assert sorted(set(first.tobytes())) == [0, 255]
    assert sum(value == 0 for value in first.tobytes()) == 8 * 2 * 3
    mm("mask", "preview", "--recipe", "fakes-tiny", "--data", url, "--out", str(tmp_path / "n.png"), "--visit", "1")
    assert Image.open(tmp_path / "n.png").tobytes() != first.tobytes()


def test_preview_of_a_recipe_without_one_says_so(mm, tmp_path):
    code, _, err = mm("mask", "preview", "--recipe", "fakes-tiny", "--out", str(tmp_path / "x.png"), "preview=none")
    assert code == 2
    assert "has no preview" in err
