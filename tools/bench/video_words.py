"""What VIOLET is asked in the tables of docs/benchmarks/video.md: which caption belongs to which clip, with nothing
fine-tuned and fine-tuned, and questions about clips. `video_table.py` is the command; its text says how."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from table import RANDOM, Column, Commands, Shown, accuracies, cell, interval, markdown, minutes, render
from video_questions import majority, shares, write

import mmask_video

SAMPLES = Path(mmask_video.__file__).parent / "samples"
TRAIN, NEW = [f"train-{number:06d}.tar" for number in range(4)], "val-000000.tar"
HELD = TRAIN[-1]  # of training: rates of fine-tuning are chosen by it, and seen pairs are looked for in it
BATCH, MOST = 16, {"fit": 75, "held": 25, "new": 40}
CAPTIONS = (
    Column("new", "new: mean recall", metric="recall"),
    Column("new", "new: clip, R@10", metric="text_r10"),
    Column("new", "new: clip, median rank", metric="text_median", scale=1),
    Column("new", "new: caption, R@10", metric="video_r10"),
    Column("new", "new: caption, median rank", metric="video_median", scale=1),
    Column("seen", "seen: mean recall", metric="recall"),
)
TUNED = tuple(
    Column("tuned", column.head.removeprefix("new: "), metric=column.metric, scale=column.scale)
    for column in CAPTIONS if column.item == "new"
)
ANSWERS = {"all": "all questions", "is": "is it ... ? (yes or no)", "what": "what is it ? (of eight)"}
SIZES = [  # the recipe's own demo
    "networks.encoder.swin.width=32", "networks.encoder.swin.heads=[2,4,8]", "networks.encoder.width=128",
    "networks.encoder.heads=4", "networks.encoder.depth=2", "schedule.kind=cosine",
]
SMALL = [  # the demo's too: what width 128 that starts from nothing needs; chosen by pilots on training pairs
    "networks.encoder.std=0.088", "networks.encoder.dropout=0", "networks.encoder.attention_dropout=0",
    "objectives.matching.options.temperature=0.5",
]
LR, RATES = 1e-3, (3e-4, 1e-3)


@dataclass(frozen=True)
class Arm:
    """What is pretrained."""

    label: str
    options: tuple[str, ...] = ()


ARMS = {
    "violet": Arm("VIOLET"),
    "blind": Arm("VIOLET without masked visual tokens", ("objectives.cells=none",)),
}
FLOOR = f"{RANDOM}-violet"


class Words:
    """Pretraining, and everything that is asked of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.given, self.out = options, options.out.resolve()
        self.keys = [key for key in options.arms if key in ARMS]
        self.captions, self.tuned, self.asked = (
            Commands(self.out / name, options.jobs, dry=options.dry) for name in ("words", "tuned", "asked")
        )
        self.steps = max(4, options.pairs // BATCH)

    def folder(self, key: str, seed: int) -> Path:
        """Of a run."""
        return self.captions.out / "runs" / f"{key}-{seed}"

    def train(self, key: str, seed: int) -> Path:
        """Pretrain -> the folder."""
        name, steps, folder = f"{key}-{seed}", self.steps, self.folder(key, seed)
        self.captions.mmask(
            name, "train", "--recipe", "violet-tiny", "--data", SAMPLES / "train-{000000..000003}.tar", "--val",
            SAMPLES / NEW, "--out", folder, "--seed", seed, "--steps", steps, "--batch-size", BATCH, "--workers", 0,
            "--device", "cpu", "--save-every", steps, *SIZES, *SMALL, *ARMS[key].options, f"optim.lr={LR:g}",
            f"schedule.warmup_steps={max(1, steps // 10)}", "schedule.min_lr=0", "train.val_samples=64",
            "train.probe=none", "preview=none",
        )
        return folder

    def pairs(self, item: str, shard: str, folder: Path, *more: str | int) -> None:
        """Retrieval among the clips of a shard of samples, with nothing fine-tuned."""
        self.captions.mmask(
            item, "eval", "retrieval", folder, "--data", SAMPLES / shard, "--limit", self.given.gallery, "--no-cache",
            "--device", "cpu", *more, "--out", self.captions.result(item), "gallery=0",
        )

    def learnt(self, item: str, folder: Path, lr: float, *more: str | int) -> None:
        """Retrieval after fine-tuning on all training pairs, among all new ones."""
        self.tuned.mmask(
            item, "eval", "retrieval", folder, "--data", SAMPLES / "train-{000000..000003}.tar", "--val", SAMPLES / NEW,
            "--no-cache", "--device", "cpu", *more, "--out", self.tuned.result(item), "gallery=0",
            f"epochs={self.given.tuned_epochs}", "batch=8", f"lr={lr:g}",
        )

    def answers(self, item: str, folder: Path, lr: float, *more: str | int, held: bool = False) -> None:
        """Answers to questions about new clips after fine-tuning on all training questions. held: on those of three
        shards, judged on the fourth's."""
        data = [self.asked.out / "data" / name for name in (["fit", "held"] if held else ["fit", "held", "new"])]
        given = [word for url in data[:-1] for word in ("--data", url)]
        self.asked.mmask(
            item, "eval", "finetune", folder, *given, "--val", data[-1], "--label", "answer", "--no-cache",
            "--device", "cpu", *more, "--out", self.asked.result(item), "data.decode.text.field=question",
            f"epochs={self.given.asked_epochs}", "warmup=1", "batch=16", f"lr={lr:g}", "layer_decay=1.0",
        )

    def ask(self) -> None:
        """Make the questions, and put clips beside them."""
        for name, urls in (("fit", TRAIN[:-1]), ("held", [HELD]), ("new", [NEW])):
            rows, where = self.asked.out / f"{name}.jsonl", [str(SAMPLES / url) for url in urls]
            if not self.given.dry:
                write(where, MOST[name], rows)
            pictures = [word for url in where for word in ("--pictures", url)]
            self.asked.mmask(f"data-{name}", "data", "questions", rows, *pictures, "--key", "clip", "--out",
                             self.asked.out / "data" / name)

    def rate(self, start: str) -> float:
        """The rate of fine-tuning of one start, "violet" or its floor, by questions about the held shard of training,
        with seed 0."""
        scores = {}
        for lr in RATES:
            item = f"tune-{start}-{lr:g}"
            self.answers(item, self.folder("violet", 0), lr, *_random(start), held=True)
            scores[lr] = self.asked.accuracy(item)
        return max(scores, key=lambda lr: scores[lr])

    def one(self, key: str, seed: int) -> None:
        """An arm's seed, and the floor that belongs to it."""
        folder = self.train(key, seed)
        for arm in (key, FLOOR) if key == "violet" else (key,):
            for item, shard in (("new", NEW), ("seen", HELD)):
                self.pairs(f"{arm}-{seed}-{item}", shard, folder, "--first-seed", seed, *_random(arm))

    def run(self) -> None:
        """Everything: captions first, since the others stand on them."""
        seeds = range(self.given.seeds)
        self.captions.all(lambda pair: self.one(*pair), [(key, seed) for seed in seeds for key in self.keys])
        self.captions.close(dict.fromkeys(self.keys, LR))
        if "violet" not in self.keys:
            return
        self.ask()
        rates = {start: self.rate(start) for start in (FLOOR, "violet")}
        for pool, judge, ending in ((self.asked, self.answers, "asked"), (self.tuned, self.learnt, "tuned")):
            pool.all(lambda pair, judge=judge, ending=ending: judge(
                f"{pair[0]}-{pair[1]}-{ending}", self.folder("violet", pair[1]), rates[pair[0]], "--first-seed",
                pair[1], *_random(pair[0]),
            ), [(start, seed) for seed in seeds for start in rates])
            pool.close(rates)

    def table(self) -> list[str]:
        """Markdown of what was run, a title and its tables after it."""
        seeds, out = self.given.seeds, self.captions.out
        shown = {key: Shown(ARMS[key].label, FLOOR) for key in self.keys}
        parts = ["### Which caption?", render(
            out, CAPTIONS, {FLOOR: "random initialisation"} if "violet" in shown else {}, shown,
            dict.fromkeys(self.keys, LR), seeds, trivial="the trivial predictor", others={"floors": (RANDOM,)},
            what="Recall in percent, ranks as they are",
        )]
        if set(shown) == set(ARMS):
            parts.append(_difference("with minus without masked visual tokens", [c.head for c in CAPTIONS],
                                     *(accuracies(out, key, seeds, CAPTIONS) for key in ARMS)))
        if "violet" in shown:
            starts = [accuracies(self.tuned.out, key, seeds, TUNED) for key in (FLOOR, "violet")]
            parts += ["### Which caption, fine-tuned?", self.both(self.tuned, "Recall in percent, ranks as they are",
                                                                  [column.head for column in TUNED], starts)]
            starts = [self.right(key) for key in (FLOOR, "violet")]
            known = majority(self.asked.out / "fit.jsonl", self.asked.out / "new.jsonl")
            parts += ["### What is seen?", self.both(
                self.asked, "Right answers in percent", list(ANSWERS.values()), starts,
                [["the most frequent answer to each question", *(f"{known[name] * 100:.1f}" for name in ANSWERS)]],
            )]
        return parts

    def right(self, start: str) -> list[np.ndarray | None]:
        """Right answers in percent by seed, for each of ANSWERS."""
        paths = [self.asked.result(f"{start}-{seed}-asked") for seed in range(self.given.seeds)]
        if not all(path.exists() for path in paths):
            return [None] * len(ANSWERS)
        found = [json.loads(path.read_text())["results"][0] for path in paths]
        told = [shares(one["confusion"], one["classes"]) for one in found]
        return [np.array([one[name] * 100 for one in told]) for name in ANSWERS]

    def both(
        self, pool: Commands, what: str, heads: list[str], starts: Sequence[Sequence[np.ndarray | None]],
        floors: Sequence[list[str]] = (),
    ) -> str:
        """Random and pretrained starts, and their difference."""
        rates = json.loads((pool.out / "rates.json").read_text())
        rows = [*floors, ["random initialisation", *map(cell, starts[0])], ["**VIOLET**", *map(cell, starts[1])]]
        told = f"Rates: {rates['violet']:g} for VIOLET, {rates[FLOOR]:g} for random weights. Core-minutes"
        return "\n\n".join([
            f"{what}, mean ± deviation over seeds:", markdown(["start", *heads], rows),
            _difference("VIOLET minus random initialisation", heads, starts[1], starts[0]),
            f"{told}, {minutes(pool.out, ''):.1f} in all, {minutes(pool.out, 'tune-'):.1f} of them tuning.",
        ])


def _random(arm: str) -> tuple[str, ...]:
    return ("--init", "random") if arm == FLOOR else ()


def _difference(
    label: str, heads: list[str], first: Sequence[np.ndarray | None], second: Sequence[np.ndarray | None]
) -> str:
    """Paired by seed."""
    row = ["—" if a is None or b is None else interval(a - b) for a, b in zip(first, second, strict=True)]
    return markdown(["difference", *heads], [[label, *row]])
