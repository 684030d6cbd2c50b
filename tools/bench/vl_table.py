"""The tables of docs/benchmarks/vl.md: recipes of pictures and captions under one budget, against what they must beat.

    python tools/bench/vl_table.py --arms uniter joint lxmert --out runs/vl --doc docs/benchmarks/vl.md
    python tools/build_vl_samples.py --pictures data/emoji
    python tools/bench/vl_table.py --data data/emoji --arms clip --out runs/clip --doc docs/benchmarks/vl.md --mark clip
    python tools/fetch_clipart.py --out data/clipart  # and its regions, see there
    python tools/bench/vl_table.py --set clipart --data data/clipart --out runs/clipart --doc docs/benchmarks/vl.md \\
        --mark clipart

``emoji``: the sample shards of the plugin, 1,277 emoji with their names and main colours to learn from, 322 of other
concepts to be judged on. ``clipart``: drawings with titles and keywords, 2,345 and 553. UNITER and LXMERT see regions
of a 3 x 3 grid, CLIP the pictures. Every arm sees the same number of pairs (``--steps`` of ``--batch-size``) at one
learning rate, ``--lr`` for all, without tuning. Then, for each seed:

    retrieval   zero-shot, by the arm's own matching or contrast, over the full matrix of held-out pairs
    groups      a linear probe of the pooled state: which group, or which folder, a pair is of. On ``clipart`` texts are
                titles without the keywords, which often say the folder; CLIP's pooled state is the picture's alone
    named       CLIP tells the group or the folder by its name

Floors are each architecture with the weights it starts from, what random orders reach, and on ``clipart`` words of
titles and pixels under a logistic regression. ``uniter`` against ``joint`` is the paper's comparison of hiding one
modality a task with hiding both.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

from table import RANDOM, Column, Commands, Shown, markdown, parser, put, render
from vl_floor import FLOORS, floor


@dataclass(frozen=True)
class Arm:
    """What is pretrained. floor: the arm whose random start it shares. pictures: pixels are read, no regions."""

    label: str
    recipe: str
    options: list[str] = field(default_factory=list)
    floor: str = ""
    pictures: bool = False


@dataclass(frozen=True)
class Data:
    """What is learnt from. label: of the probe. read: options of all arms, and of CLIP. more: flags of the evaluations.
    words: whether there are floors of words and pixels."""

    label: str
    head: str
    read: tuple[list[str], list[str]]
    more: dict[str, list[str]]
    words: bool = False


UNITER = ["networks.encoder.depth=2", "program.tasks.itm.ratio=6"]  # of ten steps, six match
LXMERT = [f"networks.encoder.{part}=1" for part in ("language", "objects", "cross")]
CLIP = [  # a step takes as long as one of UNITER
    "networks.encoder.vision.layers=2", "networks.encoder.words.layers=2", "tokenize.image.size=8",
    "data.decode.text.field=caption",
]
ARMS = {
    "uniter": Arm("UNITER, one modality hidden", "uniter-tiny", UNITER, "uniter"),
    "joint": Arm("UNITER, both hidden", "uniter-tiny-joint", UNITER, "uniter"),
    "lxmert": Arm("LXMERT", "lxmert-tiny", LXMERT, "lxmert"),
    "clip": Arm("CLIP", "clip-tiny", CLIP, "clip", pictures=True),
}
RANDOMS = {"uniter": "random: UNITER", "lxmert": "random: LXMERT", "clip": "random: CLIP"}
DATA = {
    "emoji": Data("group", "groups", ([], []), {}),
    "clipart": Data(
        "folder", "folders", (["data.decode.text.max_length=24"], ["networks.encoder.words.context_length=24"]),
        {"retrieval": ["--limit", "300"], "groups": ["data.decode.text.field=name"]}, words=True,
    ),
}


def columns(data: Data, named: bool) -> tuple[Column, ...]:
    """Of the table. named: with those of CLIP alone."""
    last = (Column("named", f"{data.head} by name", metric="top1"),
            Column("named", f"{data.head} by name, balanced", metric="balanced"))
    return (
        Column("retrieval", "mean recall", metric="recall"),
        Column("retrieval", "text: R@1", metric="text_r1"), Column("retrieval", "text: R@10", metric="text_r10"),
        Column("retrieval", "picture: R@1", metric="regions_r1|image_r1"),
        Column("retrieval", "picture: R@10", metric="regions_r10|image_r10"),
        Column("groups", f"{data.head}, linear"), *(last if named else ()),
    )


class Bench:
    """What is trained and judged."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.given, self.commands = options, Commands(options.out, options.jobs, dry=options.dry)
        self.data = DATA[options.set]

    def flags(self, *, pictures: bool) -> list[str | Path]:
        """``--data`` and ``--val``."""
        from mmask_vl.dataset import emoji_regions

        if not pictures and self.given.set == "emoji":
            urls = emoji_regions()
            return [word for split, flag in (("train", "--data"), ("val", "--val"))
                    for url in urls[split] for word in (flag, url)]
        if self.given.data is None:
            raise SystemExit("--data DIR is needed, see the head of this tool")
        root = self.given.data if pictures else self.given.data / "regions"
        return ["--data", root / "train" / "*.tar", "--val", root / "val" / "*.tar"]

    def train(self, key: str, seed: int) -> Path:
        """Pretrain into ``runs/<key>-<seed>`` -> the folder."""
        arm, steps, name = ARMS[key], self.given.steps, f"{key}-{seed}"
        folder, (every, clip) = self.commands.out / "runs" / name, self.data.read
        self.commands.mmask(
            name, "train", "--recipe", arm.recipe, *self.flags(pictures=arm.pictures), "--out", folder, "--seed", seed,
            "--steps", steps, "--batch-size", self.given.batch_size, "--workers", 0, "--device", "cpu", "--save-every",
            steps, *arm.options, *every, *(clip if arm.pictures else []), f"optim.lr={self.given.lr:g}",
            "optim.clip=1.0", "schedule.kind=cosine", "schedule.min_lr=0",
            f"schedule.warmup_steps={max(1, steps // 10)}", "train.val_samples=128", "train.log_every=50",
        )
        return folder

    def evaluate(self, key: str, seed: int, folder: Path, *more: str) -> None:
        """Every evaluation of one set of weights."""
        arm, label = ARMS[key.removeprefix(f"{RANDOM}-")], ("--label", self.data.label)
        words = {"retrieval": ("retrieval", "chunk=1024"),
                 "groups": ("linear", "epochs=30", *label, "--no-cache")}
        if arm.pictures:
            words["named"] = ("zeroshot", *label)
        for column, (task, *flags) in words.items():
            item = f"{key}-{seed}-{column}"
            self.commands.mmask(
                item, "eval", task, folder, *self.flags(pictures=arm.pictures), "--first-seed", seed, "--device", "cpu",
                *more, "--out", self.commands.result(item), *flags, *self.data.more.get(column, []),
            )

    def one(self, key: str, seed: int) -> None:
        """An arm's seed, and the floor that belongs to it."""
        folder = self.train(key, seed)
        self.evaluate(key, seed, folder)
        if ARMS[key].floor == key:
            self.evaluate(f"{RANDOM}-{key}", seed, folder, "--init", RANDOM)

    def run(self) -> dict[str, float]:
        """Everything -> the learning rate of each arm."""
        seeds = range(self.given.seeds)
        self.commands.all(lambda pair: self.one(*pair), [(key, seed) for seed in seeds for key in self.given.arms])
        for kind in FLOORS if self.data.words else ():
            for seed in seeds:  # the same each time; the table takes the mean over seeds
                item = f"{kind}-{seed}-groups"
                self.commands.call(item, f"# {FLOORS[kind]}", floor, kind, self.given.data, self.data.label,
                                   self.commands.result(item))
        rates = dict.fromkeys(self.given.arms, self.given.lr)
        self.commands.close(rates)
        return rates

    def table(self, rates: dict[str, float]) -> str:
        """Markdown."""
        shown = {key: Shown(ARMS[key].label, f"{RANDOM}-{ARMS[key].floor}") for key in self.given.arms}
        floors = {f"{RANDOM}-{key}": label for key, label in RANDOMS.items() if key in self.given.arms}
        kinds = FLOORS if self.data.words else {}
        named = any(ARMS[key].pictures for key in self.given.arms)
        table = render(
            self.commands.out, columns(self.data, named), {**floors, **kinds}, shown, rates, self.given.seeds,
            trivial="predictors that learnt nothing", others={"floors": (RANDOM, *kinds)},
        )
        return f"{table}\n\n{self.chance()}"

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
    flags.add_argument("--set", choices=DATA, default="emoji")
    flags.add_argument("--data", type=Path, help="pictures with captions, and regions of clipart, as tools/ wrote them")
    flags.add_argument("--steps", type=int, default=1200)
    flags.add_argument("--batch-size", type=int, default=64)
    flags.add_argument("--lr", type=float, default=1e-3)
    options = flags.parse_args()
    bench = Bench(options)
    rates = bench.run()
    if options.dry:
        return
    table = bench.table(rates)
    print(table)
    if options.doc:
        put(table, options.doc, options.mark)


if __name__ == "__main__":
    main()
