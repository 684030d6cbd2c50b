"""Patterns, stores, sidecars, filters, joins and folders."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from mmask.data.columns import Column
from mmask.data.index import SUFFIX
from mmask.data.sidecar import build_index, cached_path
from mmask.data.source import open_source, shard_findings
from mmask.data.store import expand, find_shards
from mmask.errors import DataError, IndexMissingError
from mmask.testing.shards import write_shards


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMASK_CACHE", str(tmp_path / "cache"))


def ids(url: str, **options: object) -> list[str]:
    return [str(sample.id) for sample in open_source(url, "s", **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.tar", ["a.tar"]),
        ("a{0..2}", ["a0", "a1", "a2"]),
        ("{008..011}", ["008", "009", "010", "011"]),
        ("{9..11}", ["9", "10", "11"]),
        ("{a,b}-{0..1}", ["a-0", "a-1", "b-0", "b-1"]),
        ("x{0..1,7}", ["x0", "x1", "x7"]),
    ],
)
def test_brace_patterns_expand(pattern: str, expected: list[str]) -> None:
    assert expand(pattern) == expected


@pytest.mark.parametrize("pattern", ["a{0..2", "a}", "{5..2}", "{0..99999999}"])
def test_wrong_braces_are_errors(pattern: str) -> None:
    with pytest.raises(DataError):
        expand(pattern)


def test_ids_do_not_depend_on_where_the_data_lies_or_how_it_is_named(tmp_path: Path) -> None:
    one = write_shards(tmp_path / "here", [2, 3])
    shutil.copytree(tmp_path / "here", tmp_path / "else" / "where")
    expected = ids(one)
    assert expected[2] == "s:t-001.tar:00000"
    assert ids(str(tmp_path / "else" / "where")) == expected
    assert ids(str(tmp_path / "else" / "where" / "t-*.tar")) == expected
    assert ids(str(tmp_path / "else" / "where" / "t-{000,001}.tar")) == expected
    assert ids(str(tmp_path / "else" / "where" / "t-001.tar")) == expected[2:]


def test_a_missing_shard_is_named_with_what_is_there(tmp_path: Path) -> None:
    write_shards(tmp_path, [1, 1])
    with pytest.raises(DataError, match=r"t-002\.tar' does not exist \(1 of 3") as caught:
        find_shards(str(tmp_path / "t-{000..002}.tar"))
    assert "t-000.tar" in caught.value.hint


def test_local_tars_are_indexed_once_and_again_when_they_change(tmp_path: Path) -> None:
    pattern = write_shards(tmp_path, [3])
    sidecar = tmp_path / ("t-000.tar" + SUFFIX)
    assert not sidecar.exists()
    open_source(pattern)
    first = sidecar.stat().st_mtime_ns
    open_source(pattern)
    assert sidecar.stat().st_mtime_ns == first
    time.sleep(0.01)
    write_shards(tmp_path, [5])
    assert len(open_source(pattern)) == 5
    assert not list(tmp_path.glob(".*tmp"))


def test_a_damaged_sidecar_is_made_anew(tmp_path: Path) -> None:
    pattern = write_shards(tmp_path, [3])
    open_source(pattern)
    (tmp_path / ("t-000.tar" + SUFFIX)).write_bytes(b"nonsense")
    assert len(open_source(pattern)) == 3


def test_a_folder_that_cannot_be_written_uses_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmask.data import sidecar

    pattern = write_shards(tmp_path / "ro", [3])
    url = str(tmp_path / "ro" / "t-000.tar")
    write = sidecar.write_aside

    def refuse(path: Path, data: bytes) -> None:
        if path.parent == tmp_path / "ro":
            raise PermissionError(13, "read-only")
        write(path, data)

    monkeypatch.setattr(sidecar, "write_aside", refuse)
    assert len(open_source(pattern)) == 3
    assert cached_path(url).exists()
    assert not os.path.exists(url + SUFFIX)
    monkeypatch.setattr(sidecar, "index_tar", lambda *_, **__: pytest.fail("indexed again"))
    assert len(open_source(pattern)) == 3


def test_indexing_many_shards_is_parallel_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    pattern = write_shards(tmp_path, [4] * 6)
    (tmp_path / "t-005.tar").write_bytes(b"broken" * 200)
    open_source(str(tmp_path / "t-000.tar"))
    told: list[str] = []
    built = build_index(pattern, jobs=2, progress=lambda one: told.append(one.state))
    assert [one.state for one in built] == ["fresh", "built", "built", "built", "built", "failed"]
    assert sorted(told) == sorted(one.state for one in built)
    assert "not a tar" in built[-1].reason
    assert [one.state for one in build_index(pattern, jobs=2)][:5] == ["fresh"] * 5


def test_filters_on_columns_choose_samples(tmp_path: Path) -> None:
    pattern = write_shards(tmp_path, [10, 4])
    source = open_source(pattern, filters=["width >= 103", "cls in 0,2"], columns=["width=json.width"])
    widths = [int(sample.parts["json"].split(b":")[1].strip(b" }")) for sample in source]
    assert widths == [103, 105, 106, 108, 109, 103]
    assert source.counts.tolist() == [5, 1]
    assert len(open_source(pattern, filters=["bin.size > 8"])) == 2
    assert len(open_source(pattern, filters=["cls != 1"])) == 7 + 3


@pytest.mark.parametrize(
    ("text", "say"),
    [
        ("with > 3", "did you mean 'width'"),
        ("width >", "is not a filter"),
        ("width == wide", "holds numbers"),
        ("width > 1000", "no samples"),
    ],
)
def test_a_filter_that_cannot_work_says_why(tmp_path: Path, text: str, say: str) -> None:
    pattern = write_shards(tmp_path, [4])
    with pytest.raises(DataError, match=say):
        open_source(pattern, filters=[text], columns=["width=json.width"])


def test_text_columns_and_missing_values(tmp_path: Path) -> None:
    def parts(shard: int, row: int) -> dict[str, object]:
        return {"json": {"lang": ["de", "en"][row % 2], **({"score": row / 2} if row != 2 else {})}}

    pattern = write_shards(tmp_path, [6], parts)
    columns = ["lang=json.lang", "score=json.score"]
    assert len(open_source(pattern, filters=["lang == de"], columns=columns)) == 3
    assert len(open_source(pattern, filters=["score >= 0"], columns=columns)) == 5  # a missing number passes nothing
    joined, _ = open_source(pattern, columns=columns).index(0)
    assert np.isnan(joined.column("score")[2])
    assert {one.kind for one in joined.findings} == {"column"}


@pytest.mark.parametrize("text", ["=x", "a=b=c", "", "a b"])
def test_a_wrong_column_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="is not a column"):
        Column.parse(text)


def test_shards_of_two_modalities_join_by_key(tmp_path: Path) -> None:
    left = write_shards(tmp_path / "rgb", [4, 3], lambda s, r: {"jpg": b"%d%d" % (s, r)})
    right = write_shards(tmp_path / "depth", [3, 5], lambda s, r: {"npy": b"d%d%d" % (s, r)})
    source = open_source(left, "s", join=[right])
    parts = [(str(sample.id), dict(sample.parts)) for sample in source]
    assert parts[0] == ("s:t-000.tar:00000", {"jpg": b"00", "npy": b"d00"})
    assert source.counts.tolist() == [3, 3]
    assert all({"jpg", "npy"} == set(one) for _, one in parts)
    found = shard_findings(source)
    assert {name: [one.kind for one in findings] for name, findings in found.items()} == {
        "t-000.tar": ["unjoined"],
        "t-001.tar": ["unjoined"],
    }


def test_joins_that_cannot_be_made_say_why(tmp_path: Path) -> None:
    left = write_shards(tmp_path / "a", [2, 2])
    with pytest.raises(DataError, match="names 1 shards"):
        open_source(left, join=[str(tmp_path / "a" / "t-000.tar")])
    same = write_shards(tmp_path / "b", [2, 2])
    with pytest.raises(DataError, match="needs different parts"):
        open_source(left, join=[same])


def test_a_folder_of_class_folders_is_a_source(tmp_path: Path) -> None:
    for name, number in (("cat", 3), ("ant", 2)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for row in range(number):
            (tmp_path / "set" / name / f"{row}.JPG").write_bytes(f"{name}{row}".encode())
    source = open_source(str(tmp_path / "set"), "s")
    found = [(sample.id.key, dict(sample.parts)) for sample in source]
    assert found[0] == ("ant/0", {"jpg": b"ant0", "cls": b"0"})
    assert found[-1] == ("cat/2", {"jpg": b"cat2", "cls": b"1"})
    assert len(open_source(str(tmp_path / "set"), filters=["cls == 1"])) == 3


def test_a_flat_folder_is_a_source_and_an_empty_one_an_error(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    with pytest.raises(DataError, match="no files"):
        open_source(str(tmp_path / "flat"))
    for row in range(3):
        (tmp_path / "flat" / f"{row}.png").write_bytes(b"p")
        (tmp_path / "flat" / f"{row}.txt").write_text(str(row))
    assert [dict(sample.parts) for sample in open_source(str(tmp_path / "flat"))][1] == {
        "png": b"p",
        "txt": b"1",
    }


def test_a_fsspec_store_needs_an_index_and_then_reads_the_same(tmp_path: Path) -> None:
    import fsspec

    pattern = write_shards(tmp_path, [3, 2])
    fs = fsspec.filesystem("memory")
    for number in range(2):
        fs.pipe_file(f"/bucket/t-{number:03d}.tar", (tmp_path / f"t-{number:03d}.tar").read_bytes())
    url = "memory://bucket/t-{000..001}.tar"
    try:
        with pytest.raises(IndexMissingError, match=r"mmask data index 'memory://bucket/t-000\.tar'"):
            open_source(url, "s")
        assert [one.state for one in build_index(url, jobs=2)] == ["built", "built"]
        assert fs.exists("/bucket/t-000.tar" + SUFFIX)
        theirs = [(str(one.id), dict(one.parts)) for one in open_source(url, "s")]
        assert theirs == [(str(one.id), dict(one.parts)) for one in open_source(pattern, "s")]
        assert len(open_source("memory://bucket/t-*.tar")) == 5
        fs.pipe_file("/bucket/t-000.tar", (tmp_path / "t-001.tar").read_bytes()[:-512])
        with pytest.raises(IndexMissingError):
            open_source(url, "s")
    finally:
        fs.rm("/bucket", recursive=True)


def test_pipes_are_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match="fsspec"):
        find_shards("pipe:curl -s https://host/t.tar")
