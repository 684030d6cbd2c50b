from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mmask.data import pack as packing
from mmask.data.pack import pack, plan_shards, sample_parts
from mmask.data.rows import Row
from mmask.errors import DataError


@dataclass(frozen=True)
class Plain:
    """The file's bytes; ``bad`` in its name is unreadable."""

    times: int = 1

    def __call__(self, path: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
        if "bad" in path.name:
            raise DataError("no picture")
        return {"bin": path.name.encode() * self.times}


def rows(n: int = 50, split: str = "train") -> list[Row]:
    return [Row(Path(f"f{i}"), f"k{i:03d}", {"label": i * 5 // n}, split) for i in range(n)]


def contents(folder: Path) -> dict[str, list[tuple[str, bytes]]]:
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            found[path.name] = [(m.name, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]
    return found


def test_every_sample_is_written_once_and_not_in_class_order(tmp_path: Path) -> None:
    done = pack(plan_shards(rows(), Plain(), shard_count=20), Plain(), tmp_path)
    assert [shard.samples for shard in done] == [16, 17, 17]
    names = [name for members in contents(tmp_path).values() for name, _ in members]
    assert sorted(n for n in names if n.endswith(".bin")) == [f"k{i:03d}.bin" for i in range(50)]
    labels = [int(data) for members in contents(tmp_path).values() for name, data in members if name.endswith(".cls")]
    assert sum(a == b for a, b in pairwise(labels)) < 25  # sorted it would be 45


def test_bytes_depend_on_the_seed_and_on_nothing_else(tmp_path: Path) -> None:
    def shards(name: str, table: list[Row], seed: int, jobs: int) -> dict[str, bytes]:
        pack(plan_shards(table, Plain(), shard_count=9, seed=seed), Plain(), tmp_path / name, jobs=jobs)
        return {path.name: path.read_bytes() for path in sorted((tmp_path / name).glob("*.tar"))}

    first = shards("a", rows(), 0, 1)
    assert shards("b", rows(), 0, 2) == first
    assert shards("c", rows(), 1, 1) != first
    assert len(first) == 6


def test_shards_come_out_near_the_size_asked_for(tmp_path: Path) -> None:
    packer = Plain(times=2000)
    done = pack(plan_shards(rows(200), packer, shard_bytes=200_000), packer, tmp_path)
    assert len(done) > 3
    assert all(120_000 < shard.size < 260_000 for shard in done)


def test_unreadable_files_are_reported_and_the_rest_is_written(tmp_path: Path) -> None:
    table = [*rows(20), Row(Path("bad1"), "zz", {}, "train")]
    done = pack(plan_shards(table, Plain(), shard_count=7), Plain(), tmp_path)
    assert sum(shard.samples for shard in done) == 20
    assert [failure for shard in done for failure in shard.failed] == [["zz", "bad1", "DataError: no picture"]]


def test_an_interrupted_pack_goes_on_and_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    plans = plan_shards(rows(), Plain(), shard_count=10)
    pack(plans, Plain(), tmp_path / "whole")
    real, calls = packing.write_shard, []

    def dies(plan: Any, *rest: Any) -> Any:
        if len(calls) == 2:
            (tmp_path / "cut" / f"{plan.name}.tmp").write_bytes(b"half")
            raise KeyboardInterrupt
        calls.append(plan.name)
        return real(plan, *rest)

    monkeypatch.setattr(packing, "write_shard", dies)
    with pytest.raises(KeyboardInterrupt):
        pack(plans, Plain(), tmp_path / "cut")
    journal = tmp_path / "cut" / packing.JOURNAL
    journal.write_text(journal.read_text() + '{"name": "train-0000')  # the line torn by the crash
    written: list[str] = []
    monkeypatch.setattr(packing, "write_shard", lambda plan, *rest: (written.append(plan.name), real(plan, *rest))[1])
    pack(plans, Plain(), tmp_path / "cut")
    assert written == [plan.name for plan in plans[2:]]
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    written.clear()
    (tmp_path / "cut" / plans[1].name).write_bytes(b"changed")
    pack(plans, Plain(), tmp_path / "cut")
    assert written == [plans[1].name]
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_another_pack_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    pack(plan_shards(rows(), Plain(), shard_count=10), Plain(), tmp_path)
    with pytest.raises(DataError, match="other files or options"):
        pack(plan_shards(rows(49), Plain(), shard_count=10), Plain(), tmp_path)
    with pytest.raises(DataError, match="other files or options"):
        pack(plan_shards(rows(), Plain(times=2), shard_count=10), Plain(times=2), tmp_path)
    (tmp_path / packing.JOURNAL).unlink()
    with pytest.raises(DataError, match="already holds shards"):
        pack(plan_shards(rows(), Plain(), shard_count=10), Plain(), tmp_path)


def test_a_shard_that_does_not_read_back_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = packing._verify

    def flips_a_bit(path: Path, hashes: Mapping[str, bytes]) -> None:
        data = bytearray(path.read_bytes())
        data[512] ^= 1  # the first byte of the first member
        path.write_bytes(data)
        real(path, hashes)

    monkeypatch.setattr(packing, "_verify", flips_a_bit)
    with pytest.raises(DataError, match="does not read back"):
        pack(plan_shards(rows(4), Plain(), shard_count=10), Plain(), tmp_path)
    assert not list(tmp_path.glob("*.tar"))


def test_columns_become_parts() -> None:
    row = Row(Path("f"), "k", {"label": "owl", "caption": "a bird", "width": 7, "none": None, "raw": b"x"})
    parts = sample_parts(row, Plain(), ["cow", "owl"])
    assert parts == {"bin": b"f", "cls": b"1", "txt": b"a bird", "json": json.dumps({"width": 7}).encode()}
    with pytest.raises(DataError, match="longer than the 100 bytes"):
        sample_parts(Row(Path("f"), "k" * 98, {}), Plain())


def test_webdataset_reads_what_was_packed(tmp_path: Path) -> None:
    import webdataset

    pack(plan_shards(rows(), Plain(), shard_count=20), Plain(), tmp_path)
    shards = sorted(str(path) for path in tmp_path.glob("*.tar"))
    found = [(sample["__key__"], sample["cls"]) for sample in webdataset.WebDataset(shards, shardshuffle=False)]
    assert sorted(found) == [(f"k{i:03d}", str(i * 5 // 50).encode()) for i in range(50)]
