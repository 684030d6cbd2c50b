"""Markdown of tools/bench/text_table.py from the files of its runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from image_table import cell, gain, interval, minutes, put, table

__all__ = ["RANDOM", "SETS", "TFIDF", "put", "render"]

SETS = ("reuters8", "newsgroups")
TASKS = ("linear", "finetune")
RANDOM, TFIDF = "random", "tfidf"
HEADS = ("Reuters, linear", "Reuters, fine-tuned", "Newsgroups, linear", "Newsgroups, fine-tuned")
Numbers = list[np.ndarray | None]


def accuracy(out: Path, arm: str, seeds: int) -> Numbers:
    """(seeds,) accuracies in percent for each column; None where there is none."""
    found: Numbers = []
    for name in SETS:
        for task in TASKS:
            paths = [out / "results" / f"{arm}-{seed}-{name}-{task}.json" for seed in range(seeds)]
            if not all(path.exists() for path in paths):
                found.append(None)
                continue
            results = [json.loads(path.read_text())["results"][0] for path in paths]
            found.append(np.array([result["summary"]["top1"]["mean"] * 100 for result in results]))
    return found


def render(
    out: Path, labels: Mapping[str, tuple[str, str]], floors: Mapping[str, str], rates: Mapping[str, float], seeds: int
) -> str:
    """Accuracies, differences to the same architecture at random, and what it took."""
    arms = {key: accuracy(out, key, seeds) for key in labels}
    random = {key: accuracy(out, f"{RANDOM}-{key}", seeds) for key in floors}
    rows = [["TF-IDF of words", *map(cell, accuracy(out, TFIDF, seeds))]]
    rows += [[f"random: {label}", *map(cell, random[key])] for key, label in floors.items()]
    rows += [[f"**{label}**", *map(cell, arms[key])] for key, (label, _) in labels.items()]
    differences = []
    for key, (label, start) in labels.items():
        pairs = zip(arms[key], random.get(start, [None] * len(HEADS)), strict=True)
        differences.append([label, *("—" if a is None or b is None else interval(a - b) for a, b in pairs)])
    costs = [
        [label, f"{rates[key]:.2g}", gain(out, f"{key}-0"), f"{minutes(out, f'tune-{key}-'):.1f}",
         f"{minutes(out, f'{key}-') - _judged(out, key):.1f}", f"{_judged(out, key):.1f}"]
        for key, (label, _) in labels.items()
    ]
    costs.append(["vocabulary and floors", "", "", "", "", f"{minutes(out, RANDOM, TFIDF, 'vocabulary'):.1f}"])
    return "\n\n".join([
        "Accuracy in percent, mean ± deviation over seeds:", table(["arm", *HEADS], rows),
        "Against the same architecture at random initialisation, points, paired by seed, with 95 % intervals:",
        table(["arm", *HEADS], differences),
        f"Core-minutes, {minutes(out, ''):.1f} in all; held-out loss of seed 0 against the predictor of frequencies:",
        table(["arm", "peak lr", "held-out loss", "tuning", "pretraining", "evaluation"], costs),
    ])


def _judged(out: Path, key: str) -> float:
    paths = [path for path in (out / "done").glob(f"{key}-*.json") if path.stem.rpartition("-")[2] in TASKS]
    return sum(json.loads(path.read_text())["seconds"] for path in paths) / 60
