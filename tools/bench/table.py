"""What the tools that make learning tables share: commands that run once, one rule of tuning, and Markdown.

Below ``out``: ``runs/`` what was trained, ``results/ITEM.json`` what ``mmask eval`` wrote, ``logs/ITEM.txt`` what a
command printed, ``done/ITEM.json`` its processor seconds, ``rates.json`` the learning rates that were chosen. Items of
evaluations are called ARM-SEED-COLUMN. A run that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
STEP = 3.0  # between neighbouring learning rates
TUNING_SHARE = 0.25  # of the budget, for each of them
MARK, LOSS = "table", "held-out loss"
RANDOM = "random"


@dataclass(frozen=True)
class Column:
    """Of a table: the item's ending, its title, which row of the file (a file has one for each ``--labels``), which
    number of it (of several names between ``|`` the one that is there), and what that is multiplied with."""

    item: str
    head: str
    row: int = 0
    metric: str = "top1"
    scale: float = 100.0

    def of(self, result: Mapping[str, Any]) -> float:
        """The number."""
        name = next(one for one in self.metric.split("|") if one in result["summary"])
        mean: float = result["summary"][name]["mean"]
        return mean * self.scale


@dataclass(frozen=True)
class Shown:
    """An arm in a table: its name, and the item of the floor that it is compared with."""

    label: str
    floor: str


def _work(words: list[str], log: Path) -> tuple[int, float]:
    """In a worker: ``mmask`` with these words, what it prints into ``log`` -> exit status, processor seconds."""
    from mmask.cli.main import run

    with log.open("w") as to:
        for stream in (1, 2):
            os.dup2(to.fileno(), stream)
    start = time.process_time()
    code = run(words)
    sys.stdout.flush()
    return code, time.process_time() - start


class Commands:
    """Commands of ``mmask`` in ``jobs`` processes of one thread that stay, so that libraries are imported once. dry:
    they are printed instead."""

    def __init__(self, out: Path, jobs: int, *, dry: bool = False) -> None:
        self.out, self.dry, self._lock = out.resolve(), dry, threading.Lock()
        self.out.mkdir(parents=True, exist_ok=True)
        os.environ.update(THREADS)  # before the workers start
        self._pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
        self._threads = ThreadPoolExecutor(1 if dry else jobs)

    def result(self, item: str) -> Path:
        """Where an evaluation writes."""
        return self.out / "results" / f"{item}.json"

    def accuracy(self, item: str, metric: str = "top1") -> float:
        """A number of an evaluation; 0 where nothing is run."""
        if self.dry:
            return 0.0
        found: float = json.loads(self.result(item).read_text())["results"][0]["summary"][metric]["mean"]
        return found

    def mmask(self, item: str, *words: str | Path | float) -> None:
        """Run ``mmask`` once for ``item``."""
        command = ["mmask", *map(str, words)]
        self._once(item, shlex.join(command), lambda log: self._pool.submit(_work, command[1:], log).result())

    def call(self, item: str, shown: str, function: Callable[..., float], *given: Any) -> None:
        """Run a function that answers with its processor seconds once for ``item``."""
        self._once(item, shown, lambda log: (0, self._pool.submit(function, *given).result()))

    def _once(self, item: str, shown: str, call: Callable[[Path], tuple[int, float]]) -> None:
        done, log = self.out / "done" / f"{item}.json", self.out / "logs" / f"{item}.txt"
        if done.exists():
            return
        if self.dry:
            print(shown)
            return
        for path in (done, log, self.result(item)):
            path.parent.mkdir(parents=True, exist_ok=True)
        code, seconds = call(log)
        if code:
            raise SystemExit(f"{shown} failed:\n{log.read_text()[-3000:]}")
        aside = done.with_suffix(".part")
        aside.write_text(json.dumps({"seconds": seconds, "command": shown}))
        aside.replace(done)
        with self._lock:
            print(f"{item}: {seconds:.0f} s", flush=True)

    def all(self, work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """The results in order, ``jobs`` at a time; the first failure stops what has not begun."""
        futures = [self._threads.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def tune(
        self, key: str, middle: float, judge: Callable[[str, float], str], *, metric: str = "top1"
    ) -> float:
        """Of three rates a factor of three apart the best. judge: (name, rate) -> the item of its evaluation."""
        rates = (middle / STEP, middle, middle * STEP)
        scores = {lr: self.accuracy(judge(f"tune-{key}-{lr:.2g}", lr), metric) for lr in rates}
        return max(scores, key=lambda lr: scores[lr])

    def close(self, rates: Mapping[str, float]) -> None:
        """Keep the rates and let the workers go."""
        self._pool.shutdown()
        self._threads.shutdown()
        if not self.dry:
            (self.out / "rates.json").write_text(json.dumps(rates, indent=1))


def parser(
    text: str | None, arms: Mapping[str, Any], out: str, *, data: bool = True
) -> argparse.ArgumentParser:
    """The flags that every table has. data: whether its data are fetched; else they are a plugin's samples."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    if data:
        made.add_argument("--data", type=Path, required=True, help="what the tool of tools/ wrote")
    made.add_argument("--out", type=Path, default=Path(out))
    made.add_argument("--arms", nargs="+", choices=arms, default=list(arms))
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--jobs", type=int, default=1, help="processes side by side, one thread each")
    made.add_argument("--doc", type=Path, help="a page whose table between the two marks is replaced")
    made.add_argument("--mark", default=MARK, help="what the marks of the table are called [%(default)s]")
    made.add_argument("--dry", action="store_true", help="print the commands")
    return made


