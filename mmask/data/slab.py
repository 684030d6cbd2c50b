"""Shared memory between a loader worker and the training process, without names and without leaks.

A slab is an anonymous file both sides map. It is not on ``/dev/shm`` (which containers keep at 64 MB), it
grows when a part does not fit, and it vanishes with the last process that holds it, killed or not.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

_ALIGN = 64  # bytes; vector loads and cache lines
_FIRST = 1 << 20


class Packed(NamedTuple):
    """Where one field's tensors lie in a slab. shape: of each (None: they differ, see shapes)."""

    dtype: str
    offset: int
    rows: int
    shape: tuple[int, ...] | None
    shapes: tuple[tuple[int, ...], ...] = ()


class Slab:
    """An anonymous shared file. ``fd`` crosses to a worker by fork, or by descriptor passing."""

    def __init__(self, fd: int | None = None) -> None:
        self.fd = _anonymous() if fd is None else fd
        self._map: mmap.mmap | None = None

    def write(self, columns: Mapping[str, Sequence[Any]]) -> tuple[dict[str, Packed], dict[str, list[Any]]]:
        """Copy tensors in. -> what was packed, and the columns that are no tensors."""
        import torch

        packed: dict[str, Packed] = {}
        plain: dict[str, list[Any]] = {}
        at = 0
        for name, values in columns.items():
            if not _tensors_of_one_type(values):
                plain[name] = list(values)
                continue
            at = -(-at // _ALIGN) * _ALIGN
            shapes = tuple(tuple(value.shape) for value in values)
            one = shapes[0] if len(set(shapes)) == 1 else None
            packed[name] = Packed(
                str(values[0].dtype).removeprefix("torch."),
                at,
                len(values),
                one,
                () if one is not None else shapes,
            )
            at += sum(value.numel() for value in values) * values[0].element_size()
        memory = self._mapped(at)
        for name, where in packed.items():
            here = where.offset
            for value in columns[name]:
                if value.numel():
                    target = torch.frombuffer(memory, dtype=value.dtype, count=value.numel(), offset=here)
                    target.view(value.shape).copy_(value)
                    here += value.numel() * value.element_size()
        return packed, plain

    def read(self, packed: Mapping[str, Packed]) -> dict[str, torch.Tensor | list[torch.Tensor]]:
        """Views of what was written, (rows, ...) where shapes agree, else a list. Void once rewritten."""
        import torch

        found: dict[str, torch.Tensor | list[torch.Tensor]] = {}
        for name, where in packed.items():
            dtype = getattr(torch, where.dtype)
            shapes = where.shapes if where.shape is None else ((where.rows, *where.shape),)
            views, here = [], where.offset
            for shape in shapes:
                count = _product(shape)
                if count:
                    memory = self._mapped(here + count * dtype.itemsize)
                    views.append(torch.frombuffer(memory, dtype=dtype, count=count, offset=here).view(shape))
                else:
                    views.append(torch.empty(shape, dtype=dtype))
                here += count * dtype.itemsize
            found[name] = views if where.shape is None else views[0]
        return found

    def _mapped(self, size: int) -> mmap.mmap:
        if self._map is None or len(self._map) < size:
            there = os.fstat(self.fd).st_size
            if there < size or there == 0:
                there = max(_FIRST, 1 << (max(size, 1) - 1).bit_length())
                os.ftruncate(self.fd, there)
            self._map = mmap.mmap(self.fd, there)
        return self._map

    def close(self) -> None:
        """Give the descriptor back; memory goes when the last view does."""
        self._map = None
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _anonymous() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("mmask-loader", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _tensors_of_one_type(values: Sequence[Any]) -> bool:
    import torch

    return all(isinstance(value, torch.Tensor) for value in values) and len({value.dtype for value in values}) == 1


def _product(shape: Sequence[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
