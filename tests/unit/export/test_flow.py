"""Export: nothing is kept that cannot be loaded or does not agree."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from mmask.api import Component, hookimpl, use
from mmask.cli.main import run as mmask
from mmask.errors import ExportError, PluginError, UnknownNameError, UsageError
from mmask.export.flow import Wanted, export
from mmask.export.parity import check, compare
from mmask.plugin.entries import Entry
from mmask.plugin.host import Host
from mmask.recipe.resolve import resolve
from mmask.testing import fakes
from mmask.testing.shards import tiny_shards
from mmask.train.job import Job
from mmask.train.revive import load_model
from mmask.train.run import train

_FORMS = '''
import torch
from safetensors.torch import save_file


SNIPPET = """
from safetensors.torch import load_file
model = load_file("sum.safetensors")
print(sorted(model))
"""


class Sum:
    """The sum of the encoder's weights, as a tensor in a file. off: an error put into it."""

    needs, extra, dtype, tolerance = ("json",), "", "float64", 1e-9

    def __init__(self, *, off: float = 0.0) -> None:
        self.off = off

    def write(self, model, recipe, folder):
        """The file."""
        save_file({"sum": total(model) + self.off}, folder / "sum.safetensors")
        return SNIPPET

    def inputs(self, model, batch):
        """The batch."""
        return dict(batch.fields)

    def ours(self, model, inputs):
        """The sum."""
        return {"sum": total(model)}

    def theirs(self, loaded, inputs):
        """The one that was read."""
        return {"sum": loaded["model"]["sum"]}


class Broken(Sum):
    """Its snippet fails."""

    def write(self, model, recipe, folder):
        """Half of it."""
        super().write(model, recipe, folder)
        return "raise RuntimeError('no such network')\\n"


class Missing(Sum):
    """Needs what is not there."""

    needs, extra = ("json", "not_installed_anywhere"), "mmask-fakes[sum]"


def total(model):
    return sum(value.double().sum() for value in model.encoder.state_dict().values()).reshape(1)
'''


class Manifest:
    @hookimpl
    def mmask_components(self):
        return [
            Component("exporter", name, f"forms_for_tests:{name.title()}", "a test") for name in
            ("sum", "broken", "missing")
        ]


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forms")
    (folder / "forms_for_tests.py").write_text(_FORMS)
    sys.path.insert(0, str(folder))
    yield Host([fakes.entry(), Entry("forms", Manifest(), "mmask-forms", "0.0")], environ={})
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def run(host, tmp_path_factory):
    """Two steps with a moving average that lags behind."""
    root = tmp_path_factory.mktemp("runs")
    made = resolve(
        host, recipe="fakes-tiny", overrides=["schedule.steps=2", "train.ema=0.9", "optim.lr=0.1", "train.device=cpu"],
        flags={"data.train": ("--data", [{"url": tiny_shards(root)}])},
    )
    train(Job(made, host, root / "run"))
    return root / "run"


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_everything_lies_beside_the_weights(run, host, tmp_path):
    made = export(run, host, Wanted("sum", tmp_path / "out"))
    assert files(tmp_path / "out") == {"sum.safetensors", "load.py", "export.json"} == set(made.files)
    assert made.differences[0].absolute == 0.0 and made.step == 2
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert about["ema"] is True and about["differences"][0]["name"] == "sum"
    assert (tmp_path / "out" / "load.py").read_text() == made.snippet


def test_what_differs_is_not_kept_and_its_difference_is_told(run, host, tmp_path):
    with pytest.raises(ExportError, match=r"'sum' differs by 0\.25"):
        export(run, host, Wanted("sum", tmp_path / "out", {"off": 0.25}))
    assert list(tmp_path.iterdir()) == []
    kept = export(run, host, Wanted("sum", tmp_path / "out", {"off": 0.25}, tolerance=1e9))
    assert kept.differences[0].absolute == pytest.approx(0.25) and kept.printed == "['sum']"


def test_the_moving_average_is_exported_unless_the_weights_are_asked_for(run, host, tmp_path):
    from safetensors.torch import load_file

    sums = {}
    for ema in (True, False):
        export(run, host, Wanted("sum", tmp_path / "out", ema=ema))  # the second replaces the first
        sums[ema] = float(load_file(tmp_path / "out" / "sum.safetensors")["sum"])
        want = sum(v.double().sum() for v in load_model(run, host, ema=ema).encoder.state_dict().values())
        assert sums[ema] == float(want)
    assert sums[True] != sums[False]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_snippet_that_fails_is_shown_and_leaves_an_earlier_export(run, host, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "export.json").write_text("{}")
    with pytest.raises(ExportError, match="RuntimeError: no such network"):
        export(run, host, Wanted("broken", tmp_path / "out"))
    assert files(tmp_path) == {"out"} and files(tmp_path / "out") == {"export.json"}


def test_a_missing_package_names_the_extra(run, host, tmp_path):
    with pytest.raises(ExportError, match=r"not_installed_anywhere, which is not installed\n.*mmask-fakes\[sum\]"):
        export(run, host, Wanted("missing", tmp_path / "out"))


def test_folders_with_other_things_unknown_formats_and_options_are_refused(run, host, tmp_path):
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(UsageError, match="is no export"):
        export(run, host, Wanted("sum", tmp_path))
    with pytest.raises(UnknownNameError, match="did you mean 'safetensors'"):
        export(run, host, Wanted("safetensor", tmp_path / "out"))
    with pytest.raises(UnknownNameError, match="did you mean 'whole'"):
        export(run, host, Wanted("safetensors", tmp_path / "out", {"whol": True}))
    with pytest.raises(UsageError, match=r"no network 'generator'\n.*it has encoder"):
        export(run, host, Wanted("sum", tmp_path / "out", network="generator"))
    with pytest.raises(UsageError, match="is no run"):
        export(tmp_path, host, Wanted("sum", tmp_path / "out"))
    assert files(tmp_path) == {"mine.txt"}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_never_agree(bad):
    one = torch.ones(3)
    with pytest.raises(ExportError, match="differs by"):
        check(compare({"x": one}, {"x": torch.tensor([1.0, bad, 1.0])}), 1e30)
    with pytest.raises(ExportError, match="not finite"):
        compare({"x": one * bad}, {"x": one * bad})
    with pytest.raises(ExportError, match="all zero"):
        compare({"x": one * 0}, {"x": one * 0})
    with pytest.raises(ExportError, match=r"\(1, 3\), of the run \(3,\)"):
        compare({"x": one}, {"x": one[None]})
    with pytest.raises(ExportError, match=r"gives \['y'\]"):
        compare({"x": one}, {"y": one})


def test_an_exporter_without_its_verbs_is_refused_when_it_is_built(monkeypatch):
    class Claims:
        @hookimpl
        def mmask_components(self):
            return [Component("exporter", "lame", "collections:OrderedDict", "no exporter")]

    host = Host([Entry("lame", Claims(), "mmask-lame", "0.0")], environ={})
    with pytest.raises(PluginError, match="without dtype, extra, inputs, needs, ours, theirs, tolerance, write"):
        host.build("exporter", use("lame"))


def test_the_command_says_that_a_folder_is_no_run(tmp_path, capsys):
    assert mmask(["export", str(tmp_path), "--format", "safetensors", "--out", str(tmp_path / "o")]) == 2
    assert "is no run" in capsys.readouterr().err
