"""Many strings in two arrays: what an index keeps keys and text columns in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Texts:
    """Many strings in one array of bytes: 1e7 keys are two arrays, not 1e7 objects."""

    __slots__ = ("blob", "ends")

    def __init__(self, blob: NDArray[np.uint8], ends: NDArray[Any]) -> None:
        self.blob, self.ends = blob, ends

    @classmethod
    def of(cls, strings: Sequence[str]) -> Texts:
        """Pack strings."""
        parts = [text.encode() for text in strings]
        ends = np.cumsum([len(part) for part in parts], dtype=np.uint32) if parts else np.zeros(0, np.uint32)
        return cls(np.frombuffer(b"".join(parts), np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> str:
        row = int(row)
        start = int(self.ends[row - 1]) if row else 0
        return self.blob[start : int(self.ends[row])].tobytes().decode()

    def list(self) -> list[str]:
        """All of them."""
        text, start, found = self.blob.tobytes(), 0, []
        for end in self.ends.tolist():
            found.append(text[start:end].decode())
            start = end
        return found
