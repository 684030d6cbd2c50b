"""Files that a recipe names: a run keeps them, and is built again from its own copies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mmask.api import Component, use
from mmask.errors import CheckpointError, RecipeError, UsageError
from mmask.export.flow import Wanted, export
from mmask.plugin.host import Host
from mmask.recipe.assets import find_assets
from mmask.recipe.resolve import resolve
from mmask.testing import fakes
from mmask.testing.shards import tiny_shards
from mmask.train.job import Job
from mmask.train.revive import load_model, load_resolved
from mmask.train.run import train

_PARTS = '''
import json
from pathlib import Path

import torch

from mmask.errors import RecipeError
from mmask.testing import fakes


class TableDecoder(fakes.FakeDecoder):
    """Reads a table when it is built."""

    def __init__(self, *, table: str, noise: float = 0.0) -> None:
        super().__init__(noise=noise)
        self.rows = Path(table).read_text().splitlines()

    @staticmethod
    def assets(*, table: str, **options):
        """The table."""
        if not Path(table).is_file():
            raise RecipeError(f"no table {table}")
        return {"table": (Path(table).name, Path(table).read_bytes())}


class RowsExporter:
    """The number of the table's rows, read from the recipe that an export holds. No option."""

    needs, extra, dtype, tolerance = (), "", "float64", 0.0

    def write(self, model, recipe, folder):
        """The path in the recipe, relative to the folder."""
        (folder / "where.json").write_text(json.dumps(recipe.data.decode["x"].options()["table"]))
        return "import json\\nrows = open(json.load(open('where.json'))).read().splitlines()\\n"

    def inputs(self, model, batch):
        """The batch."""
        return dict(batch.fields)

    def ours(self, model, inputs):
        """Two."""
        return {"rows": torch.tensor([2.0])}

    def theirs(self, loaded, inputs):
        """What the snippet read."""
        return {"rows": torch.tensor([float(len(loaded["rows"]))])}
'''


@pytest.fixture
def host(tmp_path, monkeypatch):
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "parts_for_assets.py").write_text(_PARTS)
    monkeypatch.syspath_prepend(str(folder))
    return Host([fakes.entry(
        "fakes", Component("decoder", "table", "parts_for_assets:TableDecoder", "reads a table"),
        Component("exporter", "rows", "parts_for_assets:RowsExporter", "counts"),
    )], environ={})


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "given" / "table.txt"
    path.parent.mkdir()
    path.write_text("one\ntwo\n")
    return path


def resolved(host, tmp_path, table, **more):
    if not (tmp_path / "shards").exists():
        tiny_shards(tmp_path / "shards")
    flags = {
        "data.train": ("--data", [{"url": str(tmp_path / "shards"), "name": "s"}]),
        "data.decode": ("", {"x": use("table", table=str(table)).model_dump()}),
        "schedule.steps": ("--steps", 2), "train.device": ("", "cpu"), "train.trackers": ("", []), **more,
    }
    return resolve(host, recipe="fakes-tiny", flags=flags)


def test_a_run_keeps_the_file_and_lives_without_the_original(host, tmp_path, table):
    train(Job(resolved(host, tmp_path, table), host, tmp_path / "run"))
    copies = [path for path in (tmp_path / "run" / "assets").rglob("*") if path.is_file()]
    assert [path.name for path in copies] == ["table.txt"]
    assert str(table) not in (tmp_path / "run" / "recipe.toml").read_text()
    shutil.rmtree(table.parent)
    moved = (tmp_path / "run").rename(tmp_path / "elsewhere")
    spec = load_resolved(moved, host).recipe.data.decode["x"]
    assert Path(spec.options()["table"]).is_relative_to(moved)
    load_model(moved, host)
    again = resolve(host, config=moved, flags={"schedule.steps": ("--steps", 3)})
    assert train(Job(again, host, moved, resume=True)).step == 3
    train(Job(resolve(host, config=moved), host, tmp_path / "second"))
    assert (tmp_path / "second" / "assets" / copies[0].relative_to(tmp_path / "run" / "assets")).is_file()


def test_the_same_file_elsewhere_is_the_same_run_and_another_file_is_not(host, tmp_path, table):
    first = resolved(host, tmp_path, table)
    train(Job(first, host, tmp_path / "run"))
    other = tmp_path / "table.txt"
    shutil.copyfile(table, other)
    train(Job(resolved(host, tmp_path, other), host, tmp_path / "run"))
    other.write_text("three\n")
    with pytest.raises(UsageError, match=r"data\.decode\.x\.table was asset:"):
        train(Job(resolved(host, tmp_path, other), host, tmp_path / "run"))


def test_a_copy_that_was_changed_or_lost_is_named(host, tmp_path, table):
    train(Job(resolved(host, tmp_path, table), host, tmp_path / "run"))
    copy = next((tmp_path / "run" / "assets").rglob("table.txt"))
    copy.write_text("other")
    with pytest.raises(CheckpointError, match=r"table\.txt is not the file that was kept"):
        load_resolved(tmp_path / "run", host)
    copy.unlink()
    with pytest.raises(CheckpointError, match=r"table\.txt is missing"):
        load_resolved(tmp_path / "run", host)


def test_an_export_has_the_file_too(host, tmp_path, table):
    train(Job(resolved(host, tmp_path, table), host, tmp_path / "run"))
    out = tmp_path / "export"
    export(tmp_path / "run", host, Wanted("rows", out))
    (copy,) = (path for path in (out / "assets").rglob("*") if path.is_file())
    assert copy.read_text() == "one\ntwo\n"


def test_a_file_that_is_missing_is_named_with_its_place(host, tmp_path, table):
    with pytest.raises(RecipeError, match=r"data\.decode\.x: no table"):
        find_assets(resolved(host, tmp_path, tmp_path / "nothing").recipe, host)
