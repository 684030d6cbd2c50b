"""CPU time of planning 256 samples, of 196 places or of 512 for maskers of text; prints a Markdown table.

    python tools/bench_maskers.py [--runs 25]
"""

from __future__ import annotations

import argparse
from time import process_time

import numpy as np
import torch

from mmask.keyed import Keys
from mmask.mask.action import Mixture
from mmask.mask.block import BlockMasker
from mmask.mask.group import GroupMasker
from mmask.mask.random import RandomMasker
from mmask.mask.run import RunMasker
from mmask.mask.span import SpanMasker
from mmask.mask.tube import TubeMasker
from mmask.types import Layout, MaskPlan

BATCH, LONG = 256, 512


def texts() -> Layout:
    """Ragged texts between two special places, in words of 1.4 pieces on average."""
    make = np.random.default_rng(0)
    lengths = make.integers(LONG // 2, LONG + 1, BATCH)
    words = torch.from_numpy(np.cumsum(make.random((BATCH, LONG)) < 0.7, 1))
    place = torch.arange(LONG)[None]
    ends = torch.from_numpy(lengths)[:, None]
    valid, special = place < ends, (place == 0) | (place == ends - 1)
    return Layout(BATCH, LONG, valid=valid, special=special, groups={"word": words.masked_fill(special | ~valid, -1)})


class Acted:
    """A masker and a mixture of actions."""

    def __init__(self, masker: RandomMasker) -> None:
        self.masker, self.mixture = masker, Mixture({"mask": 0.8, "random": 0.1, "keep": 0.1})

    def plan(self, layout: Layout, keys: Keys) -> MaskPlan:
        """The masker's plan with its actions."""
        return self.mixture.apply(self.masker.plan(layout, keys), keys)


def main() -> None:
    """The fastest of some runs of each masker, which other work on the machine disturbs least."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--runs", type=int, default=25)
    runs = parser.parse_args().runs
    torch.set_num_threads(1)
    keys = Keys(0, np.arange(BATCH, dtype=np.uint64), np.zeros(BATCH, np.int64))
    grid, clip, text = Layout(BATCH, 196, (14, 14)), Layout(BATCH, 196, (4, 7, 7)), texts()
    words = Layout(BATCH, 196, groups={"word": (torch.arange(196) // 2).expand(BATCH, -1)})
    bert = RandomMasker(ratio=0.15, rounding="round", count_special=True, at_least=1)
    cases = {
        "random, 147": (RandomMasker(), grid),
        "block, BEiT's 75": (BlockMasker(count=75, exact=False), grid),
        "block, CAE's 98": (BlockMasker(count=98), grid),
        "span, merged": (SpanMasker(), Layout(BATCH, 196)),
        "span, apart": (SpanMasker(ratio=0.15, length=3, overlap="apart"), Layout(BATCH, 196)),
        "tube": (TubeMasker(spatial=RandomMasker(ratio=0.9)), clip),
        "group, words of 2": (GroupMasker(), words),
        "random, BERT's 15 % of texts up to 512": (bert, text),
        "the same with 80/10/10": (Acted(bert), text),
        "group, whole words of texts up to 512": (GroupMasker(count_special=True), text),
        "run, SpanBERT's spans of texts up to 512": (RunMasker(count_special=True), text),
        "run, n-grams of texts up to 512": (RunMasker(lengths="harmonic", longest=3), text),
    }
    print("| masker | ms |\n|---|---|")
    for name, (masker, layout) in cases.items():
        times = []
        for _ in range(runs):
            start = process_time()
            masker.plan(layout, keys)
            times.append(process_time() - start)
        print(f"| {name} | {1e3 * min(times):.1f} |")


if __name__ == "__main__":
    main()
