"""Images per second of decoding and augmenting, against webdataset with Pillow and torchvision.

    pip install scikit-image torchvision
    python tools/bench/data.py --rounds 7

Both sides do the same work in one process on one thread: decode a JPEG of about 500 x 400, take a random
resized crop to 224 (bicubic, antialiased), flip, normalise to float32. They alternate within every round and
the ratio of each round is reported. 400 JPEGs are cut from the photographs that scikit-image ships, with random
crops, sizes, gains, noise and qualities, and written as shards once.

Three comparisons: ``decode`` (bytes in memory -> one normalised picture), ``stream`` (shards on disk ->
normalised batches, webdataset's pipeline against mmask's Loader without workers) and the largest difference
from Pillow for the same crop.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
import webdataset
from PIL import Image
from torchvision import transforms

from mmask.data.loader import Loader
from mmask.data.pack import pack, plan_shards
from mmask.data.rows import Row
from mmask.data.source import open_source
from mmask.data.stream import Stream
from mmask.keyed import single
from mmask.types import Sample, SampleId
from mmask_image.decode import ImageDecoder

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE, SCALE = 224, (0.2, 1.0)
PHOTOS = (
    "astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "motorcycle_left.png", "ihc.png",
    "hubble_deep_field.jpg", "retina.jpg", "brick.png", "grass.png", "gravel.png", "camera.png",
)


@dataclass(frozen=True)
class Stored:
    """A packer for pictures that are in memory already."""

    def __call__(self, path: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
        """``jpg`` and ``cls``."""
        return {"jpg": row["jpg"], "cls": b"0"}


def pictures(count: int, seed: int = 0) -> list[bytes]:
    """JPEGs of 440-560 x 340-460 pixels with the content of photographs."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    photos = [Image.open(folder / name).convert("RGB") for name in PHOTOS]
    rng, made = np.random.default_rng(seed), []
    for at in range(count):
        photo = photos[at % len(photos)]
        width, height = int(rng.integers(440, 561)), int(rng.integers(340, 461))
        w = int(photo.width * rng.uniform(0.55, 1))
        h = min(photo.height, int(w * height / width))
        x, y = int(rng.integers(0, photo.width - w + 1)), int(rng.integers(0, photo.height - h + 1))
        small = photo.crop((x, y, x + w, y + h)).resize((width, height), Image.Resampling.LANCZOS)
        noisy = np.asarray(small, np.float32) * rng.uniform(0.8, 1.2) + rng.normal(0, 3, (height, width, 1))
        to = io.BytesIO()
        quality = int(rng.integers(85, 96))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(to, "jpeg", quality=quality)
        made.append(to.getvalue())
    return made


