"""The run folder: names, the cut of a ledger, and what may change when a run goes on."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from mmask.errors import CheckpointError, UsageError
from mmask.train.again import check_resume, check_same
from mmask.train.cadence import Cadence
from mmask.train.folder import RunFolder, cut_files, cut_ledger, default_out, writing


def test_a_run_without_a_name_gets_the_first_free_number(tmp_path: Path) -> None:
    (tmp_path / "mae-1").mkdir()
    assert default_out("mae", tmp_path) == tmp_path / "mae-2"


def test_a_ledger_keeps_what_lies_before_the_position_and_drops_half_lines(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    lines = [json.dumps({"key": k, "position": p}) for k, p in (("a", -1), ("b", 7), ("c", 8), ("d", 3))]
    path.write_text("\n".join(lines) + '\n{"key": "e", "pos')
    cut_ledger(path, 8)
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "b", "d"]


def test_every_start_is_written_down(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_env(step=0)
    folder.write_env(step=5)
    assert [start["step"] for start in folder.starts()] == [0, 5]


def test_how_a_run_is_carried_out_may_change_and_what_it_computes_may_not(tmp_path: Path) -> None:
    assert check_same(tmp_path, {"data.workers": (1, 2), "train.save_every": (1, 2)}) == []
    with pytest.raises(UsageError, match=r"optim\.lr was 1, is 2"):
        check_same(tmp_path, {"optim.lr": (1, 2), "data.workers": (1, 2)})
    assert check_resume(tmp_path, {"optim.lr": (1, 2)}) == ["optim.lr was 1, is 2"]
    for key in ("mask.ratio", "data.train", "train.seed", "tokenize.image.size", "data.batch_size"):
        with pytest.raises(UsageError, match="other samples or another order"):
            check_resume(tmp_path, {key: (1, 2)})


def test_rows_do_not_depend_on_where_a_run_was_interrupted() -> None:
    cadence = Cadence(steps=25, log=10, save=7, val=8)
    assert [s for s in range(1, 26) if cadence.logs(s)] == [1, 8, 10, 16, 20, 24, 25]
    assert [s for s in range(1, 26) if cadence.saves(s)] == [7, 14, 21, 25]
    assert not Cadence(steps=25, log=10, save=7).validates(25)


def test_a_folder_that_cannot_be_written_ends_a_run_in_words(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be written: No such file"), writing(tmp_path / "run"):
        (tmp_path / "run" / "stamps.u64").open("ab")
    with pytest.raises(CheckpointError, match="No space left"), writing(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileNotFoundError), writing(tmp_path / "run"):
        (tmp_path / "elsewhere").open()


def test_what_a_ledger_says_of_held_out_samples_stays(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    told = ((0, 3), (-1, 50), (0, 60), (-1, -1))
    lines = [f'{{"epoch": {epoch}, "position": {position}}}' for epoch, position in told]
    path.write_text("".join(line + "\n" for line in lines))
    cut_ledger(path, 10)
    assert path.read_text().splitlines() == [lines[0], lines[1], lines[3]]


def test_pictures_and_dumps_of_steps_that_are_done_again_go(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    pictures = ("step-000000.png", "step-000004.png", "step-000004.webp", "step-000006.png", "step-1000000.png")
    dumps = ("step-00000003-rank0.json", "step-00000004-rank1.json")
    for place, names in ((folder.figures, (*pictures, "mine.png")), (tmp_path / "nonfinite", dumps)):
        place.mkdir()
        for name in names:
            (place / name).touch()
    cut_files(folder, 4)
    assert sorted(path.name for path in folder.figures.iterdir()) == ["mine.png", *pictures[:3]]
    assert [path.name for path in (tmp_path / "nonfinite").iterdir()] == [dumps[0]]
