"""metrics.jsonl holds plain JSON, and is cut back to a step whatever a crash left behind."""

from __future__ import annotations

import json
from pathlib import Path

from mmask.observe.metrics import MetricsFile, read_rows


def test_rows_come_back_and_what_is_not_finite_is_null(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.append({"step": 1, "loss": 0.5})
    file.append({"step": 2, "loss": float("nan"), "lr": float("inf")})
    assert read_rows(file.path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None, "lr": None}]


def test_rows_after_the_step_and_torn_lines_go(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for step in range(1, 6):
        file.append({"step": step})
    with file.path.open("a") as raw:
        raw.write('{"step": 6, "lo')
    assert file.cut(3) == 3
    file.append({"step": 4})
    assert [json.loads(line)["step"] for line in file.path.read_text().splitlines()] == [1, 2, 3, 4]


def test_a_last_line_without_its_end_is_mended(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.path.write_text('{"step": 1}')
    file.cut(1)
    file.append({"step": 2})
    assert [row["step"] for row in read_rows(file.path)] == [1, 2]


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "none") == []
    assert MetricsFile(tmp_path / "none").cut(5) == 0