def peer() -> Callable[[Image.Image], torch.Tensor]:
    """The transforms that every MAE code base uses."""
    return transforms.Compose([
        transforms.RandomResizedCrop(SIDE, scale=SCALE, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ])


class Normalise:
    """uint8 -> float32 as the patch tokenizer does it: one multiplication and one addition a value."""

    def __init__(self) -> None:
        std = torch.tensor(STD)[:, None, None]
        self.scale, self.shift = 1 / (255 * std), -torch.tensor(MEAN)[:, None, None] / std

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """(..., 3, H, W)."""
        return (values * self.scale).add_(self.shift)


def decode_arms(stored: Sequence[bytes]) -> dict[str, Callable[[], int]]:
    """One pass over pictures in memory."""
    transform, decoder, normalise = peer(), ImageDecoder(size=SIDE, scale=SCALE), Normalise()
    samples = [Sample(SampleId("bench", "", str(at)), {"jpg": data}) for at, data in enumerate(stored)]
    keys = [single(0, sample.id.digest(), 0) for sample in samples]

    def theirs() -> int:
        for data in stored:
            with Image.open(io.BytesIO(data)) as image:
                transform(image.convert("RGB"))
        return len(stored)

    def ours() -> int:
        for sample, key in zip(samples, keys, strict=True):
            normalise(decoder(sample, key)["image"])
        return len(samples)

    return {"peer": theirs, "mmask": ours}


def stream_arms(folder: Path, count: int, batch: int) -> dict[str, Callable[[], int]]:
    """One pass over shards on disk, in batches."""
    shards = sorted(str(path) for path in folder.glob("*.tar"))
    transform, normalise = peer(), Normalise()
    decoder = ImageDecoder(size=SIDE, scale=SCALE)
    stream = Stream([open_source(str(folder), "bench")], seed=0)

    def theirs() -> int:
        data = webdataset.WebDataset(shards, shardshuffle=len(shards), empty_check=False).shuffle(1000)
        batches = data.decode("pilrgb").to_tuple("jpg", "cls").map_tuple(transform).batched(batch)
        return sum(len(images) for images, _ in batches)

    def ours() -> int:
        loader = Loader(stream, {"image": decoder}, batch_size=batch, limit=count)
        return sum(len(normalise(one["image"])) for one in loader)

    return {"peer": theirs, "mmask": ours}


def measure(arms: Mapping[str, Callable[[], int]], rounds: int) -> dict[str, Any]:
    """Images per second of each arm, by wall clock and by processor time, alternating; ratios round by round."""
    wall: dict[str, list[float]] = {name: [] for name in arms}
    cpu: dict[str, list[float]] = {name: [] for name in arms}
    for arm in arms.values():
        arm()
    for at in range(rounds):
        for name in list(arms)[:: 1 if at % 2 else -1]:
            begun, used = time.perf_counter(), time.process_time()
            count = arms[name]()
            wall[name].append(count / (time.perf_counter() - begun))
            cpu[name].append(count / (time.process_time() - used))
    ratios = {
        kind: [ours / theirs for ours, theirs in zip(table["mmask"], table["peer"], strict=True)]
        for kind, table in (("wall", wall), ("cpu", cpu))
    }
    return {
        "images_per_s": {name: round(statistics.median(values)) for name, values in wall.items()},
        "ratio": {kind: round(statistics.median(values), 2) for kind, values in ratios.items()},
        "ratio_range": [round(min(ratios["wall"]), 2), round(max(ratios["wall"]), 2)],
    }


def difference(stored: Sequence[bytes]) -> dict[str, Any]:
    """How far our pixels lie from Pillow's for the same crop, in units of 1/255."""
    decoder, counts = ImageDecoder(size=SIDE, scale=SCALE), np.zeros(256, np.int64)
    for at, data in enumerate(stored):
        made = decoder(Sample(SampleId("bench", "", str(at)), {"jpg": data}), single(0, at, 0))
        top, left, height, width, flipped = made["augment.image"].tolist()
        crop = Image.open(io.BytesIO(data)).convert("RGB").crop((left, top, left + width, top + height))
        small = crop.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        if flipped:
            small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        apart = np.abs(np.asarray(small).astype(int).transpose(2, 0, 1) - made["image"].numpy())
        counts += np.bincount(apart.ravel(), minlength=256)
    return {"largest": int(np.flatnonzero(counts)[-1]), "equal": round(float(counts[0] / counts.sum()), 4)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    stored = pictures(options.pictures)
    rows = [Row(Path(str(at)), f"{at:05d}", {"jpg": data}, "train") for at, data in enumerate(stored)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "shards"
        pack(plan_shards(rows, Stored(), shard_count=100), Stored(), folder)
        found = {
            "decode": measure(decode_arms(stored), options.rounds),
            "stream": measure(stream_arms(folder, len(stored), options.batch), options.rounds),
        }
    found["pixels"] = difference(stored)
    found["kilobytes"] = round(sum(map(len, stored)) / len(stored) / 1000)
    found["versions"] = {
        "machine": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}", "torch": torch.__version__,
        "torchvision": torchvision.__version__, "pillow": PIL.__version__, "webdataset": webdataset.__version__,
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
