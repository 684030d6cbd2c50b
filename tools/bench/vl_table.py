"""The table of docs/benchmarks/vl.md: recipes of pictures and captions under one budget, against what they must beat.

    python tools/bench/vl_table.py --out runs/vl --doc docs/benchmarks/vl.md

Data are the sample shards of the plugin: 1,277 emoji with their names and main colours to learn from, 322 of other
concepts to be judged on, regions of a 3 x 3 grid. Every arm sees the same number of pairs (``--steps`` of
``--batch-size``) at one learning rate, ``--lr`` for all, without tuning. Then, for each seed:

    retrieval   zero-shot, by the arm's own matching, over the full matrix of the 322 held-out pairs
    groups      a linear probe of the pooled state: which of the emoji's groups a pair is of

Floors are each architecture with the weights it starts from, and what random orders reach. ``uniter`` against ``joint``
is the paper's comparison of hiding one modality a task with hiding both.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

from table import RANDOM, Column, Commands, Shown, markdown, parser, put, render

LABEL = "group"


@dataclass(frozen=True)
class Arm:
    """What is pretrained. floor: the arm whose random start it shares."""

    label: str
    recipe: str
    options: list[str] = field(default_factory=list)
    floor: str = ""


UNITER = ["networks.encoder.depth=2", "program.tasks.itm.ratio=6"]  # of ten steps, six match
LXMERT = [f"networks.encoder.{part}=1" for part in ("language", "objects", "cross")]
ARMS = {
    "uniter": Arm("UNITER, one modality hidden", "uniter-tiny", UNITER, "uniter"),
    "joint": Arm("UNITER, both hidden", "uniter-tiny-joint", UNITER, "uniter"),
    "lxmert": Arm("LXMERT", "lxmert-tiny", LXMERT, "lxmert"),
}
FLOORS = {f"{RANDOM}-uniter": "random: UNITER", f"{RANDOM}-lxmert": "random: LXMERT"}
COLUMNS = (
    Column("retrieval", "mean recall", metric="recall"),
    Column("retrieval", "text: R@1", metric="text_r1"), Column("retrieval", "text: R@10", metric="text_r10"),
    Column("retrieval", "picture: R@1", metric="regions_r1"),
    Column("retrieval", "picture: R@10", metric="regions_r10"),
    Column("groups", "groups, linear"),
)


class Bench:
    """What is trained and judged."""

    def __init__(self, options: argparse.Namespace) -> None:
        from mmask_vl.dataset import emoji_regions

        self.given, self.commands = options, Commands(options.out, options.jobs, dry=options.dry)
        self.urls = emoji_regions()

    def flags(self) -> list[str]:
        """``--data`` and ``--val``."""
        pairs = [("--data", url) for url in self.urls["train"]] + [("--val", url) for url in self.urls["val"]]
        return [word for pair in pairs for word in pair]

    def train(self, key: str, seed: int) -> Path:
        """Pretrain into ``runs/<key>-<seed>`` -> the folder."""
        arm, steps, name = ARMS[key], self.given.steps, f"{key}-{seed}"
        folder = self.commands.out / "runs" / name
        self.commands.mmask(
            name, "train", "--recipe", arm.recipe, *self.flags(), "--out", folder, "--seed", seed, "--steps", steps,
            "--batch-size", self.given.batch_size, "--workers", 0, "--device", "cpu", "--save-every", steps,
            *arm.options, f"optim.lr={self.given.lr:g}", "optim.clip=1.0", "schedule.kind=cosine", "schedule.min_lr=0",
            f"schedule.warmup_steps={max(1, steps // 10)}", "train.val_samples=128", "train.log_every=50",
        )
        return folder

    def evaluate(self, key: str, seed: int, folder: Path, *more: str) -> None:
        """Every evaluation of one set of weights."""
        words = {"retrieval": ("retrieval", "chunk=1024"),
                 "groups": ("linear", "epochs=30", "--label", LABEL, "--no-cache")}
        for column, (task, *flags) in words.items():
            item = f"{key}-{seed}-{column}"
            self.commands.mmask(
                item, "eval", task, folder, *self.flags(), "--first-seed", seed, "--device", "cpu", *more,
                "--out", self.commands.result(item), *flags,
            )

    def one(self, key: str, seed: int) -> None:
        """An arm's seed, and the floor that belongs to it."""
        folder = self.train(key, seed)
        self.evaluate(key, seed, folder)
        if ARMS[key].floor == key:
            self.evaluate(f"{RANDOM}-{key}", seed, folder, "--init", RANDOM)

    def run(self) -> dict[str, float]:
        """Everything -> the learning rate of each arm."""
        pairs = [(key, seed) for seed in range(self.given.seeds) for key in self.given.arms]
        self.commands.all(lambda pair: self.one(*pair), pairs)
        rates = dict.fromkeys(self.given.arms, self.given.lr)
        self.commands.close(rates)
        return rates

    def chance(self) -> str:
        """What random orders reach, from the first result."""
        item = f"{self.given.arms[0]}-0-retrieval"
        told = json.loads(self.commands.result(item).read_text())["results"][0]["seeds"][0]["about"]
        shares = {name: f"{value * 100:.1f}" for name, value in told["chance"].items()}
        compared = " and ".join(f"{count} of {side}" for side, count in told["compared"].items())
        return f"Random orders of {compared} reach, in percent:\n\n{markdown(list(shares), [list(shares.values())])}"


def main() -> None:
    """Run what is missing and print the table."""
    flags = parser(__doc__, ARMS, "runs/vl", data=False)
    flags.add_argument("--steps", type=int, default=1200)
    flags.add_argument("--batch-size", type=int, default=64)
    flags.add_argument("--lr", type=float, default=1e-3)
    options = flags.parse_args()
    bench = Bench(options)
    rates = bench.run()
    if options.dry:
        return
    shown = {key: Shown(ARMS[key].label, f"{RANDOM}-{ARMS[key].floor}") for key in options.arms}
    floors = {key: label for key, label in FLOORS.items() if key.removeprefix(f"{RANDOM}-") in options.arms}
    table = render(
        bench.commands.out, COLUMNS, floors, shown, rates, options.seeds, trivial="predictors that learnt nothing",
        others={"floors": (RANDOM,)},
    )
    table = f"{table}\n\n{bench.chance()}"
    print(table)
    if options.doc:
        put(table, options.doc)


if __name__ == "__main__":
    main()
