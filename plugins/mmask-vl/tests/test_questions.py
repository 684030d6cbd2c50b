"""Questions, statements about two pictures, and classes told by captions, from the files that a user has."""

from __future__ import annotations

import json

import pytest
import torch

from mmask.api import DataError, RecipeError, open_source
from mmask.testing import mmask
from mmask_vl.dataset import emoji_regions
from mmask_vl.questions import put_together
from mmask_vl.two_pictures import Both

SMALL = ["networks.encoder.width=32", "networks.encoder.depth=1", "networks.encoder.heads=2"]
URL = emoji_regions()["val"][0]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vl") / "run"
    assert mmask(
        "train", "--recipe", "uniter-tiny", "--steps", 1, "--out", folder, "--batch-size", 8, "--workers", 0,
        "--device", "cpu", "train.val_samples=8", *SMALL,
    ) == 0
    return folder


def pictures(count):
    source = open_source(URL)
    samples = [source.read(row) for row in range(count)]
    return [(one.id.key, json.loads(one.parts["json"])["caption"], one.parts["npz"]) for one in samples]


def table(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def summary(path):
    (result,) = json.loads(path.read_text())["results"]
    return result, {name: value["mean"] for name, value in result["summary"].items()}


def test_questions_with_scored_answers_are_fine_tuned_and_worth_what_they_score(run, tmp_path):
    known = pictures(24)
    rows = [
        {"picture": key, "question": "is it red ?" if number % 2 else "what is it ?",
         "answer": {"yes": 1.0, "maybe": 0.3} if number % 2 else "a thing"}
        for number, (key, _, _) in enumerate(known + known)
    ]
    file, out, found = table(tmp_path / "vqa.jsonl", rows), tmp_path / "vqa", tmp_path / "found.json"
    assert mmask("data", "questions", file, "--pictures", URL, "--out", out, "--shard-size", 30) == 0
    assert len(list(out.glob("*.tar"))) == 2
    first = open_source(str(out)).read(1)
    assert json.loads(first.parts["json"])["answer"]["maybe"] == 0.3 and first.parts["npz"] == known[1][2]
    assert mmask(
        "eval", "finetune", run, "--data", out, "--label", "answer", "--device", "cpu", "--out", found,
        "data.decode.text.field=question", "epochs=40", "warmup=1", "batch=8", "lr=1e-2",
    ) == 0
    result, numbers = summary(found)
    assert result["classes"] == ["a thing", "maybe", "yes"] and next(iter(numbers)) == "soft"
    assert numbers["soft"] == numbers["top1"] == 1.0  # what is asked says it all


def test_statements_about_two_pictures_see_both(run, tmp_path):
    known = pictures(20)
    rows = [
        {"statement": known[a][1], "left": known[a][0], "right": known[(a + 1) % 20][0], "label": bool(a % 2)}
        for a in range(20)
    ]
    out, found = tmp_path / "nlvr", tmp_path / "found.json"
    file = table(tmp_path / "nlvr.jsonl", rows)
    keys = ("--key", "left", "--key", "right")
    assert mmask("data", "questions", file, "--pictures", URL, "--out", out, *keys) == 0
    sample = open_source(str(out)).read(3)
    assert sample.parts["npz"] == known[3][2] and sample.parts["2.npz"] == known[4][2]
    words = ("eval", "two-pictures", run, "--data", out, "--device", "cpu", "--out", found, "epochs=1", "batch=8",
             "data.decode.text.field=statement")
    assert mmask(*words) == 3  # no second picture was decoded
    second = ("data.decode.second.use=regions", "data.decode.second.part=2.npz", "data.decode.second.name=second")
    assert mmask(*words, *second) == 0
    result, numbers = summary(found)
    assert result["classes"] == [False, True] and 0 <= numbers["top1"] <= 1


def test_both_turns_the_second_picture_into_the_first():
    from mmask.api import Batch

    class Seen(torch.nn.Module):
        def forward(self, batch):
            assert not any(name.startswith("second") for name in batch.fields) or "regions" in batch.fields
            return torch.stack([batch["regions"].sum(1), batch["text"].sum(1), batch["regions.length"]], 1).float()

    fields = {"text": torch.ones(2, 3), "regions": torch.ones(2, 4), "regions.length": torch.tensor([4, 4]),
              "second": 2 * torch.ones(2, 5), "second.length": torch.tensor([5, 5])}
    import numpy as np

    made = Both(Seen(), "regions", "second")(Batch(fields, np.zeros(2, np.uint64), np.zeros(2, np.int64)))
    assert made.tolist() == [[4.0, 3.0, 4.0, 10.0, 3.0, 5.0]] * 2
    del fields["second"]
    with pytest.raises(RecipeError, match=r"2\.npz"):
        Both(Seen(), "regions", "second")(Batch(fields, np.zeros(2, np.uint64), np.zeros(2, np.int64)))


def test_rows_that_are_none_and_pictures_that_are_not_there_are_named(tmp_path):
    for text, said in (("{", "line 1 is no JSON"), ('{"a": 1}', "does not say 'picture'"),
                       ('{"picture": "nowhere"}', "no picture 'nowhere'"), ("", "no rows")):
        (tmp_path / "rows.jsonl").write_text(text)
        with pytest.raises(DataError, match=said):
            put_together(tmp_path / "rows.jsonl", [URL], tmp_path / "out")


def test_classes_are_told_by_captions(run, tmp_path):
    found = tmp_path / "zero.json"
    assert mmask(
        "eval", "zeroshot", run, "--data", URL, "--label", "group", "--device", "cpu", "--limit", 40, "--out", found,
        'templates=["{}", "a picture of {}"]',
    ) == 0
    result, numbers = summary(found)
    about = result["seeds"][0]["about"]
    assert about["classes"] == sorted(about["classes"]) and len(about["classes"]) > 2
    assert set(numbers) >= {"top1", "balanced"}
    assert mmask("eval", "zeroshot", run, "--data", URL, "--label", "group", "templates=none") == 3


def test_a_picture_that_is_there_twice_is_not_chosen_in_silence(tmp_path):
    import shutil

    first = tmp_path / "first.tar"
    shutil.copy(URL.split("::")[0], first)
    shutil.copy(first, tmp_path / "second.tar")
    key = pictures(1)[0][0]
    rows = table(tmp_path / "rows.jsonl", [{"picture": key, "question": "?", "answer": "a"}])
    with pytest.raises(DataError, match="several pictures are called"):
        put_together(rows, [str(first), str(tmp_path / "second.tar")], tmp_path / "out")
    assert put_together(rows, [str(first)], tmp_path / "out") == 1
