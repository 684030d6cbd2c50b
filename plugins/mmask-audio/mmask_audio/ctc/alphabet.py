"""Alphabet: characters of transcripts as ids, and what frames say read back as text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from mmask.api import DataError

BLANK = 0


def plain(text: str) -> str:
    """Folded case, letters, digits and apostrophes of any script; everything else is a space, and spaces are single."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    kept = (one if one.isalnum() or one == "'" or unicodedata.combining(one) else " " for one in folded)
    return " ".join("".join(kept).split())


class Alphabet:
    """Ids of characters, from 1; 0 is CTC's blank. Made of the transcripts that are learnt from."""

    def __init__(self, characters: Sequence[str]) -> None:
        self.characters = tuple(characters)
        self._ids = {one: number for number, one in enumerate(self.characters, start=1)}

    @staticmethod
    def of(texts: Iterable[str]) -> Alphabet:
        """Every character of ``plain`` texts, sorted. Raises DataError when there is none."""
        found = sorted({one for text in texts for one in text})
        if not found:
            raise DataError("the transcripts have no letters", hint="look at them with: mmask data inspect URL")
        return Alphabet(found)

    def __len__(self) -> int:
        return len(self.characters) + 1

    def encode(self, text: str) -> Tensor:
        """(L,) int64 ids; characters that were never seen are left out."""
        return torch.tensor([self._ids[one] for one in text if one in self._ids], dtype=torch.int64)

    def read(self, best: Tensor) -> str:
        """(T,) the likeliest id of each frame -> text: repetitions merge, blanks go (Graves et al. 2006)."""
        merged = torch.unique_consecutive(best.cpu())
        text = "".join(self.characters[one - 1] for one in merged.tolist() if one != BLANK)
        return " ".join(text.split())


def frames_needed(ids: Tensor) -> int:
    """The fewest frames that can say ``ids`` (L,): one each, and a blank between equal neighbours."""
    return len(ids) + int((ids[1:] == ids[:-1]).sum())
