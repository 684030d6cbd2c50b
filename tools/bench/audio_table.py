"""The table of docs/benchmarks/audio.md: audio recipes under one budget of recordings, against what they must beat.

    python tools/fetch_audio.py --out data/audio fillets-all languages keywords speakers instruments   # from Debian
    python tools/bench/audio_table.py --data data/audio --out runs/audio --doc docs/benchmarks/audio.md

Every arm hears the same ``--clips`` of real speech (Czech dialogue, prompts in five languages) without labels, crops
of 2.08 s in steps of ``--batch-size``, under one rule of tuning: three peak learning rates a factor of three apart,
each for a quarter of the clips with seed 0, and the one whose probe on a held-out fifth of the keywords' *training*
clips is best is used for all seeds. All networks are 2 layers of width 96. Then, for each seed, probes of recordings:

    keywords     60 phrases, tested on two voices that no training clip has: a linear layer on a learnt sum of layers
    prompts      which of five languages (each one speaker), few labels: a linear layer on the last states
    instruments  20 instruments of a sound font, which no arm heard before, on other pitches

A seed is pretraining seed and label draw at once, so differences are paired by seed: an arm's labels and test samples
are those of every other arm. Floors are the mean of each band of the filter bank over time, and each architecture with
the weights it would have started from.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

from table import RANDOM, TUNING_SHARE, Column, Commands, Shown, parser, put, render

INPUT = "input"
SECONDS = 2.08
PRETRAIN = ("fillets-all", "languages")


@dataclass(frozen=True)
class Arm:
    """What is pretrained. lr: the middle of the three that are tried."""

    label: str
    recipe: str
    options: list[str] = field(default_factory=list)
    lr: float = 1e-3


LAYERS = [f"networks.encoder.{name}={value}" for name, value in (("width", 96), ("depth", 2), ("heads", 3))]
GRID = ["data.decode.audio.frames=208", "tokenize.audio.frames=208", "tokenize.audio.padding=valid"]
SHARE = [f"mask.{plan}.{option}" for plan in ("discriminate", "generate") for option in ("count=none", "ratio=0.75")]
STILL = [f"networks.encoder.{name}=0.0" for name in ("dropout", "attention_dropout")]
ARMS = {
    "patch": Arm("SSAST, patches", "ssast-tiny-patch", [*LAYERS, *GRID, *SHARE]),
    "frame": Arm("SSAST, frames", "ssast-tiny-frame", [*LAYERS, *GRID, *SHARE]),
    "tera": Arm("TERA", "tera-tiny", [
        *LAYERS, *STILL, "data.decode.audio.frames=208", "data.decode.audio.min_frames=8",
    ]),
    "wav2vec2": Arm("wav2vec 2.0", "wav2vec2-tiny", [
        *LAYERS, *STILL, f"data.decode.audio.seconds={SECONDS}", "data.decode.audio.min_seconds=0.1",
        "tokenize.audio.channels=32", "tokenize.audio.over=own", "tokenize.audio.grad_scale=1.0",
        "networks.encoder.input_dropout=0.0", "networks.encoder.layer_drop=0.0",
        "objectives.contrast.target.dropout=0.0", "objectives.contrast.target.negatives=20",
        "objectives.contrast.target.temperature=[2.0,0.5,0.995]",
    ]),
}
PROBE = ["batch=64", "epochs=40"]
COLUMNS = (
    Column("keywords", "keywords, sum of layers"), Column("prompts", "languages, few labels"),
    Column("instruments", "instruments, sum of layers"),
)


class Bench:
    """What is trained and judged."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.given, self.steps = options, max(4, options.clips // options.batch_size)
        self.commands = Commands(options.out, options.jobs, dry=options.dry)

    def shards(self, name: str, split: str) -> str:
        """Shards of a set that tools/fetch_audio.py wrote."""
        folder = self.given.data / name / split
        if not folder.is_dir():
            raise SystemExit(f"{folder} is not there: run tools/fetch_audio.py first")
        return str(folder)

    def train(self, arm: Arm, name: str, seed: int, lr: float, steps: int) -> Path:
        """Pretrain into ``runs/<name>`` -> the folder."""
        folder = self.commands.out / "runs" / name
        data = [word for name in PRETRAIN for word in ("--data", self.shards(name, "train"))]
        held = [word for name in PRETRAIN for word in ("--val", self.shards(name, "val"))]
        self.commands.mmask(
            name, "train", "--recipe", arm.recipe, *data, *held, "--out", folder, "--seed", seed, "--steps", steps,
            "--batch-size", self.given.batch_size, "--workers", 0, "--device", "cpu", "--save-every", steps,
            *arm.options, f"optim.lr={lr:g}", "schedule.kind=cosine", f"schedule.warmup_steps={max(1, steps // 10)}",
            "schedule.min_lr=0", "train.val_samples=96",
        )
        return folder

    def evaluate(self, arm: str, seed: int, folder: Path, *more: str) -> None:
        """Every evaluation of one set of weights."""
        few = ["--labels", self.given.few]
        words = {"keywords": ["weighted"], "prompts": ["linear", *few], "instruments": ["weighted"]}
        for column in COLUMNS:
            task, *flags = words[column.item]
            name = "languages" if column.item == "prompts" else column.item
            item = f"{arm}-{seed}-{column.item}"
            self.commands.mmask(
                item, "eval", task, folder, "--data", self.shards(name, "train"), "--val", self.shards(name, "val"),
                "--first-seed", seed, "--no-cache", "--device", "cpu", *flags, *more,
                "--out", self.commands.result(item), *PROBE,
            )

    def tune(self, key: str) -> float:
        """The learning rate of an arm, by held-out clips of the keywords' training voices."""

        def judge(name: str, lr: float) -> str:
            folder = self.train(ARMS[key], name, 0, lr, max(2, int(self.steps * TUNING_SHARE)))
            item = f"{name}-judged"
            self.commands.mmask(
                item, "eval", "weighted", folder, "--data", self.shards("keywords", "train"), "--no-cache", "--device",
                "cpu", "--out", self.commands.result(item), *PROBE,
            )
            return item

        return self.commands.tune(key, ARMS[key].lr, judge)

    def one(self, key: str, seed: int, lr: float) -> None:
        """An arm's seed, and the floors that belong to it."""
        folder = self.train(ARMS[key], f"{key}-{seed}", seed, lr, self.steps)
        self.evaluate(key, seed, folder)
        self.evaluate(f"{RANDOM}-{key}", seed, folder, "--init", RANDOM)
        if key == "frame":  # its places are whole frames, so that their mean is that of the bands
            self.evaluate(INPUT, seed, folder, "--features", INPUT)

    def run(self) -> dict[str, float]:
        """Everything -> the learning rate of each arm."""
        keys = self.given.arms
        rates = dict(zip(keys, self.commands.all(self.tune, keys), strict=True))
        pairs = [(key, seed) for seed in range(self.given.seeds) for key in keys]
        self.commands.all(lambda pair: self.one(*pair, rates[pair[0]]), pairs)
        self.commands.close(rates)
        return rates


def main() -> None:
    """Run what is missing and print the table."""
    flags = parser(__doc__, ARMS, "runs/audio")
    flags.add_argument("--clips", type=int, default=4_800, help="heard by each arm in pretraining")
    flags.add_argument("--batch-size", type=int, default=16)
    flags.add_argument("--few", default="5/class", help="labels of the few-label column")
    options = flags.parse_args()
    bench = Bench(options)
    rates = bench.run()
    if options.dry:
        return
    floors = {f"{RANDOM}-{key}": f"random: {ARMS[key].label}" for key in options.arms}
    shown = {key: Shown(ARMS[key].label, f"{RANDOM}-{key}") for key in options.arms}
    table = render(
        bench.commands.out, COLUMNS, {INPUT: "filter bank, mean over time", **floors}, shown, rates, options.seeds,
        trivial="the predictor of zeros", others={"floors": (f"{RANDOM}-", f"{INPUT}-")},
    )
    print(table)
    if options.doc:
        put(table, options.doc, options.mark)


if __name__ == "__main__":
    main()
