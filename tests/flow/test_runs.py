"""Runs from start to end: what is written, and that stopping and going on changes nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from mmask.cli.main import run as mmask

TINY = [
    "networks.encoder.depth=2", "networks.encoder.width=32", "networks.encoder.heads=2",
    "objectives.pixels.head.width=32", "objectives.pixels.head.depth=1", "objectives.pixels.head.heads=2",
    "data.decode.image.size=32", "tokenize.image.image_size=32", "data.batch_size=8", "train.val_samples=16",
    "schedule.warmup_steps=4",
]
STEPS = 12
FLAGS = ["--steps", str(STEPS), "--save-every", "4", "--log-every", "1", "--workers", "0", "--device", "cpu"]
KEPT = ("step", "loss", "lr", "grad_norm", "stamp", "val_loss", "epoch", "pixels")


def arguments(out: Path, *more: str) -> list[str]:
    return ["train", "--recipe", "mae-vit-tiny", "--out", str(out), *FLAGS, *more, *TINY]


def train(out: Path, *more: str) -> int:
    return mmask(arguments(out, *more))


def rows(out: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in KEPT if name in row} for row in found]


def checkpoints(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "checkpoints").iterdir())


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert train(out) == 0
    return out


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    """The same command in another process."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "mmask", *arguments(out, *more)], env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )


def until(condition: Any, process: subprocess.Popen[str], limit: float = 60) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.002)


def kill(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_a_run_leaves_everything_a_user_looks_for(whole: Path) -> None:
    names = {path.name for path in whole.iterdir()}
    assert {"recipe.toml", "env.json", "metrics.jsonl", "checkpoints", "figures", "report.html"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert sorted(path.name for path in (whole / "figures").iterdir()) == [
        f"step-{step:06d}.png" for step in (0, 4, 8, 12)
    ]
    assert checkpoints(whole) == ["step-00000008", "step-00000012"]


def test_every_row_of_metrics_has_the_promised_names(whole: Path) -> None:
    found = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in found] == list(range(1, STEPS + 1))
    promised = {
        "step", "epoch", "loss", "lr", "grad_norm", "samples_per_s", "data_wait", "pixels", "mask_ratio", "stamp"
    }
    for row in found:
        assert promised <= row.keys()
        assert row["loss"] == pytest.approx(row["pixels"])
        assert row["mask_ratio"] == pytest.approx(0.75, abs=0.02)
    assert {row["step"] for row in found if "val_loss" in row} == {4, 8, 12}
    assert found[-1]["val_gain"] == pytest.approx(1 - found[-1]["val_loss"] / found[-1]["val_trivial"])


def test_the_loss_falls(whole: Path) -> None:
    found = rows(whole)
    assert found[-1]["loss"] < 0.9 * found[0]["loss"]


def test_the_report_needs_nothing_but_itself(whole: Path) -> None:
    page = (whole / "report.html").read_text()
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)
    assert "url(" not in page and "@import" not in page
    assert page.count("data:image/png;base64,") == 4
    assert "command line --steps" in page and "profile demo" in page


