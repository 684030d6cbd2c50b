"""``mmask eval`` and the probes of training, on a recipe and an evaluator of a third party."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmask.api import Component, Labelled, Verdict
from mmask.cli import main as cli
from mmask.cli.session import Session
from mmask.plugin.host import Host
from mmask.testing import fakes
from mmask.testing.shards import tiny_shards

CLASSES = (10, 20, 30)


class Majority:
    """The most frequent class. bias: added to its score."""

    wants = "pooled"

    def __init__(self, *, bias: float = 0.0) -> None:
        self.bias = bias

    def __call__(self, fit: Labelled, test: Labelled, *, seed: int) -> Verdict:
        assert fit.features is not None and fit.features.shape[1] == 8
        sizes = torch.bincount(fit.labels, minlength=fit.classes).float() + self.bias
        return Verdict(sizes.expand(len(test), -1), {"bias": self.bias})


def parts(number: int, *, text: bool = False) -> dict[str, Any]:
    """A class in one channel of every place, under noise that is the same in every process."""
    rng = np.random.default_rng(number)
    kind = number % 3
    values = rng.normal(size=16).astype(np.float32)
    values[kind::4] += 1.5
    return {"npy": values, "cls": CLASSES[kind]} if not text else {"npy": values, "json": {"label": CLASSES[kind]}}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def mmask():
    """The command line with the fakes and a plugin's evaluator -> the exit code."""
    module: Any = types.ModuleType("majority_for_tests")
    module.Majority = Majority
    sys.modules[module.__name__] = module
    claim = Component("evaluator", "majority", "majority_for_tests:Majority", "the most frequent class")

    def run(*args: Any) -> int:
        return cli.run([str(arg) for arg in args], Session(Host([fakes.entry("fakes", claim)], environ={})))

    yield run
    del sys.modules[module.__name__]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """URLs: labelled train and test shards, the same with labels in JSON, and shards without labels."""
    folder = tmp_path_factory.mktemp("shards")
    return {
        "train": tiny_shards(folder, shards=2, samples=60, parts=parts),
        "test": tiny_shards(folder, shards=1, samples=60, parts=lambda n: parts(n + 500), prefix="test"),
        "json": tiny_shards(folder, shards=1, samples=60, parts=lambda n: parts(n, text=True), prefix="json"),
        "bare": tiny_shards(folder, shards=1, samples=20, prefix="bare"),
        "one": tiny_shards(folder, shards=1, samples=20, parts=lambda n: {**parts(n), "cls": 1}, prefix="one"),
    }


def arguments(out: Path, shards: dict[str, str], *more: Any) -> list[Any]:
    return ["train", "--recipe", "fakes-tiny", "--data", shards["train"], "--val", shards["test"], "--out", out,
            "--steps", 6, "--log-every", 2, "--save-every", 3, "--device", "cpu", *more]


