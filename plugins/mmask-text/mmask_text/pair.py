"""Pairs of segments: B follows A in a document, or it does not (Devlin et al. 2018; Lan et al. 2020).

A decoder sees one document, so what BERT calls a random next segment cannot be drawn there. ``pair = "next"`` cuts
every document in two; `exchange` then swaps the second segments of two neighbours in the batch, or leaves them, by one
keyed draw. Neighbours must stay together on every topology: the recipe sets ``data.group = 2``. Half of the pairs
then have a random next segment, as in BERT, and like there it comes from another document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mmask.api import Keys, PlanError
from mmask_text.vocabulary import Vocabulary

PAIRS = ("next", "order")
Half = Mapping[str, np.ndarray]


def split_pair(document: Half, keys: Keys | None, room: int | None, vocabulary: Vocabulary) -> list[Half]:
    """A document cut in two where a sentence ends; by a keyed draw, or (keys None) nearest to its middle.

    room: tokens of the pair with its special ones. A longer document is first cut down to a stretch of that length
    which begins at a sentence. A document of one sentence is cut at the word nearest to its middle.
    """
    length = len(document["ids"])
    numbers = keys.uniform("text.pair", 2)[0].tolist() if keys is not None else [0.0, 0.5]
    starts = _starts(document["sentence"])
    if room is not None:
        room -= vocabulary.framing + (vocabulary.sep_id is not None)
        fits = [at for at in starts if at + room <= length] or [0]
        first = fits[int(numbers[0] * len(fits))] if length > room else 0
        document = {name: values[first : first + room] for name, values in document.items()}
        length, starts = len(document["ids"]), _starts(document["sentence"])
    cuts = [at for at in starts if 0 < at < length] or _middle(_starts(document["word"]), length)
    if not cuts:  # a single word: an empty second segment is still a pair
        cuts = [length]
    cut = cuts[int(numbers[1] * len(cuts))] if keys is not None else min(cuts, key=lambda at: abs(2 * at - length))
    return [
        {name: values[:cut] for name, values in document.items()},
        {name: values[cut:] for name, values in document.items()},
    ]


def order_pair(halves: Sequence[Half], keys: Keys | None) -> tuple[list[Half], int]:
    """The halves as they are (1) or exchanged (0), by a keyed fair draw; never exchanged without keys."""
    if keys is not None and keys.uniform("text.order", 1)[0, 0] < 0.5:
        return [halves[1], halves[0]], 0
    return list(halves), 1


def exchange(
    fields: Mapping[str, Tensor], length: Tensor, keys: Keys, *, types: str = "text.type"
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Swap the second segments of neighbours. -> (fields, length, follows).

    fields: (B, N) int64 each, padded at the end, one of them ``types``; ``.word`` and ``.sentence`` are numbered on
    after the first segment. length: (B,). Rows 2i and 2i + 1 are neighbours: by a draw from the key of row 2i they
    keep their second segments (follows 1) or exchange them (0). keys: of the batch. N may grow. Raises PlanError for
    an odd number of rows.
    """
    rows, wide = fields[types].shape
    if rows % 2:
        raise PlanError(f"{rows} rows are no pairs of neighbours", hint="set data.group=2 and an even batch")
    swap = torch.from_numpy(keys.uniform("text.next", 1)[::2, 0] < 0.5).repeat_interleave(2)
    own = torch.arange(rows)
    source = torch.where(swap, own.view(-1, 2).flip(1).reshape(-1), own)
    inside = torch.arange(wide) < length[:, None]
    first = ((fields[types] == 0) & inside).sum(1)
    total = first + (length - first)[source]
    made = {name: value.new_zeros((rows, int(total.max()))) for name, value in fields.items()}
    for row, other in enumerate(source.tolist()):
        cut, start = int(first[row]), int(first[other])
        for name, value in fields.items():
            mine, theirs = value[row, :cut], value[other, start : int(length[other])]
            if name.endswith((".word", ".sentence")):
                theirs = _continued(mine, theirs)
            made[name][row, : int(total[row])] = torch.cat([mine, theirs])
    return made, total, (~swap).to(torch.int64)


def _continued(mine: Tensor, theirs: Tensor) -> Tensor:
    """Numbers of a second segment, going on after those of the first; -1 stays."""
    inside = theirs >= 0
    if not bool(inside.any()):
        return theirs
    shift = int(mine.max()) + 1 - int(theirs[inside].min())
    return torch.where(inside, theirs + shift, theirs)


def _starts(numbers: np.ndarray) -> list[int]:
    """Where a new number begins."""
    return [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist()] if len(numbers) else []


def _middle(starts: Sequence[int], length: int) -> list[int]:
    inner = [at for at in starts if 0 < at < length]
    return [min(inner, key=lambda at: abs(2 * at - length))] if inner else []
