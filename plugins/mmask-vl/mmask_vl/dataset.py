"""The plugin's sample shards as a dataset: what a recipe streams when no data is named."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def emoji_regions() -> dict[str, list[str]]:
    """URLs of the regions of emoji with their names: train shards and one held out.

    ``npz``: what `mmask_vl.describe.GridDescriber` says of the image plugin's pictures (dataset ``emoji``). ``json``:
    ``caption``, ``name``, ``label``, ``group`` and ``subgroup``. Split by concept, as the pictures are.
    """
    folder = Path(str(files("mmask_vl"))) / "samples"
    return {split: [str(path) for path in sorted(folder.glob(f"{split}-*.tar"))] for split in ("train", "val")}
