"""Decoded samples -> a Batch: stack what has one shape, pad what is ragged, leave the rest a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

from mmask.errors import DataError
from mmask.types import Batch

AUGMENT = "augment."


def as_value(value: Any) -> Any:
    """Arrays and numbers become tensors; whole numbers int64, real ones float32; the rest stays."""
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, bool | np.bool_):
        return torch.tensor(bool(value))
    if isinstance(value, int | np.integer):
        return torch.tensor(int(value), dtype=torch.int64)
    if isinstance(value, float | np.floating):
        return torch.tensor(float(value), dtype=torch.float32)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        if not value.dtype.isnative:
            value = value.astype(value.dtype.newbyteorder("="))
        return torch.from_numpy(np.require(value, requirements=["C", "W"]))
    return value


def stack(name: str, values: Sequence[Any], *, ragged: bool = False) -> dict[str, Any]:
    """One field's B values -> ``{name: (B, ...)}``, with ``name.length`` (B,) int64 when it was padded.

    Tensors that differ along one axis are padded with zeros at its end; ``ragged`` asks for the lengths (of
    the first axis) even when they happen to agree. Other differences in shape, and values that are no
    tensors, leave a list. Tensors of different types, and ``ragged`` ones that differ along another axis than the
    first, raise DataError.
    """
    if not all(isinstance(value, torch.Tensor) for value in values):
        return {name: list(values)}
    kinds = {value.dtype for value in values}
    if len(kinds) > 1:
        raise DataError(
            f"field '{name}' has values of types {sorted(map(str, kinds))} in one batch",
            hint="its decoder must return one type",
        )
    shapes = {tuple(value.shape) for value in values}
    if len(shapes) == 1:
        found = {name: torch.stack(list(values))}
        if ragged:
            length = values[0].shape[0]
            found[f"{name}.length"] = torch.full((len(values),), length, dtype=torch.int64)
        return found
    axis = _ragged_axis(shapes)
    if ragged and axis != 0:  # padding would invent features
        raise DataError(
            f"field '{name}' has rows of different sizes in one batch: {', '.join(map(str, sorted(shapes)[:3]))}",
            hint="samples of one run may differ in their first axis alone, such as pictures in their regions",
        )
    if axis is None:
        return {name: list(values)}
    return _pad(name, values, axis)


def _ragged_axis(shapes: set[tuple[int, ...]]) -> int | None:
    """The one axis along which shapes differ, or None."""
    ranks = {len(shape) for shape in shapes}
    if len(ranks) > 1:
        return None
    differ = [axis for axis, sizes in enumerate(zip(*shapes, strict=True)) if len(set(sizes)) > 1]
    return differ[0] if len(differ) == 1 else None


def _pad(name: str, values: Sequence[torch.Tensor], axis: int) -> dict[str, Any]:
    lengths = torch.tensor([value.shape[axis] for value in values], dtype=torch.int64)
    shape = list(values[0].shape)
    shape[axis] = int(lengths.max())
    out = values[0].new_zeros((len(values), *shape))
    for row, value in enumerate(values):
        out[row].narrow(axis, 0, value.shape[axis]).copy_(value)
    return {name: out, f"{name}.length": lengths}


def collate(columns: Mapping[str, Sequence[Any]], ragged: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Fields of B values each -> stacked fields, as `stack` says. A decoder that fills up a value itself returns
    ``<name>.length`` too, and that is kept."""
    found: dict[str, Any] = {}
    for name, values in columns.items():
        _add(found, stack(name, values, ragged=name in ragged), name, columns)
    return found


def merge(
    pieces: Sequence[tuple[torch.Tensor, Mapping[str, Any]]], n: int, ragged: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Fields of n samples from readers' pieces: (rows of the batch, field -> that many values).

    What every reader stacked to one shape is copied once; the rest goes through `stack`. The result is the
    one that `collate` gives for all samples together, and owns its memory.
    """
    columns = pieces[0][1]
    for _, fields in pieces[1:]:
        if fields.keys() != columns.keys():
            odd = sorted(fields.keys() ^ columns.keys())
            raise DataError(
                f"field '{odd[0]}' is in some samples of a batch and not in others",
                hint="decoders must return the same fields for every sample",
            )
    found: dict[str, Any] = {}
    for name in columns:
        values = [fields[name] for _, fields in pieces]
        if name not in ragged and _same_shape(values):
            out = values[0].new_empty((n, *values[0].shape[1:]))
            for (rows, _), value in zip(pieces, values, strict=True):
                _place(out, rows, value)
            found[name] = out
            continue
        whole: list[Any] = [None] * n
        for (rows, _), value in zip(pieces, values, strict=True):
            for row, one in zip(rows.tolist(), value, strict=True):
                whole[row] = one
        made = stack(name, whole, ragged=name in ragged)
        if isinstance(made[name], list):
            made[name] = [one.clone() if isinstance(one, torch.Tensor) else one for one in made[name]]
        _add(found, made, name, columns)
    return found


def _add(found: dict[str, Any], made: Mapping[str, Any], name: str, columns: Mapping[str, Any]) -> None:
    """Take what stacking ``name`` made; lengths that its decoder gave are the true ones and stay."""
    found.update({key: value for key, value in made.items() if key == name or key not in columns})


def _place(out: torch.Tensor, rows: torch.Tensor, value: torch.Tensor) -> None:
    """``out[rows] = value``, through NumPy: one thread, so that it can run beside the training step."""
    if out.dtype == torch.bfloat16:
        out, value = out.view(torch.int16), value.view(torch.int16)
    index: Any = rows.numpy()
    steps = np.unique(np.diff(index))
    if len(steps) <= 1:  # readers' rows lie at equal distances
        step = int(steps[0]) if len(steps) else 1
        index = slice(int(index[0]), int(index[-1]) + 1, step)
    out.numpy()[index] = value.numpy()


def _same_shape(values: Sequence[Any]) -> bool:
    if not all(isinstance(value, torch.Tensor) for value in values):
        return False
    return len({(value.dtype, tuple(value.shape[1:])) for value in values}) == 1


def split_augment(fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Stacked fields -> (fields, augment numbers (B, P) float64 or integers by name without the prefix)."""
    plain = {name: value for name, value in fields.items() if not name.startswith(AUGMENT)}
    augment = {}
    for name, value in fields.items():
        if name.startswith(AUGMENT):
            if not isinstance(value, torch.Tensor):
                raise DataError(f"'{name}' must be numbers of one shape, got {type(value[0]).__name__}")
            augment[name.removeprefix(AUGMENT)] = value.reshape(len(value), -1).numpy()
    return plain, augment


def fingerprint(batch: Batch) -> str:
    """A hash of which samples the batch holds, which visits they are, and how they were augmented.

    Pixels are left out on purpose: decoders may change them in the last bit between versions.
    """
    digest = blake2b(digest_size=16)
    digest.update(np.ascontiguousarray(batch.ids, "<u8").tobytes())
    digest.update(np.ascontiguousarray(batch.visits, "<i8").tobytes())
    for name in sorted(batch.augment):
        value = np.ascontiguousarray(batch.augment[name])
        digest.update(f"{name}{value.shape}".encode())
        digest.update(value.astype("<f8" if value.dtype.kind == "f" else "<i8").tobytes())
    return digest.hexdigest()
