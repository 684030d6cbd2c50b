"""Reading tars without trusting them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from mmask.data.index import ShardIndex, dump_index, index_tar, load_index
from mmask.data.source import open_source
from mmask.data.store import LocalStore
from mmask.data.tar import scan, split_name
from mmask.errors import DataError
from mmask.testing.shards import write_shards


def write_tar(path: Path, members: list[tuple[str, bytes]], *, kind: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=kind) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def index_of(path: Path) -> ShardIndex:
    return index_tar(LocalStore(str(path)), path.name)


def kinds(index: ShardIndex) -> dict[str, int]:
    return {finding.kind: finding.count for finding in index.findings}


def samples(path: Path) -> dict[str, dict[str, bytes]]:
    return {sample.id.key: dict(sample.parts) for sample in open_source(str(path))}


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_format_gives_the_members_that_tarfile_gives(tmp_path: Path, kind: int) -> None:
    long = "deep/" * 18 + "x" * (60 if kind == tarfile.USTAR_FORMAT else 160)
    members = [("a.txt", b"1"), (f"{long}.jpg", b"2" * 700), ("mid/ü.bin", b""), ("z.txt", b"3" * 512)]
    path = write_tar(tmp_path / "t.tar", members, kind=kind)
    found = scan(LocalStore(str(path)), "t").members
    with tarfile.open(path) as tar:
        expected = [(one.name, one.offset_data, one.size) for one in tar.getmembers()]
    assert [tuple(one) for one in found] == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", ("a", "jpg")),
        ("d.x/a.seg.PNG", ("d.x/a", "seg.png")),
        ("./a.b", ("./a", "b")),
        ("a", None),
        ("__meta__.json", None),
        (".hidden", None),
        ("d/.hidden", None),
        ("__x__", None),
    ],
)
def test_names_are_split_as_webdataset_splits_them(name: str, expected: tuple[str, str] | None) -> None:
    assert split_name(name) == expected


def test_webdataset_reads_the_same_samples(tmp_path: Path) -> None:
    import webdataset as wds

    pattern = write_shards(tmp_path, [7, 5])
    theirs: list[dict[str, Any]] = list(wds.WebDataset(pattern, shardshuffle=False))
    ours = list(open_source(pattern))
    assert [one["__key__"] for one in theirs] == [one.id.key for one in ours]
    for one, two in zip(theirs, ours, strict=True):
        assert {name: data for name, data in one.items() if not name.startswith("__")} == dict(two.parts)


@pytest.mark.parametrize("cut", [700, 512 * 3 + 100, 512 * 4 + 7])
def test_of_a_truncated_tar_the_complete_members_are_used_and_the_tear_is_reported(tmp_path: Path, cut: int) -> None:
    path = write_tar(tmp_path / "t.tar", [(f"{i}.bin", bytes([i]) * 500) for i in range(4)])
    path.write_bytes(path.read_bytes()[:cut])
    index = index_of(path)
    whole = [i for i in range(4) if (i + 1) * 1024 - 12 <= cut]  # header and 500 bytes each
    assert index.keys.list() == [str(i) for i in whole]
    assert "torn" in kinds(index)
    torn = next(one for one in index.findings if one.kind == "torn")
    assert torn.offset == len(whole) * 1024
    assert torn.harmful


def test_a_tar_without_an_end_mark_may_be_cut_off(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "t.tar", [("a.bin", b"x" * 512), ("b.bin", b"y" * 512)])
    path.write_bytes(path.read_bytes()[: 4 * 512])
    assert kinds(index_of(path)) == {"unended": 1}
    assert len(index_of(path)) == 2


def test_garbage_in_the_middle_ends_the_shard_there(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "t.tar", [(f"{i}.bin", b"x" * 10) for i in range(4)])
    data = bytearray(path.read_bytes())
    data[2 * 1024 : 2 * 1024 + 100] = b"\xff" * 100
    path.write_bytes(data)
    index = index_of(path)
    assert index.keys.list() == ["0", "1"]
    assert kinds(index) == {"header": 1}


def test_parts_that_lie_apart_are_joined(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "t.tar", [("a.x", b"1"), ("b.x", b"2"), ("a.y", b"3"), ("b.y", b"4")])
    assert samples(path) == {"a": {"x": b"1", "y": b"3"}, "b": {"x": b"2", "y": b"4"}}
    assert kinds(index_of(path)) == {"unsorted": 2}


def test_a_key_that_comes_again_is_a_second_sample(tmp_path: Path) -> None:
    members = [("a.x", b"1"), ("a.y", b"2"), ("b.x", b"3"), ("b.y", b"4"), ("a.x", b"5"), ("a.y", b"6")]
    path = write_tar(tmp_path / "t.tar", members)
    found = samples(path)
    assert found["a"] == {"x": b"1", "y": b"2"}
    assert found["a#2"] == {"x": b"5", "y": b"6"}
    assert kinds(index_of(path)) == {"duplicate": 1}


def test_a_part_that_comes_twice_in_a_row_leaves_both_readable(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "t.tar", [("a.x", b"1"), ("a.x", b"2")])
    assert samples(path) == {"a": {"x": b"1"}, "a#2": {"x": b"2"}}


def test_half_samples_and_empty_parts_are_found(tmp_path: Path) -> None:
    members = [(f"{i}.{part}", b"1") for i in range(5) for part in ("x", "y") if (i, part) != (3, "y")]
    path = write_tar(tmp_path / "t.tar", [*members, ("5.x", b""), ("5.y", b"1")])
    index = index_of(path)
    assert kinds(index) == {"half": 1, "empty": 1}
    assert any("'3' has no 'y'" in one.detail for one in index.findings)
    assert samples(path)["3"] == {"x": b"1"}


def test_keys_that_look_like_paths_are_names_and_reported(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "t.tar", [("../../etc/x.txt", b"1"), ("/abs/y.txt", b"2")])
    assert set(samples(path)) == {"../../etc/x", "/abs/y"}
    assert kinds(index_of(path)) == {"path": 2}
    assert sorted(one.name for one in tmp_path.iterdir()) == ["t.tar", "t.tar.mmidx"]


def test_links_and_files_without_extension_are_skipped_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("l.txt", tarfile.SYMTYPE), ("d", tarfile.DIRTYPE), ("plain", tarfile.REGTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("a.txt")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"1"))
    assert samples(path) == {"a": {"txt": b"1"}}
    assert kinds(index_of(path)) == {"special": 1, "unnamed": 1}


@pytest.mark.parametrize(
    ("data", "say"),
    [
        (b"\x1f\x8b" + b"\0" * 600, "gzip"),
        (b"\x28\xb5\x2f\xfd" + b"\0" * 600, "zstd"),
        (b"hello" * 200, "not a tar"),
        (b"", "is empty"),
    ],
)
def test_what_is_no_plain_tar_is_refused_with_the_reason(tmp_path: Path, data: bytes, say: str) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(data)
    with pytest.raises(DataError, match=say):
        index_of(path)


def test_an_absurd_size_is_a_tear_and_not_an_allocation(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "t.tar", [("a.bin", b"x"), ("b.bin", b"y")])
    data = bytearray(path.read_bytes())
    data[1024 + 124 : 1024 + 136] = b"77777777777\0"
    header = data[1024:1536]
    header[148:156] = b" " * 8
    data[1024 + 148 : 1024 + 156] = f"{sum(header):06o}\0 ".encode()
    path.write_bytes(data)
    assert index_of(path).keys.list() == ["a"]
    assert kinds(index_of(path)) == {"torn": 1}


def test_an_index_survives_its_file_form(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "t.tar", [("ä.cls", b"3"), ("ä.x", b"11"), ("b.cls", b"5")])
    index = index_of(path)
    again = load_index(dump_index(index))
    assert again.keys.list() == index.keys.list() == ["ä", "b"]
    assert again.fields == index.fields
    assert (again.offsets == index.offsets).all()
    assert (again.sizes == index.sizes).all()
    assert again.column("cls").tolist() == [3, 5]
    assert (again.findings, again.stamp) == (index.findings, index.stamp)


@pytest.mark.parametrize("harm", ["cut", "bounds", "noise"])
def test_a_damaged_index_is_refused(tmp_path: Path, harm: str) -> None:
    from dataclasses import replace

    path = write_tar(tmp_path / "t.tar", [("a.x", b"1"), ("b.x", b"2")])
    index = index_of(path)
    data = dump_index(index)
    if harm == "cut":
        data = data[:-3]
    elif harm == "bounds":
        data = dump_index(replace(index, sizes=index.sizes + 100_000))
    else:
        data = b"\xff" * 8 + data[8:]
    with pytest.raises(DataError, match="index"):
        load_index(data)


def test_an_index_loads_in_milliseconds_and_is_small(tmp_path: Path) -> None:
    import time

    path = write_tar(tmp_path / "t.tar", [(f"{i:06d}.{part}", b"x") for i in range(5000) for part in ("jpg", "cls")])
    data = dump_index(index_of(path))
    begun = time.perf_counter()
    load_index(data)
    assert time.perf_counter() - begun < 0.02
    assert len(data) < 5000 * 40
