"""ByteEngine: UTF-8 bytes as a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Cut = tuple[list[int], list[int], list[tuple[int, int]]]
BYTE_FILE = b'{"vocabulary": "bytes"}\n'
_BYTE_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class ByteEngine:
    """UTF-8 bytes: five special tokens, then byte b as id 5 + b. Words are split at white space, which belongs to
    the word after it."""

    kind = "bytes"
    size = len(_BYTE_SPECIAL) + 256

    def cut(self, text: str) -> Cut:
        """As `Engine.cut`. All bytes of a character have its place."""
        data = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
        letter = np.cumsum((data & 0xC0) != 0x80) - 1  # continuation bytes begin with the bits 10
        blank = np.fromiter(map(str.isspace, text), bool, len(text))
        begins = blank.copy()
        begins[1:] &= ~blank[:-1]
        word = np.cumsum(begins)
        places = np.stack([letter, letter + 1], axis=1)
        ids = data.astype(np.int64) + len(_BYTE_SPECIAL)
        return ids.tolist(), word[letter].tolist(), places.tolist()

    def join(self, ids: Sequence[int]) -> str:
        """As `Engine.join`; bytes that are no UTF-8 become the replacement character."""
        first = len(_BYTE_SPECIAL)
        return bytes(id - first for id in ids if id >= first).decode("utf-8", "replace")

    def token(self, id: int) -> str:
        """As `Engine.token`; bytes are written ``<0x41>``."""
        return _BYTE_SPECIAL[id] if id < len(_BYTE_SPECIAL) else f"<0x{id - len(_BYTE_SPECIAL):02X}>"

    def find(self, token: str) -> int | None:
        """As `Engine.find`."""
        return next((id for id in range(self.size) if self.token(id) == token), None)

    def special(self) -> Sequence[int]:
        """As `Engine.special`."""
        return range(len(_BYTE_SPECIAL))

    def file(self) -> tuple[str, bytes]:
        """As `Engine.file`."""
        return "bytes.json", BYTE_FILE
