"""Markdown of tools/bench/image.py from the files of its runs: means, deviations, paired intervals, core-minutes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

EVALUATIONS = ("linear", "emoji", "finetune")
RANDOM, INPUT = "random", "input"
COLUMNS = (("linear", 0), ("linear", 1), ("emoji", 0), ("finetune", 0))
HEADS = ("linear, few labels", "linear, all", "emoji, linear", "fine-tuned, few labels")
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
Numbers = list[np.ndarray | None]


def accuracy(out: Path, arm: str, seeds: int) -> Numbers:
    """(seeds,) accuracies in percent for each column; None where there is none."""
    found: Numbers = []
    for task, row in COLUMNS:
        paths = [out / "results" / f"{arm}-{seed}-{task}.json" for seed in range(seeds)]
        if not all(path.exists() for path in paths):
            found.append(None)
            continue
        results = [json.loads(path.read_text())["results"][row] for path in paths]
        found.append(np.array([result["summary"]["top1"]["mean"] * 100 for result in results]))
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


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def minutes(out: Path, *starts: str) -> float:
    """Processor minutes of the items whose names begin so."""
    names = [path for path in (out / "done").glob("*.json") if path.stem.startswith(starts)]
    return sum(json.loads(path.read_text())["seconds"] for path in names) / 60


def gain(out: Path, run: str) -> str:
    """Of the last line of a run: how far the held-out loss lies below the trivial predictor's."""
    lines = [line for line in (out / "logs" / f"{run}.txt").read_text().splitlines() if line.startswith("val ")]
    return lines[-1].partition(", ")[2].partition(" the trivial")[0] if lines and ", " in lines[-1] else ""


def render(
    out: Path, labels: Mapping[str, str], floors: Mapping[str, str], rates: Mapping[str, float], tokenizer: str,
    seeds: int,
) -> str:
    """Accuracies, differences to the same architecture at random, and what it took."""
    arms = {key: accuracy(out, key, seeds) for key in labels}
    random = {key: accuracy(out, f"{RANDOM}-{key}", seeds) for key in floors}
    rows = [["pixels", *map(cell, accuracy(out, INPUT, seeds))]]
    rows += [[f"random: {label}", *map(cell, random[key])] for key, label in floors.items()]
    rows += [[f"**{label}**", *map(cell, arms[key])] for key, label in labels.items()]
    differences = []
    for key, label in labels.items():
        start = random.get(key) or random.get("spark") or [None] * len(COLUMNS)
        pairs = zip(arms[key], start, strict=True)
        differences.append([label, *("—" if a is None or b is None else interval(a - b) for a, b in pairs)])
    costs = [
        [label, f"{rates[key]:.2g}", gain(out, f"{key}-0"), f"{minutes(out, f'tune-{key}-'):.1f}",
         f"{minutes(out, f'{key}-') - _judged(out, key):.1f}", f"{_judged(out, key):.1f}"]
        for key, label in labels.items()
    ]
    costs.append([tokenizer, "", "", "", f"{minutes(out, 'vq-'):.1f}", ""])
    costs.append(["floors", "", "", "", "", f"{minutes(out, f'{RANDOM}-', f'{INPUT}-'):.1f}"])
    return "\n\n".join([
        "Accuracy in percent, mean ± deviation over seeds:", table(["arm", *HEADS], rows),
        "Against the same architecture at random initialisation, points, paired by seed, with 95 % intervals:",
        table(["arm", *HEADS], differences),
        f"Core-minutes, {minutes(out, ''):.1f} in all; held-out loss of seed 0 against the predictor of means:",
        table(["arm", "peak lr", "held-out loss", "tuning", "pretraining", "evaluation"], costs),
    ])


def _judged(out: Path, key: str) -> float:
    paths = [path for path in (out / "done").glob(f"{key}-*.json") if path.stem.rpartition("-")[2] in EVALUATIONS]
    return sum(json.loads(path.read_text())["seconds"] for path in paths) / 60


def put(text: str, page: Path) -> None:
    """Replace what stands between the two marks of a page."""
    whole = page.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no lines '{BEGIN}' and '{END}'")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
