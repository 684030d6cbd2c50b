"""The plugin's sample shards as a dataset: what a recipe streams when no data is named."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def emoji() -> dict[str, list[str]]:
    """URLs of 1,852 pictures of emoji, 64 x 64, with names and groups: 4 shards to train on, 1 held out.

    ``webp``: the picture. ``json``: ``name``, ``tags``, ``group``, ``subgroup`` and ``label``, the number
    of the group (9 in use; names in ``classes.json`` beside the shards). Split by concept: a man, a woman
    and a person doing the same thing are one. Licences in ``LICENSES`` beside the shards.
    """
    folder = Path(str(files("mmask_image"))) / "samples"
    return {split: [str(path) for path in sorted(folder.glob(f"{split}-*.tar"))] for split in ("train", "val")}
