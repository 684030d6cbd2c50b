from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmask.data.rows import class_names, read_rows, safe_key, with_splits
from mmask.errors import DataError, UsageError
from mmask.types import Record


def files(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def test_class_folders_give_keys_and_labels_and_leave_other_files_alone(tmp_path: Path) -> None:
    rows = read_rows(files(tmp_path, "dog/b.JPG", "cat/a.jpg", "cat/notes.txt", ".cache/c.jpg", "cat/.d.jpg"), ["jpg"])
    assert [(row.key, row.columns) for row in rows] == [("cat/a", {"label": "cat"}), ("dog/b", {"label": "dog"})]
    assert class_names(rows) == ("cat", "dog")


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    rows = read_rows(files(tmp_path, "a.jpg", "b.jpg"), ["jpg"])
    assert [row.columns for row in rows] == [{}, {}]
    assert class_names(rows) == ()


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_the_three_manifests_say_the_same(tmp_path: Path, form: str) -> None:
    names = ("path", "label", "caption", "split", "group", "width")
    cells = (("in/x.jpg", "owl", 'an owl, "at night"', "val", "g", "7"), ("in/y.jpg", "cow", "", "", "", "9"))
    records = [dict(zip(names, row, strict=True)) for row in cells]
    manifest = tmp_path / f"m.{form}"
    if form == "jsonl":
        manifest.write_text("\n".join(map(json.dumps, records)) + "\n\n")
    else:
        mark = "," if form == "csv" else "\t"
        quoted = [['"' + str(v).replace('"', '""') + '"' for v in record.values()] for record in records]
        manifest.write_text("\n".join(mark.join(line) for line in [list(records[0]), *quoted]))
    first, second = read_rows(manifest, ["jpg"])
    assert (first.key, first.split, first.group) == ("in/x", "val", "g")
    assert first.path == tmp_path / "in/x.jpg"
    assert first.columns == {"label": "owl", "caption": "an owl, \"at night\"", "width": "7"}
    assert second.columns["caption"] == ""


def test_a_split_is_a_function_of_key_and_seed_and_groups_stay_together(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("\n".join(json.dumps({"path": f"{i}.jpg", "group": f"g{i // 4}"}) for i in range(800)))
    rows = with_splits(read_rows(manifest, []), 0.25, seed=1)
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(row.group, set()).add(row.split)
    assert all(len(side) == 1 for side in sides.values())
    share = sum(row.split == "val" for row in rows) / len(rows)
    assert 0.15 < share < 0.35
    half = with_splits(read_rows(manifest, [])[::2], 0.25, seed=1)
    full = {row.key: row.split for row in rows}
    assert all(full[row.key] == row.split for row in half)
    assert with_splits(rows, 0.9, seed=5) == rows  # a split that is given stays


def test_keys_are_safe_and_stay_different() -> None:
    assert safe_key("a b/c.d") == "a_b/c_d"
    long = [safe_key("x" * 200 + str(i)) for i in range(5)]
    assert len(set(long)) == 5
    assert max(map(len, long)) <= 88


def test_mistakes_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_rows(tmp_path / "none", ["jpg"])
    with pytest.raises(DataError, match="no file to pack"):
        read_rows(files(tmp_path / "empty", "a.txt"), ["jpg"])
    with pytest.raises(UsageError, match="neither a folder nor a manifest"):
        read_rows(tmp_path / "empty/a.txt", ["jpg"])
    with pytest.raises(DataError, match="belong to more than one file; 'a'"):
        read_rows(files(tmp_path / "twice", "a.jpg", "a.png"), ["jpg", "png"])
    manifest = tmp_path / "m.csv"
    manifest.write_text("paht,label\nx.jpg,1\n")
    with pytest.raises(DataError, match=r"m.csv:2: no column 'path'.*it has"):
        read_rows(manifest, ["jpg"])
    (tmp_path / "m.jsonl").write_text('{"path": "a"}\n[1]\n')
    with pytest.raises(DataError, match=r"m\.jsonl:2: not a JSON object but a list"):
        read_rows(tmp_path / "m.jsonl", ["jpg"])
    (tmp_path / "e.csv").write_text("path\n")
    with pytest.raises(DataError, match="no rows"):
        read_rows(tmp_path / "e.csv", ["jpg"])


def test_a_file_of_many_samples_gives_one_row_each(tmp_path: Path) -> None:
    def records(path: Path) -> list[Record]:
        return [Record((0, 1), {"key": "own", "split": "test"}), Record((1, 3), {"label": "b", "group": "g"})]

    root = files(tmp_path / "in", "cat/a.log")
    rows = read_rows(root, ["log"], records)
    assert [(row.key, row.span, row.split, row.group, row.columns) for row in rows] == [
        ("cat/a/00000001", (1, 3), "", "g", {"label": "b"}), ("own", (0, 1), "test", "", {"label": "cat"}),
    ]
    assert [row.key for row in read_rows(root / "cat/a.log", ["log"], records)] == ["a/00000001", "own"]
    assert [row.key for row in read_rows(root, ["log"], lambda path: [Record()])] == ["cat/a"]
    with pytest.raises(DataError, match="holds no sample"):
        read_rows(root / "cat/a.log", ["log"], lambda path: [])


def test_a_table_with_paths_stays_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,label\na.log,b\n")
    (tmp_path / "t.csv").write_text("text,label\nx,b\n")
    files(tmp_path, "a.log")
    found = {name: read_rows(tmp_path / name, ["csv"], lambda path: [Record((2, 3))]) for name in ("m.csv", "t.csv")}
    assert found["m.csv"][0].path == tmp_path / "a.log" and found["m.csv"][0].span is None
    assert found["t.csv"][0].path == tmp_path / "t.csv" and found["t.csv"][0].span == (2, 3)
