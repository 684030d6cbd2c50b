"""Shards of pictures and captions -> shards of regions and captions, one for one."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmask.api import DataError, SampleError, open_source

SETTINGS = "regions.json"
EXTENSIONS = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "ppm")
MAX_PIXELS = 1 << 26
Describe = Callable[[np.ndarray], Mapping[str, np.ndarray]]


@dataclass
class Extracted:
    """What was done. shards, samples, regions: written. skipped: shards that were there. failed: (sample, reason)."""

    shards: int = 0
    samples: int = 0
    regions: int = 0
    skipped: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def extract(
    urls: Sequence[str], out: Path, describe: Describe, *, keep_pictures: bool = False, max_pixels: int = MAX_PIXELS,
    told: Callable[[int], None] = lambda count: None, settings: Mapping[str, Any] | None = None,
) -> Extracted:
    """Write a shard of the same name for each of ``urls``: of every sample its other parts as they are, and ``npz``
    with what ``describe`` says of its picture. Samples keep their keys and order. A shard is written aside and renamed;
    one that is there is left alone, so that the same command goes on where it was stopped. A shard without a picture
    that can be read is not written.

    told: called after each sample with 1. settings: what ``describe`` depends on; ``out`` keeps them in
    ``regions.json``. Raises DataError where two shards have the same file name, or ``out`` has those of other settings.
    """
    source = open_source(urls[0] if len(urls) == 1 else f"{{{','.join(urls)}}}")
    out.mkdir(parents=True, exist_ok=True)
    if settings is not None:
        _same_settings(out, settings)
    done, seen, start = Extracted(), set(), 0
    for shard, count in zip(source.shards, source.counts.tolist(), strict=True):
        rows, start = range(start, start + count), start + count
        name = f"{Path(shard.name).name.removesuffix('.tar') or 'pictures'}.tar"
        if name in seen:
            raise DataError(f"two shards are named '{name}'", hint="extract them into different folders")
        seen.add(name)
        if (out / name).exists():
            done.skipped += 1
            told(count)
            continue
        done.shards += _write(source, rows, out / name, describe, keep_pictures, max_pixels, done, told)
    return done


def note_failed(path: Path, failed: Sequence[tuple[str, str]]) -> None:
    """JSON lines of samples that were left out and why, beside those of earlier runs into the folder."""
    earlier = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    reasons = {line["sample"]: line["reason"] for line in map(json.loads, earlier)} | dict(failed)
    lines = [json.dumps({"sample": sample, "reason": reason}) for sample, reason in reasons.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _same_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """Shards of one folder are described alike."""
    record = out / SETTINGS
    if next(out.glob("*.tar"), None) is None:
        record.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        return
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"'{out}' holds shards that this command did not write", hint="choose another --out") from None
    other = [f"{name} {found.get(name)}, not {value}" for name, value in settings.items() if found.get(name) != value]
    if other:
        raise DataError(f"'{out}' holds shards made with {', '.join(other)}", hint="choose another --out")


def _write(
    source: Any, rows: Sequence[int], final: Path, describe: Describe, keep: bool, max_pixels: int, done: Extracted,
    told: Callable[[int], None],
) -> bool:
    """Whether there was a sample to write."""
    from webdataset.writer import TarWriter

    aside, before = final.with_name(f"{final.name}.tmp"), done.samples
    with aside.open("wb") as file:
        with TarWriter(file, encoder=False, mtime=0, user="mmask", group="mmask", compress=False) as tar:
            for row in rows:
                told(1)
                identity = f"row {row}"
                try:
                    sample = source.read(row)
                    identity = str(sample.id)
                    part = next((one for one in EXTENSIONS if one in sample.parts), None)
                    if part is None:
                        raise SampleError(f"no picture among its parts {sorted(sample.parts)}")
                    arrays = describe(read_picture(sample.parts[part], max_pixels))
                except SampleError as error:
                    done.failed.append((identity, error.message))
                    continue
                rest = {name: value for name, value in sample.parts.items() if keep or name not in EXTENSIONS}
                tar.write({"__key__": sample.id.key, **rest, "npz": pack_arrays(arrays)})
                done.samples += 1
                done.regions += len(arrays["boxes"])
        file.flush()
        os.fsync(file.fileno())
    if done.samples == before:
        aside.unlink()
        return False
    os.replace(aside, final)
    return True


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of an ``.npz`` file; the same arrays give the same bytes."""
    to = io.BytesIO()
    rest: dict[str, Any] = {name: arrays[name] for name in sorted(arrays)}
    np.savez_compressed(to, **rest)
    return to.getvalue()


def read_picture(data: bytes, max_pixels: int) -> np.ndarray:
    """(H, W, 3) uint8, upright, transparency on white; the first frame of several. Raises SampleError."""
    try:
        with Image.open(io.BytesIO(data)) as file:
            if file.width * file.height > max_pixels:
                raise SampleError(f"{file.width} x {file.height} pixels are more than max_pixels {max_pixels:,}")
            image = ImageOps.exif_transpose(file)
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                rgba = image.convert("RGBA")
                white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
                white.alpha_composite(rgba)
                image = white
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise SampleError(f"the picture cannot be read ({error})") from error