@pytest.fixture(scope="module")
def run(mmask, shards, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "plain"
    assert mmask(*arguments(out, shards)) == 0
    return out


def told(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["results"]


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_an_evaluation_leaves_numbers_pictures_and_features(mmask, run, shards, capsys) -> None:
    args = ("eval", "linear", run, "--data", shards["train"], "--val", shards["test"], "--seeds", 3, "epochs=10")
    assert mmask(*args) == 0
    text = capsys.readouterr().out
    [found] = told(run / "eval" / "linear.json")
    assert f"{found['summary']['top1']['mean']:.1%} ± " in text
    assert found["summary"]["top1"]["mean"] > 0.6 > 1 / 3
    assert found["classes"] == list(CLASSES) and found["step"] == 6
    assert [row["fitted"] for row in found["seeds"]] == [120] * 3
    assert np.array(found["confusion"]).sum() == 3 * 60
    assert (run / "eval" / "linear.png").stat().st_size > 1000


def test_features_are_made_once_and_again_when_anything_they_depend_on_changes(mmask, run, shards, tmp_path) -> None:
    out, folder = tmp_path / "x.json", run / "features"

    def ask(*more: Any) -> set[str]:
        before = {path.name for path in folder.glob("*")}
        assert mmask("eval", "knn", run, "--data", shards["train"], "--val", shards["test"], "--out", out, *more) == 0
        return {path.name for path in folder.glob("*")} - before

    ask()
    stored = {path: path.stat().st_mtime_ns for path in folder.glob("*")}
    assert ask("k=3") == set() and ask("--seeds", 2, "--labels", 9) == set()
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*")} == stored
    assert len(ask("--init", "random")) == 2
    assert len(ask("--limit", 40)) == 2
    assert len(ask("--features", "input")) == 2
    assert ask("--limit", 30, "--no-cache") == set()


def test_cached_features_are_those_of_embed(mmask, run, shards, tmp_path) -> None:
    out = tmp_path / "f.safetensors"
    assert mmask("embed", run, "--data", shards["json"], "--out", out) == 0
    before = set((run / "features").glob("*"))
    assert mmask("eval", "knn", run, "--data", shards["json"], "--out", tmp_path / "x.json") == 0
    [made] = set((run / "features").glob("*")) - before
    ours, theirs = load_file(made), load_file(out)
    assert torch.equal(ours["features"], theirs["features"]) and torch.equal(ours["label"], theirs["labels"])
    [found] = told(tmp_path / "x.json")
    assert found["data"]["fit_samples"] + found["data"]["test_samples"] == 60


def test_fine_tuning_learns_what_the_labels_say(mmask, run, shards, tmp_path) -> None:
    out = tmp_path / "f.json"
    common = ("eval", "finetune", run, "--data", shards["train"], "--val", shards["test"], "--out", out, "batch=16")
    assert mmask(*common, "epochs=25", "lr=0.02", "smoothing=0.1", "clip=5.0") == 0
    [found] = told(out)
    assert found["summary"]["top1"]["mean"] > 0.85
    assert found["seeds"][0]["about"]["layer_decay"] == 1  # timm does not know this encoder's layers
    first = found["seeds"][0]
    assert mmask(*common, "epochs=25", "lr=0.02", "smoothing=0.1", "clip=5.0") == 0
    assert told(out)[0]["seeds"][0] == first


def test_fine_tuning_says_what_an_encoder_cannot_do(mmask, run, shards, capsys) -> None:
    assert mmask("eval", "finetune", run, "--data", shards["train"], "epochs=1", "drop_path=0.1") == 3
    assert "encoder 'fake' has no option 'drop_path'" in capsys.readouterr().err
    assert mmask("eval", "finetune", run, "--data", shards["train"], "epochs=1", "mixup=0.8") == 3
    assert "one field of maps" in capsys.readouterr().err
    assert mmask("eval", "finetune", run, "--data", shards["train"], "--features", "input") == 2
    assert "no input floor" in capsys.readouterr().err


def test_the_attentive_probe_reads_places(mmask, run, shards, tmp_path) -> None:
    out = tmp_path / "a.json"
    args = ("eval", "attentive", run, "--data", shards["train"], "--val", shards["test"], "--out", out)
    assert mmask(*args, "epochs=15", "heads=2", "batch=32") == 0
    assert told(out)[0]["summary"]["top1"]["mean"] > 0.6


def test_an_evaluator_of_a_plugin_is_a_command_with_its_own_options(mmask, run, shards, tmp_path, capsys) -> None:
    assert mmask("eval", "--help") == 0
    assert "majority" in capsys.readouterr().out
    out = tmp_path / "m.json"
    args = ("eval", "majority", run, "--data", shards["train"], "--val", shards["test"], "--out", out)
    assert mmask(*args, "bias=0.5", "--labels", "6", "--labels", "all") == 0
    found = told(out)
    assert [one["labels"] for one in found] == ["6", "all"]
    assert found[0]["seeds"][0]["about"] == {"bias": 0.5} and found[0]["seeds"][0]["fitted"] == 6
    assert found[1]["summary"]["top1"]["mean"] == pytest.approx(1 / 3)
    assert mmask(*args, "biass=1") == 3
    assert "did you mean 'bias'?" in capsys.readouterr().err


def test_compare_has_a_row_for_each_run_and_each_floor(mmask, run, shards, tmp_path, capsys) -> None:
    out = tmp_path / "c.json"
    args = ("eval", "compare", run, run, "--task", "knn", "--floors", "--set", "k=5", "--data", shards["train"])
    assert mmask(*args, "--val", shards["test"], "--out", out) == 0
    arms = [one["arm"] for one in told(out)]
    assert arms == ["plain", "plain", *["plain, random initialisation"] * 2, "plain, input"]
    assert all(one["options"] == {"k": 5} for one in told(out))
    trained, again, *_ = (one["summary"]["top1"]["mean"] for one in told(out))
    assert trained == again
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()[1:6]] == arms


@pytest.mark.parametrize(("url", "words"), [("bare", "20 of 20 samples"), ("one", "nothing to tell apart")])
def test_data_that_cannot_be_judged_is_refused(mmask, run, shards, capsys, url: str, words: str) -> None:
    assert mmask("eval", "knn", run, "--data", shards[url], "--no-cache") == 5
    assert words in capsys.readouterr().err


def test_the_runs_own_data_serves_when_none_is_named(mmask, run, tmp_path) -> None:
    out = tmp_path / "own.json"
    assert mmask("eval", "knn", run, "--out", out) == 0
    assert told(out)[0]["data"]["fit_samples"] == 120 and told(out)[0]["data"]["test_samples"] == 60


def probed(shards: dict[str, str], *more: str) -> list[str]:
    return [f"train.probe.train={shards['train']}", f"train.probe.val={shards['test']}", *more]


def test_probes_are_logged_at_health_points_and_change_nothing_else(mmask, run, shards, tmp_path, capsys) -> None:
    out = tmp_path / "probed"
    assert mmask(*arguments(out, shards, *probed(shards))) == 0
    found = rows(out)
    assert [row["step"] for row in found if "probe_knn" in row] == [0, 3, 6]
    for row in found:
        if "probe_knn" in row:
            assert 0 <= row["probe_linear"] <= 1 and 1 <= row["probe_rank"] <= 8 and row["probe_collapse"] == 0
    plain = {row["step"]: row for row in rows(run)}
    for row in found[1:]:
        if row["step"] in plain:
            assert (row["loss"], row["stamp"]) == (plain[row["step"]]["loss"], plain[row["step"]]["stamp"])
    text = capsys.readouterr().out
    assert "probes at step 0: knn" in text and "COLLAPSE" not in text
    page = (out / "report.html").read_text()
    assert "Effective rank of features" in page and "Accuracy of probes" in page


def test_a_resumed_run_has_the_same_probes(mmask, shards, tmp_path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert mmask(*arguments(whole, shards, *probed(shards))) == 0
    assert mmask(*arguments(cut, shards, "--stop-after", 4, *probed(shards))) == 0
    assert mmask("train", "--resume", cut) == 0
    def judged(out: Path) -> list[tuple[Any, ...]]:
        names = ("step", "probe_knn", "probe_linear", "probe_rank")
        return [tuple(row[name] for name in names) for row in rows(out) if "probe_knn" in row]

    assert judged(cut) == judged(whole)


def test_the_collapse_alarm_is_raised(mmask, shards, tmp_path, capsys) -> None:
    """At a rank that features of width 8 cannot reach."""
    out = tmp_path / "collapsed"
    more = probed(shards, "train.probe.alarm_rank=7.9", "train.probe.evaluators=[]")
    assert mmask(*arguments(out, shards, *more)) == 0
    assert "COLLAPSE at step 0: features have effective rank" in capsys.readouterr().out
    assert all(row["probe_collapse"] == 1 for row in rows(out) if "probe_rank" in row)


def test_probe_data_without_labels_stops_the_run_before_it_starts(mmask, shards, tmp_path, capsys) -> None:
    out = tmp_path / "bare"
    assert mmask(*arguments(out, shards, f"train.probe.train={shards['bare']}")) == 5
    assert "20 of 20 samples have no label" in capsys.readouterr().err
    assert not any("loss" in row for row in rows(out)) if (out / "metrics.jsonl").exists() else True


def test_an_evaluator_that_trains_the_network_is_no_probe(mmask, shards, tmp_path, capsys) -> None:
    more = probed(shards, 'train.probe.evaluators=[{use = "finetune"}]')
    assert mmask(*arguments(tmp_path / "x", shards, *more)) == 3
    assert "costs too much at a health point" in capsys.readouterr().err
