"""The ``mmask data`` commands, as a user types them."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mmask.cli import main
from mmask.cli.data_pack import best_packer, packer_options, shard_size_of
from mmask.errors import MmaskError, UsageError


def mmask(*words: str | Path) -> Result:
    """Run a command; errors of ours stay exceptions on the result."""
    return CliRunner().invoke(main.cli, [str(word) for word in words], prog_name="mmask")


def exit_code(*words: str | Path) -> int:
    """The code that the shell would see."""
    return main.run([str(word) for word in words])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two class folders of 30 pictures, one of them damaged."""
    rng = np.random.default_rng(0)
    for number in range(60):
        folder = tmp_path / "photos" / ("cat", "dog")[number // 30]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (int(rng.integers(20, 60)), int(rng.integers(20, 60)), 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.{('jpg', 'png')[number % 2]}")
    (tmp_path / "photos" / "cat" / "004.jpg").write_bytes(b"\xff\xd8\xff damaged")
    return tmp_path / "photos"


def test_pack_check_inspect_and_index_follow_each_other(photos: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    done = mmask("data", "pack", photos, "--out", shards, "--shard-size", "20", "--val-fraction", "0.2", "--jobs", "2")
    assert done.exit_code == 0, done.output
    assert "not packed: 1 of 60 samples" in done.output
    report = [json.loads(line) for line in (shards / "pack-failed.jsonl").read_text().splitlines()]
    assert [(line["key"], "ff d8 ff 20" in line["reason"]) for line in report] == [("cat/004", True)]
    assert json.loads((shards / "classes.json").read_text()) == ["cat", "dog"]
    assert {path.name for path in shards.glob("*.mmidx")} == {f"{path.name}.mmidx" for path in shards.glob("*.tar")}
    assert list(shards.glob("val-*.tar"))

    checked = mmask("data", "check", shards, "--ranks", "2", "--workers", "1", "--batch-size", "16")
    assert checked.exit_code == 0, checked.output
    assert "59 samples" in checked.output

    sheet = tmp_path / "sheets" / "contact.png"
    seen = mmask("data", "inspect", shards, "--out", sheet, "-n", "12")
    assert seen.exit_code == 0, seen.output
    assert "JPEG" in seen.output
    assert "PNG" in seen.output
    assert Image.open(sheet).size[0] > 400

    again = mmask("data", "index", shards, "--jobs", "2")
    assert again.exit_code == 0
    assert again.output.count("fresh") == len(list(shards.glob("*.tar")))
    column = mmask("data", "index", f"{shards}/train-*.tar", "--column", "label=cls")
    assert "built" in column.output


def test_packing_twice_writes_nothing_new_and_another_set_is_refused(photos: Path, tmp_path: Path) -> None:
    command = ("data", "pack", photos, "--out", tmp_path / "s", "--shard-size", "20")
    assert mmask(*command).exit_code == 0
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "s").glob("*.tar")}
    assert mmask(*command).exit_code == 0
    assert before == {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in (tmp_path / "s").glob("*.tar")}
    assert exit_code(*command, "--seed", "1") == 5


def test_packer_options_reach_the_packer(photos: Path, tmp_path: Path) -> None:
    done = mmask("data", "pack", photos, "--out", tmp_path / "s", "--resize", "16", "--quality=60", "--format", "webp")
    assert done.exit_code == 0, done.output
    with tarfile.open(next((tmp_path / "s").glob("*.tar"))) as tar:
        names = tar.getnames()
        stored = tar.extractfile(next(member for member in tar if member.name.endswith(".webp")))
        assert stored is not None
        assert min(Image.open(stored).size) == 16
    assert sum(name.endswith(".webp") for name in names) == 59
    failed = mmask("data", "pack", photos, "--out", tmp_path / "t", "--resizze", "16")
    assert isinstance(failed.exception, MmaskError)
    assert "did you mean 'resize'" in str(failed.exception)


