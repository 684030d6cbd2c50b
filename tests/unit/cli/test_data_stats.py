"""``mmask data stats`` on shards of fakes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmask.cli import main as cli
from mmask.cli.session import Session
from mmask.errors import DataError, UsageError
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


def values(count):
    return np.concatenate([np.sin(np.arange(16, dtype=np.float32) * (number + 1)) for number in range(count)])


def test_of_a_recipe_and_of_a_decoder_alone(mm, tmp_path):
    url = tiny_shards(tmp_path, shards=2, samples=10)
    wanted = values(20)
    for words in (("--recipe", "fakes-tiny"), ("--recipe", "fakes-tiny", "--workers", "2"),
                  ("--decoder", "fakes/fake"), ("--recipe", "fakes-tiny", "data.batch_size=4")):
        out = tmp_path / "stats.json"
        code, said, err = mm("data", "stats", url, *words, "--out", str(out))
        assert code == 0, err
        found = json.loads(out.read_text())
        (field,) = found["fields"].values()
        assert found["samples"] == field["samples"] == 20
        assert field["mean"] == pytest.approx(float(wanted.mean()), abs=1e-6)
        assert field["std"] == pytest.approx(float(wanted.std()), abs=1e-6)
        assert "values" in said
        assert found["data"] == [url]


def test_a_part_of_the_samples(mm, tmp_path):
    url = tiny_shards(tmp_path, shards=2, samples=10)
    code, _, err = mm("data", "stats", "--recipe", "fakes-tiny", "--data", url, "--limit", "5", "--out",
                      str(tmp_path / "s.json"))
    assert code == 0, err
    assert json.loads((tmp_path / "s.json").read_text())["samples"] == 5


def test_what_does_not_go_together(mm, tmp_path):
    url = tiny_shards(tmp_path, shards=1, samples=2)
    assert mm("data", "stats", url, "--decoder", "fakes/fake", "--recipe", "fakes-tiny")[0] == UsageError.exit_code
    assert mm("data", "stats", "--decoder", "fakes/fake")[0] == UsageError.exit_code
    code, _, err = mm("data", "stats", str(tmp_path / "no-{0..1}.tar"), "--decoder", "fakes/fake")
    assert code == DataError.exit_code, err
