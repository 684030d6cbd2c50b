"""The region decoder: arrays that describe the regions of a picture -> fields of a batch."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from PIL import Image

from mmask.api import Keys, RecipeError, Sample, SampleError
from mmask_vl.extract import EXTENSIONS, MAX_PIXELS, read_picture

FEATURES, BOXES, CLASSES, CONFIDENCE = "features", "boxes", "classes", "confidence"


class RegionDecoder:
    """Makes ``<name>`` (R, D) float32, ``<name>.box`` (R, 4 or more) float32, ``<name>.picture``, an int64 that tells
    pictures apart, and where they are stored ``<name>.class`` (R, C) and ``<name>.confidence`` (R,) float32, from a
    part in NumPy's ``.npz`` form. Nothing is unpickled.

    part: the sample's part. features, boxes, classes, confidence: names of its arrays; "" for one that is not wanted.
    Boxes are x1, y1, x2, y2 in [0, 1], and whatever of a longer code follows; corners in pixels are divided by the
    array ``size`` (width, height) where there is one. more: field ending -> array (R, ...), such as the attributes of
    LXMERT. Arrays of 16 bits become 32.

    Regions come in order of falling confidence, in stored order where there is none; those above ``threshold`` stay,
    but ``least`` and at most ``most`` of them, of those that are stored (UNITER: 0.2, 10 to 100). most None keeps all.
    picture: side of the picture itself, drawn behind its regions in figures: the field ``<name>.image``, (3, side,
    side) uint8, stretched so that boxes lie where they belong; the sample keeps a part with it. 0 reads none.
    max_bytes: larger parts, packed or unpacked, are refused. Raises SampleError.
    """

    def __init__(
        self, *, part: str = "npz", name: str = "regions", features: str = FEATURES, boxes: str = BOXES,
        classes: str = CLASSES, confidence: str = CONFIDENCE, more: Mapping[str, str] | None = None,
        threshold: float = 0.0, least: int = 1, most: int | None = 100, picture: int = 0, max_bytes: int = 1 << 26,
    ) -> None:
        if picture < 0:
            raise RecipeError(f"picture = {picture} is a side in pixels, or 0 for none")
        if least < 1 or (most is not None and most < least):
            raise RecipeError(f"least = {least} is 1 or more and most = {most} not below it")
        self.part, self.name, self.features, self.boxes = part, name, features, boxes
        self.classes, self.confidence, self.more = classes, confidence, dict(more or {})
        self.threshold, self.least, self.most, self.max_bytes = threshold, least, most, max_bytes
        self.picture = picture
        ends = ["", ".box", *([".class"] if classes else []), *([".confidence"] if confidence else []),
                *(f".{end}" for end in self.more)]
        self.ragged = tuple(f"{name}{end}" for end in ends)

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        """The fields of one sample."""
        found = self._read(sample)
        features = _table(sample, self.features, found[self.features])
        boxes = _placed(sample, _table(sample, self.boxes, found[self.boxes]), found.get("size"))
        rows = self._chosen(sample, found, len(features))
        picture = blake2b(np.ascontiguousarray(features).tobytes(), digest_size=8).digest()
        made: dict[str, Any] = {
            self.name: features[rows].astype(np.float32), f"{self.name}.box": boxes[rows].astype(np.float32),
            f"{self.name}.picture": np.int64(int.from_bytes(picture, "little", signed=True)),
        }
        beside = {".class": self.classes, ".confidence": self.confidence, **{f".{k}": v for k, v in self.more.items()}}
        for end, name in beside.items():
            if name:
                values = found[name][rows]
                whole = values.dtype.kind in "iub"
                made[f"{self.name}{end}"] = values.astype(np.int64 if whole else np.float32)
        for name, values in made.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise SampleError(f"{sample.id}: {name} holds numbers that are not finite")
        if self.picture:
            made[f"{self.name}.image"] = _stretched(sample, self.picture)
        return made

    def _read(self, sample: Sample) -> dict[str, np.ndarray]:
        if self.part not in sample.parts:
            raise SampleError(f"{sample.id} has no part '{self.part}'; it has {sorted(sample.parts)}")
        wanted = [self.features, self.boxes, self.classes, self.confidence, *self.more.values()]
        found = read_arrays(sample.parts[self.part], {*wanted, "size"} - {""}, str(sample.id), self.max_bytes)
        missing = [name for name in wanted if name and name not in found]
        if missing:
            raise SampleError(
                f"{sample.id}: part '{self.part}' has no array '{missing[0]}'; it has {sorted(found)}",
                hint="name the arrays in data.decode, or give '' for one that is not wanted",
            )
        count = len(found[self.features])
        odd = [name for name in wanted if name and len(found[name]) != count]
        if odd or not count:
            what = f"{len(found[odd[0]])} rows of '{odd[0]}' to" if odd else "no regions:"
            raise SampleError(f"{sample.id}: {what} {count} of '{self.features}'")
        return found

    def _chosen(self, sample: Sample, found: Mapping[str, np.ndarray], count: int) -> np.ndarray:
        """Rows that stay, the surest first."""
        most = count if self.most is None else min(self.most, count)
        if not self.confidence:
            return np.arange(most)
        sure = found[self.confidence]
        if sure.ndim != 1:
            raise SampleError(f"{sample.id}: '{self.confidence}' is {sure.shape}, not one number a region")
        keep = min(max(int((sure > self.threshold).sum()), self.least), most)
        return np.argsort(-sure.astype(np.float64), kind="stable")[:keep]


def _stretched(sample: Sample, side: int) -> np.ndarray:
    """(3, side, side) uint8: the whole picture, its sides made equal."""
    part = next((one for one in EXTENSIONS if one in sample.parts), None)
    if part is None:
        raise SampleError(f"{sample.id} has no picture; it has {sorted(sample.parts)}",
                          hint="keep it with: mmask data regions --keep-pictures")
    whole = Image.fromarray(read_picture(sample.parts[part], MAX_PIXELS))
    return np.ascontiguousarray(np.asarray(whole.resize((side, side), Image.Resampling.BICUBIC)).transpose(2, 0, 1))


def read_arrays(data: bytes, names: set[str], what: str, max_bytes: int) -> dict[str, np.ndarray]:
    """Those of the arrays ``names`` that an ``.npz`` file has. Raises SampleError for what is none, or too large."""
    if len(data) > max_bytes:
        raise SampleError(f"{what}: {len(data):,} bytes of arrays are more than max_bytes {max_bytes:,}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
        if sum(sizes.get(f"{name}.npy", 0) for name in names) > max_bytes:
            raise SampleError(f"{what}: its arrays unpack to more than max_bytes {max_bytes:,}")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name in names}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise SampleError(f"{what}: no arrays can be read ({error})") from error


def _table(sample: Sample, name: str, values: np.ndarray) -> np.ndarray:
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise SampleError(f"{sample.id}: '{name}' is {values.dtype} {values.shape}, not one row of numbers a region")
    return values


def _placed(sample: Sample, boxes: np.ndarray, size: np.ndarray | None) -> np.ndarray:
    """Boxes in shares of the picture. Raises SampleError where they cannot be."""
    boxes = boxes.astype(np.float32)
    if boxes.shape[1] < 4:
        raise SampleError(f"{sample.id}: boxes of {boxes.shape[1]} numbers; x1, y1, x2, y2 are needed")
    corners = boxes[:, :4]
    if size is not None and corners.max(initial=0.0) > 1.0 + 1e-3:
        corners = corners / np.tile(size.astype(np.float32).reshape(-1)[:2], 2)
        boxes = corners
    if corners.min(initial=0.0) < -1e-3 or corners.max(initial=0.0) > 1.0 + 1e-3:
        raise SampleError(
            f"{sample.id}: corners reach from {corners.min():.3g} to {corners.max():.3g}",
            hint="store boxes as shares of width and height, or an array 'size' (width, height) beside pixels",
        )
    return boxes
