"""GridDescriber: regions without a detector, the cells of a grid described by their colours and edges."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from mmask.api import UsageError

PALETTE: Mapping[str, tuple[int, int, int]] = {
    "white": (255, 255, 255), "black": (20, 20, 20), "grey": (135, 135, 140), "red": (220, 35, 45),
    "orange": (245, 140, 30), "yellow": (252, 213, 60), "green": (60, 165, 75), "cyan": (70, 200, 215),
    "blue": (40, 90, 200), "purple": (130, 70, 170), "pink": (245, 130, 165), "brown": (125, 75, 50),
}
"""Classes of the describer, the first of them background, and their colours in sRGB, 0 to 255."""
MOSAIC, _BINS, _BLUR = 4, 8, 45.0
DIM = 3 * MOSAIC * MOSAIC + _BINS
"""Numbers of a region's features."""
_STEPS = 32  # coarse numbers are small files


class GridDescriber:
    """A picture cut into ``side`` x ``side`` cells; those that show more than white paper are its regions.

    Per region: ``features`` (56,), the mean colours of 4 x 4 parts, in [-1, 1], and the shares of 8 directions of its
    edges, to a 32nd; ``boxes`` (4,); ``classes`` (12,), a soft vote of its pixels for the basic colours `PALETTE`;
    ``confidence``, the share that is not white. They stand for a detector's answers where there is no detector: what
    the classes of hidden regions can teach is colour.

    least: regions a picture has at least; ``show``: confidence above which a cell is a region.
    """

    def __init__(self, *, side: int = 4, show: float = 0.1, least: int = 2) -> None:
        if side < 1 or least < 1:
            raise UsageError(f"a grid of {side} x {side} with at least {least} regions; both are 1 or more")
        self.side, self.show, self.least = side, show, least
        self.dim, self.classes = DIM, len(PALETTE)

    def __call__(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """picture: (H, W, 3) uint8. -> arrays over regions, the surest first, float16 but for boxes (float32)."""
        made = [self._region(picture, row, column) for row in range(self.side) for column in range(self.side)]
        sure = np.array([one["confidence"] for one in made])
        keep = min(len(made), max(self.least, int((sure > self.show).sum())))
        order = np.argsort(-sure, kind="stable")[:keep]
        kinds = {"boxes": np.float32}
        return {name: np.stack([made[i][name] for i in order]).astype(kinds.get(name, np.float16)) for name in made[0]}

    def _region(self, picture: np.ndarray, row: int, column: int) -> dict[str, np.ndarray]:
        height, width = picture.shape[:2]
        tops, lefts = (np.linspace(0, size, self.side + 1) for size in (height, width))
        top, left = int(tops[row]), int(lefts[column])
        bottom, right = max(top + 1, int(tops[row + 1])), max(left + 1, int(lefts[column + 1]))
        crop = picture[top:bottom, left:right].astype(np.float32)
        votes = _votes(crop)
        return {
            "features": np.rint(np.concatenate([_mosaic(crop) / 127.5 - 1, _edges(crop)]) * _STEPS) / _STEPS,
            "boxes": np.array([left / width, top / height, right / width, bottom / height]),
            "classes": np.rint(votes * 4 * _STEPS) / (4 * _STEPS), "confidence": 1 - votes[0],
        }


def _votes(crop: np.ndarray) -> np.ndarray:
    """(12,) shares: each pixel votes for the colours near it."""
    colours = np.array(list(PALETTE.values()), np.float32)
    distance = np.square(crop.reshape(-1, 1, 3) - colours).sum(-1)
    distance -= distance.min(1, keepdims=True)
    vote = np.exp(-distance / (2 * _BLUR**2))
    return (vote / vote.sum(1, keepdims=True)).mean(0)


def _mosaic(crop: np.ndarray) -> np.ndarray:
    """(48,) mean colours of 4 x 4 parts, row by row."""
    rows, columns = (np.linspace(0, size, MOSAIC + 1) for size in crop.shape[:2])
    parts = [
        crop[int(a) : max(int(a) + 1, int(b)), int(c) : max(int(c) + 1, int(d))].mean((0, 1))
        for a, b in pairwise(rows) for c, d in pairwise(columns)
    ]
    return np.concatenate(parts)


def _edges(crop: np.ndarray) -> np.ndarray:
    """(8,) shares of the directions of edges, by their strength; zeros for a flat crop."""
    if min(crop.shape[:2]) < 2:
        return np.zeros(_BINS, np.float32)
    down, across = np.gradient(crop.mean(-1))
    strength = np.hypot(down, across)
    turn = np.mod(np.arctan2(down, across), np.pi) / np.pi
    bins = np.minimum((turn * _BINS).astype(np.int64), _BINS - 1)
    share = np.bincount(bins.ravel(), strength.ravel(), _BINS)
    return share / share.sum() if share.sum() > 1e-6 * crop.size else np.zeros(_BINS)