def accuracies(out: Path, arm: str, seeds: int, columns: Sequence[Column]) -> list[np.ndarray | None]:
    """(seeds,) accuracies in percent for each column; None where there is none."""
    found: list[np.ndarray | None] = []
    for column in columns:
        paths = [out / "results" / f"{arm}-{seed}-{column.item}.json" for seed in range(seeds)]
        if not all(path.exists() for path in paths):
            found.append(None)
            continue
        results = [json.loads(path.read_text())["results"][column.row] for path in paths]
        found.append(np.array([column.of(result) for result in results]))
    return found


def interval(values: np.ndarray) -> str:
    """Mean and Student's 95 % interval of paired differences."""
    if len(values) < 2:
        return f"{values.mean():+.1f}"
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return f"{values.mean():+.1f} ({values.mean() - half:+.1f} to {values.mean() + half:+.1f})"


def cell(values: np.ndarray | None) -> str:
    """Mean and deviation over seeds."""
    if values is None:
        return "—"
    return f"{values.mean():.1f}" + (f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else "")


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def minutes(out: Path, *starts: str, ends: tuple[str, ...] = ("",)) -> float:
    """Processor minutes of the items whose names begin, and end, so."""
    found = [path for path in (out / "done").glob("*.json") if path.stem.startswith(starts)]
    return sum(json.loads(path.read_text())["seconds"] for path in found if path.stem.endswith(ends)) / 60


def gain(out: Path, run: str) -> str:
    """Of the last line of a run: how far the held-out loss lies below the trivial predictor's."""
    lines = [line for line in (out / "logs" / f"{run}.txt").read_text().splitlines() if line.startswith("val ")]
    return lines[-1].partition(", ")[2].partition(" the trivial")[0] if lines and ", " in lines[-1] else ""


def render(
    out: Path, columns: Sequence[Column], floors: Mapping[str, str], arms: Mapping[str, Shown],
    rates: Mapping[str, float], seeds: int, *, trivial: str, others: Mapping[str, tuple[str, ...]],
    what: str = "Accuracy in percent",
) -> str:
    """Accuracies, differences to the same architecture at random, and what it took.

    floors: item -> label. trivial: what the held-out loss is compared with. others: what else took time, label -> the
    beginnings of its items.
    """
    numbers = {key: accuracies(out, key, seeds, columns) for key in (*floors, *arms)}
    heads = ["arm", *(column.head for column in columns)]
    rows = [[label, *map(cell, numbers[key])] for key, label in floors.items()]
    rows += [[f"**{arm.label}**", *map(cell, numbers[key])] for key, arm in arms.items()]
    differences = []
    for key, arm in arms.items():
        start = numbers.get(arm.floor, [None] * len(columns))
        pairs = zip(numbers[key], start, strict=True)
        differences.append([arm.label, *("—" if a is None or b is None else interval(a - b) for a, b in pairs)])
    ends = tuple(f"-{column.item}" for column in columns)
    costs = [
        [arm.label, f"{rates[key]:.2g}", gain(out, f"{key}-0"), f"{minutes(out, f'tune-{key}-'):.1f}",
         f"{minutes(out, f'{key}-') - minutes(out, f'{key}-', ends=ends):.1f}",
         f"{minutes(out, f'{key}-', ends=ends):.1f}"]
        for key, arm in arms.items()
    ]
    costs += [[label, "", "", "", "", f"{minutes(out, *starts):.1f}"] for label, starts in others.items()]
    spent, costs = filled(["arm", "peak lr", LOSS, "tuning", "pretraining", "evaluation"], costs)
    loss = f"; {LOSS} of seed 0 against {trivial}" if LOSS in spent else ""
    return "\n\n".join([
        f"{what}, mean ± deviation over seeds:", markdown(heads, rows),
        "Against the same architecture at random initialisation, points, paired by seed, with 95 % intervals:",
        markdown(heads, differences),
        f"Core-minutes, {minutes(out, ''):.1f} in all{loss}:", markdown(spent, costs),
    ])


def filled(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Without the columns in which nothing, or no time, stands."""
    keep = [at for at in range(len(heads)) if any(row[at] not in ("", "0.0") for row in rows)]
    return [heads[at] for at in keep], [[row[at] for at in keep] for row in rows]


def put(text: str, page: Path, mark: str = MARK) -> None:
    """Replace what stands between the two marks of a page, ``<!-- mark: begin -->`` and ``<!-- mark: end -->``."""
    first, last = (f"<!-- {mark}: {which} -->" for which in ("begin", "end"))
    whole = page.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise SystemExit(f"{page} has no lines '{first}' and '{last}'")
    page.write_text(f"{before}{first}\n\n{text}\n\n{last}{after}", encoding="utf-8")
