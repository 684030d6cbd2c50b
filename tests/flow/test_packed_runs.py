"""Packed runs: stopping, going on and changing the reader change nothing; schedules and metrics count tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mmask.cli.main as cli
from mmask.cli.session import Session
from mmask.plugin.host import Host
from mmask.testing import ragged


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("ragged")
    url = ragged.shards(folder, bad=frozenset([3]))
    return ["--data", url, "--val", ragged.shards(folder, [12], stem="v")]


def mmask(*args: object) -> int:
    return cli.run([str(arg) for arg in args], Session(Host([ragged.entry()], environ={})))


def train(out: Path, data: list[str], *more: str, length: str = "schedule.steps=10") -> int:
    flags = ["--save-every", "5", "--log-every", "1", "--workers", "0", "--device", "cpu", length]
    return mmask("train", "--recipe", "ragged-tiny", "--out", out, *data, *flags, "schedule.warmup_steps=2",
                 "train.trackers=[]", "data.fault_budget=0.5", *more)


def rows(out: Path) -> list[dict[str, Any]]:
    timed = ("samples_per_s", "tokens_per_s", "data_wait")
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in timed} for line in lines]


def ledger(out: Path) -> list[str]:
    """What the ten steps met; workers read ahead and may have met more."""
    lines = (out / "ledger.jsonl").read_text().splitlines()
    return sorted(line for line in lines if json.loads(line)["position"] < 40)


def test_ten_steps_are_five_and_five(data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(whole, data) == 0
    assert train(parts, data, "--stop-after", "5") == 0
    assert train(parts, data, "--workers", "2") == 0
    assert rows(parts) == rows(whole)
    assert ledger(parts) == ledger(whole)
    assert ledger(whole)
    assert mmask("verify-resume", parts) == 0
    last = rows(whole)[-1]
    assert last["samples"] > 10 * 4
    assert 0.7 * 10 * 4 * 24 < last["tokens"] <= 10 * 4 * 24
    capsys.readouterr()
    assert train(parts, data, "data.pack.length=20") == 2
    assert "data.pack.length" in capsys.readouterr().err


def test_an_unreadable_held_out_sample_is_written_to_the_ledger_once(data: list[str], tmp_path: Path) -> None:
    held_out = ["--val", ragged.shards(tmp_path / "shards", [12], stem="v", bad=frozenset([5]))]
    out = tmp_path / "run"
    assert train(out, data[:2], *held_out, "--stop-after", "5") == 0
    assert train(out, data[:2], *held_out) == 0
    found = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    kept = [line for line in found if line["shard"].startswith("v-")]
    assert [(line["key"], line["epoch"]) for line in kept] == [("00005", -1)]
    assert "empty" in kept[0]["reason"]


def test_micro_batches_of_whole_packs_give_the_same_losses(data: list[str], tmp_path: Path) -> None:
    assert train(tmp_path / "one", data) == 0
    assert train(tmp_path / "two", data, "optim.accumulate=2") == 0
    for one, two in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert one["stamp"] == two["stamp"]
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)


def test_a_run_may_count_tokens_or_epochs_of_packs(data: list[str], tmp_path: Path) -> None:
    assert train(tmp_path / "tokens", data, length="schedule.tokens=600") == 0
    assert rows(tmp_path / "tokens")[-1]["step"] == 7  # 96 places a step
    assert train(tmp_path / "epochs", data, length="schedule.epochs=2") == 0
    last = rows(tmp_path / "epochs")[-1]
    assert last["samples"] == pytest.approx(2 * (53 + 12), rel=0.3)  # 53 readable samples, 12 are cut in two


def test_tokens_need_packs(data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "none", data, "data.pack=none", length="schedule.tokens=600") == 2
    assert "data.pack" in capsys.readouterr().err


def test_buckets_train_and_go_on(data: list[str], tmp_path: Path) -> None:
    bucket = ["data.pack=none", "data.bucket.by=x", "data.bucket.size=2", "data.bucket.window=16"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(whole, data, *bucket) == 0
    assert train(parts, data, *bucket, "--stop-after", "5") == 0
    assert train(parts, data, *bucket) == 0
    assert rows(parts) == rows(whole)
    assert rows(whole)[-1]["tokens"] > 0


def test_plan_says_what_a_packed_step_holds(data: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert mmask("plan", "--recipe", "ragged-tiny", *data, "schedule.steps=10") == 0
    out = capsys.readouterr().out
    assert "4 packs a step" in out
    assert "96 a step at most" in out
