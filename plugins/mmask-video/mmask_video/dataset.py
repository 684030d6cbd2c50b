"""The plugin's sample shards as a dataset: what a recipe streams when no data is named."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def moving_emoji() -> dict[str, list[str]]:
    """URLs of captioned clips of animated emoji, 64 x 64, 24 frames at 8 a second: 4 shards to train on, 1 held out.

    ``mp4``: the clip. ``json``: ``caption``, ``name``, ``tags``, ``group``, ``subgroup`` and ``label``, the number of
    the group. Split by concept: a man, a woman and a person doing the same thing are one. Licences in
    ``LICENSES`` beside the shards.
    """
    folder = Path(str(files("mmask_video"))) / "samples"
    return {split: [str(path) for path in sorted(folder.glob(f"{split}-*.tar"))] for split in ("train", "val")}
