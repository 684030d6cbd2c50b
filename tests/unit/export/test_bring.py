"""Import: another codebase's checkpoint as a run."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmask.api import Component, hookimpl
from mmask.errors import CheckpointError, UnknownNameError, UsageError
from mmask.export.bring import bring
from mmask.plugin.entries import Entry
from mmask.plugin.host import Host
from mmask.recipe.resolve import resolve
from mmask.testing import fakes
from mmask.testing.shards import tiny_shards
from mmask.train.job import Job
from mmask.train.revive import load_model
from mmask.train.run import train
from mmask.train.verify import verify

_FORMAT = '''
from safetensors.torch import load_file


class Theirs:
    """Names with a prefix."""

    def read(self, path):
        """The file."""
        return load_file(path)

    def load(self, model, weights):
        """What has our names."""
        own = {name.removeprefix("their."): value for name, value in weights.items()}
        done = model.load_state_dict(own, strict=False)
        yield from (f"unexpected: {name}" for name in done.unexpected_keys)
'''


class Manifest:
    @hookimpl
    def mmask_components(self):
        return [Component("weights", "theirs", "format_for_tests:Theirs", "a test")]


@pytest.fixture
def host(tmp_path, monkeypatch):
    (tmp_path / "format_for_tests.py").write_text(_FORMAT)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Host([fakes.entry(), Entry("theirs", Manifest(), "mmask-theirs", "0.0")], environ={})
    sys.modules.pop("format_for_tests", None)


@pytest.fixture
def recipe(host, tmp_path):
    return resolve(
        host, recipe="fakes-tiny", overrides=["schedule.steps=3", "train.device=cpu"],
        flags={"data.train": ("--data", [{"url": tiny_shards(tmp_path / "data")}])},
    )


@pytest.fixture
def weights(host, recipe, tmp_path):
    """A file of all tensors of a model, seen elsewhere."""
    train(Job(recipe, host, tmp_path / "elsewhere"))
    state = load_model(tmp_path / "elsewhere", host).state_dict()
    save_file({f"their.{name}": value + 1 for name, value in state.items()}, tmp_path / "file.safetensors")
    return tmp_path / "file.safetensors"


def test_the_run_has_the_files_weights_and_goes_on_at_step_one(host, recipe, weights, tmp_path):
    out = tmp_path / "run"
    lines = list(bring(weights, "theirs", recipe, host, out))
    state = load_model(out, host).state_dict()
    given = load_file(weights)
    assert all(torch.equal(value, given[f"their.{name}"]) for name, value in state.items())
    assert f"  loaded {len(state)} of {len(state)} tensors of fakes-tiny" in lines
    again = resolve(host, config=out)
    result = train(Job(again, host, out, resume=True))
    assert (result.outcome, result.step) == ("done", 3)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert max(row["step"] for row in rows) == 3
    assert verify(out, host, around=20, everything=True, tell=lambda line: None).first == 0
    trained = load_model(out, host).state_dict()
    assert not all(torch.equal(trained[name], value) for name, value in state.items())


def test_a_new_run_starts_from_it(host, recipe, weights, tmp_path):
    list(bring(weights, "theirs", recipe, host, tmp_path / "run"))
    train(Job(recipe, host, tmp_path / "next", init=(str(tmp_path / "run"),), stop_after=0))
    ours, theirs = (load_model(tmp_path / name, host).state_dict() for name in ("next", "run"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_the_file_lacks_and_has_too_much_is_said(host, recipe, weights, tmp_path):
    tensors = load_file(weights)
    lost = sorted(tensors)[0]
    tensors["their.other"] = tensors.pop(lost)
    save_file(tensors, weights)
    lines = list(bring(weights, "theirs", recipe, host, tmp_path / "run"))
    assert "  unexpected: other" in lines
    assert f"  as initialised 1: {lost.removeprefix('their.')}" in lines
    assert any(line.startswith(f"  loaded {len(tensors) - 1} of {len(tensors)} ") for line in lines)


def test_a_file_that_does_not_fit_writes_nothing(host, recipe, weights, tmp_path):
    save_file({"their.other": torch.ones(1)}, weights)
    out = tmp_path / "run"
    with pytest.raises(CheckpointError, match=r"nothing of .* fits recipe 'fakes-tiny'"):
        list(bring(weights, "theirs", recipe, host, out))
    with pytest.raises(UnknownNameError, match="did you mean 'theirs'"):
        list(bring(weights, "their", recipe, host, out))
    assert not out.exists()
    with pytest.raises(UsageError, match="is there already"):
        list(bring(weights, "theirs", recipe, host, tmp_path))
