from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mmask.data.advice import Checked, Topology, advise
from mmask.data.share import Share
from mmask.errors import DataError


def shard(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def labelled(path: Path, labels: Sequence[int], sizes: Sequence[int] | None = None) -> Path:
    sizes = sizes or [10] * len(labels)
    members = [
        member for i, (label, size) in enumerate(zip(labels, sizes, strict=True))
        for member in ((f"{i:05d}.bin", b"x" * size), (f"{i:05d}.cls", str(label).encode()))
    ]
    return shard(path, members)


def kinds(found: Checked, level: str = "") -> set[str]:
    return {one.kind for one in found.advice if not level or one.level == level}


def one(tmp_path: Path, members: Sequence[tuple[str, bytes]]) -> Checked:
    return advise([str(shard(tmp_path / "a.tar", members))], Topology())


def whole(n: int = 8) -> list[tuple[str, bytes]]:
    return [(f"{i}.{part}", b"1") for i in range(n) for part in ("bin", "cls")]


def test_good_shards_have_no_findings(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 10, 400).tolist()
    sizes = np.random.default_rng(1).integers(1, 3000, 400).tolist()
    found = advise([str(labelled(tmp_path / "a.tar", labels, sizes))], Topology())
    assert found.advice == ()
    assert (found.shards, found.samples, found.fails) == (1, 400, False)


def test_a_truncated_tar_fails(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", [(f"{i}.bin", b"x" * 700) for i in range(9)])
    data = path.read_bytes()
    for size in (5700, 6000, 4 * 1536, 9 * 1536):  # in a member, in its padding, between two, before the end mark
        path.write_bytes(data[:size])
        found = advise([str(path)], Topology())
        assert kinds(found, "fail") == {"torn"}, size
    path.write_bytes(data)
    assert not advise([str(path)], Topology()).fails


def test_missing_and_empty_parts_fail(tmp_path: Path) -> None:
    half = one(tmp_path, [*whole(), ("9.bin", b"1")])
    assert kinds(half, "fail") == {"half"}
    empty = one(tmp_path, [*whole(), ("9.bin", b""), ("9.cls", b"1")])
    assert kinds(empty, "fail") == {"empty"}


def test_a_part_that_a_whole_shard_lacks_fails(tmp_path: Path) -> None:
    for name in "abc":
        shard(tmp_path / f"{name}.tar", whole() if name != "b" else [(f"{i}.bin", b"1") for i in range(8)])
    found = advise([str(tmp_path)], Topology())
    (finding,) = [one for one in found.advice if one.kind == "missing part"]
    assert finding.where == "b.tar"
    assert "'cls', which most" in finding.what


def test_parts_that_stand_for_each_other_are_not_missing(tmp_path: Path) -> None:
    members = [(f"{i:02d}.{part}", b"1") for i in range(40) for part in (("jpg", "png")[i % 3 == 0], "cls")]
    found = one(tmp_path, members)
    assert kinds(found) == {"mixed parts"}
    assert not found.fails
    broken = one(tmp_path, [*members, ("99.png", b"1"), ("98.cls", b"1")])
    lines = [advice.what for advice in broken.advice if advice.kind == "half"]
    assert "'99' has no 'cls'" in lines
    assert "'98' has no 'jpg'" in lines
    optional = one(tmp_path, [*whole(), ("0.txt", b"1"), ("1.txt", b"1")])
    assert not optional.fails


def test_duplicate_and_unsorted_keys_are_told(tmp_path: Path) -> None:
    twice = one(tmp_path, [*whole(), ("3.bin", b"2"), ("3.cls", b"2")])
    assert "duplicate" in kinds(twice, "warn")
    apart = one(tmp_path, [("a.bin", b"1"), ("b.bin", b"1"), ("a.cls", b"1"), ("b.cls", b"1")])
    assert "unsorted" in kinds(apart, "warn")
    assert not twice.fails
    assert not apart.fails


def test_shards_that_are_no_tars_fail_and_the_others_are_still_checked(tmp_path: Path) -> None:
    shard(tmp_path / "a.tar", whole())
    (tmp_path / "b.tar").write_bytes(b"\x1f\x8b" + b"0" * 600)
    found = advise([str(tmp_path)], Topology())
    assert kinds(found, "fail") == {"unreadable"}
    assert found.samples == 8
    with pytest.raises(DataError):
        advise([str(tmp_path / "none.tar")], Topology())


def test_sorted_labels_are_found_and_shuffled_ones_are_not(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(10), 60)
    ordered = advise([str(labelled(tmp_path / "a.tar", labels.tolist()))], Topology(shuffle=64))
    (finding,) = [one for one in ordered.advice if one.kind == "label runs"]
    assert "the longest run is 60" in finding.what
    for seed in range(5):
        mixed = np.random.default_rng(seed).permutation(labels).tolist()
        found = advise([str(labelled(tmp_path / f"m{seed}.tar", mixed))], Topology(shuffle=64))
        assert "label runs" not in kinds(found)


def test_half_sorted_labels_over_several_shards_are_found(tmp_path: Path) -> None:
    for number in range(4):  # each shard is shuffled, but holds its own classes
        labels = np.random.default_rng(number).integers(5 * number, 5 * number + 5, 200).tolist()
        labelled(tmp_path / f"{number}.tar", labels)
    assert "label runs" in kinds(advise([str(tmp_path)], Topology()))


def test_sorted_lengths_are_found(tmp_path: Path) -> None:
    sizes = np.random.default_rng(0).integers(1, 5000, 300)
    rising = labelled(tmp_path / "a.tar", [0] * 300, np.sort(sizes).tolist())
    assert "length runs" in kinds(advise([str(rising)], Topology()))
    random = labelled(tmp_path / "b.tar", [0] * 300, sizes.tolist())
    assert "length runs" not in kinds(advise([str(random)], Topology()))


def test_few_shards_few_samples_and_odd_batches(tmp_path: Path) -> None:
    path = str(shard(tmp_path / "a.tar", whole()))
    assert "few shards" in kinds(advise([path], Topology(ranks=2, workers=2)), "warn")
    assert "too few samples" in kinds(advise([path], Topology(ranks=4, workers=4)), "fail")
    assert "batch" in kinds(advise([path], Topology(ranks=4, batch=6)), "fail")
    assert "batch" in kinds(advise([path], Topology(batch=9)), "warn")


@pytest.mark.parametrize(
    ("ranks", "workers", "streams"),
    [(1, 1, 64), (2, 4, 64), (3, 2, 64), (6, 1, 64), (4, 3, 12), (5, 5, 7), (128, 1, 64)],
)
def test_amplification_is_what_the_loader_does(ranks: int, workers: int, streams: int) -> None:
    """Count the readers that each stream has when the loader's own rule deals the positions."""
    batch = ranks * workers * 4
    owners: dict[int, set[tuple[int, int]]] = {}
    for rank in range(ranks):
        for worker in range(workers):
            share = Share(batch, rank, ranks, 1, 0, workers=workers, worker=worker)
            for step in range(-(-streams * ranks * workers // batch) + 1):
                for position in share(step).tolist():
                    owners.setdefault(position % streams, set()).add((rank, worker))
    seen = np.mean([len(readers) for readers in owners.values()])
    assert Topology(ranks, workers, streams).amplification == seen


def test_the_advice_about_streams_works() -> None:
    from mmask.data.advice import _good_workers, _multiple

    for ranks, workers in ((3, 2), (2, 6), (5, 3), (7, 7)):
        topology = Topology(ranks, workers, 64)
        assert Topology(ranks, workers, _multiple(64, topology.readers)).amplification == 1
        better = Topology(ranks, _good_workers(topology), 64)
        assert better.amplification <= topology.amplification
