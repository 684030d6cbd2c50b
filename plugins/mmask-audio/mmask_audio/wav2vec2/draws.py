"""What wav2vec 2.0 draws beside its plan: Gumbel noise and negatives. Functions of each sample's key."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmask.api import Keys


def gumbel_noise(keys: Keys, counts: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Standard Gumbel noise for ``counts`` (B,) places of each sample -> (sum of counts, *shape) on the host.

    Each sample draws from a generator of its own key, so its noise is the same in any batch; the numbers are those
    of torch's generator, to the last bit on one build only.
    """
    parts = []
    for key, count in zip(keys.rows("gumbel").tolist(), counts.tolist(), strict=True):
        generator = torch.Generator().manual_seed(key >> 1)
        parts.append(-torch.empty(int(count), *shape, dtype=dtype).exponential_(generator=generator).log())
    return torch.cat(parts)


def sample_negatives(keys: Keys, counts: Tensor, negatives: int) -> Tensor:
    """Other places of the same sample, uniformly and with replacement. -> (S, K) int64 rows of 0 ... S - 1.

    counts: (B,) places of each sample; S is their sum, and rows are sample after sample. A sample's only place is
    its own negative, which every loss here leaves out as equal to the positive.
    """
    sizes = counts.numpy().astype(np.int64)
    most = int(sizes.max(initial=0))
    if most == 0 or negatives == 0:
        return torch.zeros(int(sizes.sum()), negatives, dtype=torch.int64)
    u = keys.uniform("negatives", most * negatives).reshape(len(sizes), most, negatives)
    own = np.arange(most)[None, :, None]
    others = np.maximum(sizes - 1, 0)[:, None, None]
    drawn = np.floor(u * others).astype(np.int64)
    drawn += (drawn >= own) & (others > 0)  # the place itself is stepped over
    drawn += (sizes.cumsum() - sizes)[:, None, None]
    return torch.from_numpy(drawn[np.arange(most)[None] < sizes[:, None]])