def test_stopping_early_and_resuming_by_name_is_bit_identical(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(out, "--stop-after", "5") == 0
    assert checkpoints(out)[-1] == "step-00000005"
    assert rows(out) == rows(whole)[:5]
    assert mmask(["train", "--resume", str(out)]) == 0
    assert rows(out) == rows(whole)
    same(out, whole)


def same(out: Path, whole: Path) -> None:
    from mmask.train.checkpoint import load

    ours, theirs = (load(run / "checkpoints" / f"step-{STEPS:08d}").tensors for run in (out, whole))
    for stem, tensors in theirs.items():
        for name, value in tensors.items():
            assert torch.equal(ours[stem][name], value), f"{stem} {name}"


def test_the_same_command_goes_on_after_kill_9(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(out)
    until(lambda: (out / "metrics.jsonl").exists() and len(rows(out)) >= 6, process)
    kill(process)
    assert train(out) == 0
    assert rows(out) == rows(whole)
    same(out, whole)


def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(out)
    folder = out / "checkpoints"
    until((folder / "step-00000004").exists, process)
    until(lambda: any(folder.glob(".step-00000008.*/*")) or (folder / "step-00000008").exists(), process)
    kill(process)
    assert train(out) == 0
    assert rows(out) == rows(whole)
    assert checkpoints(out) == checkpoints(whole)


def test_a_torn_checkpoint_is_passed_over_with_a_message(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert train(out, "--stop-after", "9") == 0
    torn = out / "checkpoints" / "step-00000009" / "model.safetensors"
    torn.write_bytes(torn.read_bytes()[:-7])
    assert train(out) == 0
    assert "step-00000009 is torn" in capsys.readouterr().out
    assert rows(out) == rows(whole)


def test_sigterm_saves_and_exits_with_its_own_code(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(out, "--save-every", "1000", "train.health_every=4", "train.val_every=4")
    until(lambda: (out / "metrics.jsonl").exists() and len(rows(out)) >= 3, process)
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 75, text
    done = rows(out)[-1]["step"]
    assert checkpoints(out) == [f"step-{done:08d}"]
    assert train(out, "--save-every", "1000", "train.health_every=4", "train.val_every=4") == 0
    assert rows(out) == rows(whole)


def test_the_written_recipe_runs_again(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    assert mmask(["train", "--config", str(whole / "recipe.toml"), "--out", str(out)]) == 0
    assert rows(out) == rows(whole)


def test_another_recipe_in_the_same_folder_is_refused(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(whole, "optim.lr=0.5") == 2
    text = capsys.readouterr().err
    assert "optim.lr was 0.001, is 0.5" in text
    assert "Traceback" not in text


def test_a_resume_with_another_order_of_samples_is_refused(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mmask(["train", "--resume", str(whole), "--seed", "3"]) == 2
    assert "--init" in capsys.readouterr().err


def test_two_ranks_give_the_losses_of_one(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "ranks"
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "mmask",
         *arguments(out)],
        env=env, text=True, capture_output=True, timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ours, theirs = rows(out), rows(whole)
    assert [row["stamp"] for row in ours] == [row["stamp"] for row in theirs]
    for name in ("loss", "lr"):
        assert [row[name] for row in ours] == pytest.approx([row[name] for row in theirs], rel=2e-5)
    assert ours[-1]["val_loss"] == pytest.approx(theirs[-1]["val_loss"], rel=2e-4)


def test_weights_of_a_run_start_another(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "next"
    assert train(out, "--init", str(whole), "--stop-after", "1", "optim.lr=1e-5") == 0
    text = capsys.readouterr().out
    assert re.search(r"loaded (\d+) of \1 tensors of model", text)
    assert rows(out)[0]["loss"] < 0.9 * rows(whole)[0]["loss"]


def test_average_accumulation_and_clipping_survive_a_resume(tmp_path: Path) -> None:
    more = ("train.ema=0.9", "optim.accumulate=2", "optim.clip=0.5", "optim.name=lamb")
    one, two = tmp_path / "one", tmp_path / "two"
    assert train(one, *more) == 0
    assert train(two, *more, "--stop-after", "7") == 0
    assert train(two, *more, "--workers", "2") == 0
    assert rows(two) == rows(one)
    same(two, one)
    found = [json.loads(line) for line in (two / "metrics.jsonl").read_text().splitlines()]
    assert "val_loss_ema" in found[-1]


def test_verify_resume_says_ok_and_names_the_first_step_that_differs(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert train(out, "--stop-after", "5") == 0
    assert train(out) == 0
    assert mmask(["verify-resume", str(out), "--around", "2"]) == 0
    assert re.search(r"OK: \d+ steps .* resumed at 5", capsys.readouterr().out)
    recipe = out / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("ratio = 0.75", "ratio = 0.5"))
    assert mmask(["verify-resume", str(out), "--all"]) == 1
    assert "DIFFERS at step 1" in capsys.readouterr().out
    stamps = out / "stamps.u64"
    data = bytearray(stamps.read_bytes())
    data[8 * 6] ^= 1
    stamps.write_bytes(data)
    assert mmask(["verify-resume", str(out)]) == 6
    assert "does not belong to the checkpoint" in capsys.readouterr().err


def test_embed_writes_features_ids_and_labels(whole: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    assert mmask(["embed", str(whole), "--val", "--out", str(one), "--limit", "20", "--batch-size", "8"]) == 0
    assert mmask(["embed", str(whole), "--val", "--out", str(two), "--limit", "20", "--pool", "cls"]) == 0
    found, other = load_file(one), load_file(two)
    assert found["features"].shape == (20, 32)
    assert found["features"].std(0).min() > 0
    assert torch.equal(found["ids"], other["ids"])
    assert len(set(found["ids"].tolist())) == 20
    assert found["labels"].shape == (20,)
    assert not torch.allclose(found["features"], other["features"])


def test_too_many_bad_steps_stop_the_run_and_a_report_is_still_possible(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    code = train(out, "optim.lr=1e38", "optim.clip=1e30", "train.nonfinite_budget=2", "schedule.warmup_steps=0")
    assert code == 7
    text = capsys.readouterr().err
    assert "nonfinite_budget of 2" in text
    assert "Traceback" not in text
    assert len(list((out / "nonfinite").iterdir())) == 3
    assert mmask(["report", str(out)]) == 0


def test_a_folder_in_use_is_refused(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mmask.train.folder import RunFolder

    handle = RunFolder(whole).lock()
    try:
        assert train(whole) == 2
    finally:
        os.close(handle)
    assert "another process is writing" in capsys.readouterr().err


def test_a_start_that_failed_does_not_block_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert train(out, "--data", str(tmp_path / "nothing.tar")) == 5
    text = capsys.readouterr().err
    assert "nothing.tar" in text
    assert "Traceback" not in text
    assert train(out, "--stop-after", "1") == 0