def test_a_manifest_carries_labels_captions_and_splits(photos: Path, tmp_path: Path) -> None:
    lines = ["path,label,caption,split,source"]
    lines += [f"photos/dog/{n:03d}.{('jpg', 'png')[n % 2]},{n % 3},picture {n},{'val' if n > 55 else 'train'},web"
              for n in range(30, 60)]
    manifest = tmp_path / "all.csv"
    manifest.write_text("\n".join(lines))
    done = mmask("data", "pack", manifest, "--out", tmp_path / "s")
    assert done.exit_code == 0, done.output
    assert "val: 4 samples in 1 shards" in done.output
    with tarfile.open(tmp_path / "s" / "val-000000.tar") as tar:
        parts = {m.name.rsplit("/", 1)[1]: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    assert parts["057.txt"] == b"picture 57"
    assert parts["057.cls"] == b"0"
    assert json.loads(parts["057.json"]) == {"source": "web"}


def test_check_exits_with_five_when_something_will_fail(photos: Path, tmp_path: Path) -> None:
    shards = tmp_path / "s"
    mmask("data", "pack", photos, "--out", shards)
    tar = shards / "train-000000.tar"
    tar.write_bytes(tar.read_bytes()[:-9000])
    assert exit_code("data", "check", shards) == 5
    told = mmask("data", "check", shards)
    assert "fail  torn  train-000000.tar" in told.output


def test_class_sorted_shards_are_called_so(photos: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "sorted.tar", "w") as tar:
        for path in sorted(photos.rglob("*.*")):
            tar.add(path, f"{path.parent.name}{path.stem}{path.suffix}")
            label = tmp_path / "label"
            label.write_text(str(["cat", "dog"].index(path.parent.name)))
            tar.add(label, f"{path.parent.name}{path.stem}.cls")
    told = mmask("data", "check", tmp_path / "sorted.tar", "--shuffle", "10")
    assert told.exit_code == 0
    assert "label runs" in told.output
    assert "mmask data pack" in told.output


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("data", "check", "none-{0..3}.tar"), 5), (("data", "inspect", "none.tar"), 5),
        (("data", "pack", "none", "--out", "x"), 2), (("data", "pakc"), 2), (("data", "index", "none.tar"), 5),
        (("data", "pack", ".", "--out", "x", "--shard-size", "big"), 2),
    ],
)
def test_mistakes_have_a_code_and_no_traceback(
    words: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert exit_code(*words) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    assert said.err.startswith("mmask: ")


def test_sizes_and_options_are_read() -> None:
    assert shard_size_of("256MB") == (256_000_000, None)
    assert shard_size_of("1GiB") == (1 << 30, None)
    assert shard_size_of("5000")[1] == 5000
    assert packer_options(["--resize", "256", "--a-b=0.5", "c=x"]) == {"resize": 256, "a_b": 0.5, "c": "x"}
    for bad in ("", "0", "MB", "-5MB"):
        with pytest.raises(UsageError):
            shard_size_of(bad)
    with pytest.raises(UsageError, match="has no value"):
        packer_options(["--resize"])


def test_a_column_of_a_part_that_no_shard_has_is_said(tmp_path: Path) -> None:
    from mmask.testing import tiny_shards

    url = tiny_shards(tmp_path, parts=lambda number: {"cls": number % 3})
    done = mmask("data", "index", url, "--column", "label=clas")
    assert done.exit_code != 0
    said = str(done.exception)
    assert "no shard has the part 'clas', so the column 'label' holds nothing" in said
    assert "did you mean 'cls'" in said
    assert mmask("data", "index", url, "--column", "label=cls").exit_code == 0


def test_files_that_several_packers_take_are_named(tmp_path: Path) -> None:
    from types import SimpleNamespace

    (tmp_path / "films").mkdir()
    for name in ("a.mp4", "b.mp4", "c.txt"):
        (tmp_path / "films" / name).write_bytes(b"x")
    takes = {"one/sound": ("mp4", "wav"), "two/video": ("mp4",), "three/text": ("txt",)}
    host = SimpleNamespace(
        claims=lambda kind: [SimpleNamespace(qualified=name) for name in takes],
        target=lambda kind, name: SimpleNamespace(extensions=takes[name]),
    )
    with pytest.raises(UsageError, match="one/sound and two/video each take 2 of the files") as told:
        best_packer(SimpleNamespace(host=host), tmp_path / "films")  # type: ignore[arg-type]
    assert "--packer one/sound" in told.value.hint
