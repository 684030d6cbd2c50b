"""Time to plan 256 samples of 196 places, for each masker; prints a Markdown table.

    python tools/bench_maskers.py
"""

from __future__ import annotations

from time import perf_counter

import numpy as np
import torch

from mmask.keyed import Keys
from mmask.mask.block import BlockMasker
from mmask.mask.group import GroupMasker
from mmask.mask.random import RandomMasker
from mmask.mask.span import SpanMasker
from mmask.mask.tube import TubeMasker
from mmask.types import Layout

BATCH = 256


def main() -> None:
    """The fastest of 25 runs of each masker, which other work on the machine disturbs least."""
    torch.set_num_threads(1)
    keys = Keys(0, np.arange(BATCH, dtype=np.uint64), np.zeros(BATCH, np.int64))
    grid, clip = Layout(BATCH, 196, (14, 14)), Layout(BATCH, 196, (4, 7, 7))
    words = Layout(BATCH, 196, groups={"word": (torch.arange(196) // 2).expand(BATCH, -1)})
    cases = {
        "random, 147": (RandomMasker(), grid),
        "block, BEiT's 75": (BlockMasker(count=75, exact=False), grid),
        "block, CAE's 98": (BlockMasker(count=98), grid),
        "span, merged": (SpanMasker(), Layout(BATCH, 196)),
        "span, apart": (SpanMasker(ratio=0.15, length=3, overlap="apart"), Layout(BATCH, 196)),
        "tube": (TubeMasker(spatial=RandomMasker(ratio=0.9)), clip),
        "group, words of 2": (GroupMasker(), words),
    }
    print("| masker | ms |\n|---|---|")
    for name, (masker, layout) in cases.items():
        times = []
        for _ in range(25):
            start = perf_counter()
            masker.plan(layout, keys)
            times.append(perf_counter() - start)
        print(f"| {name} | {1e3 * min(times):.1f} |")


if __name__ == "__main__":
    main()
