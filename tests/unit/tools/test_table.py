"""What the table tools share: which number a column takes, and which of a page's tables is replaced."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def table():
    """The module ``table``, which lies in no package."""
    folder = str(Path(__file__).parents[3] / "tools/bench")
    sys.path.insert(0, folder)
    try:
        import table

        yield table
    finally:
        sys.path.remove(folder)


def test_a_page_has_several_tables(table, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "a\n<!-- table: begin -->\nold\n<!-- table: end -->\nb\n<!-- clip: begin -->\n<!-- clip: end -->\nc\n"
    )
    table.put("new", page, "clip")
    table.put("first", page)
    table.put("second", page, "clip")
    assert " ".join(page.read_text().split()) == (
        "a <!-- table: begin --> first <!-- table: end --> b <!-- clip: begin --> second <!-- clip: end --> c"
    )
    with pytest.raises(SystemExit, match="other: begin"):
        table.put("new", page, "other")


def test_a_column_takes_the_number_that_is_there(table):
    column = table.Column("retrieval", "R@1", metric="regions_r1|image_r1")
    assert column.of({"summary": {"image_r1": {"mean": 0.25}}}) == 25
    assert column.of({"summary": {"regions_r1": {"mean": 0.5}, "top1": {"mean": 1.0}}}) == 50


def test_columns_in_which_nothing_stands_are_left_out(table):
    heads, rows = table.filled(["arm", "loss", "tuning", "cost"], [["a", "", "0.0", "1.0"], ["b", "", "", "0.0"]])
    assert (heads, rows) == (["arm", "cost"], [["a", "1.0"], ["b", "0.0"]])
