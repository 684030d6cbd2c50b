"""The plugin's sample shards as datasets: what a recipe streams when no data is named."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def speeches() -> dict[str, list[str]]:
    """URLs of parts of 233 State of the Union addresses, 1790 to 2021: 4 shards to train on, 1 held out.

    ``json``: ``text``, about 1,800 characters that end with a sentence, ``year``, ``president``, ``party``, and
    ``label``, the number of the period (5 of them; names in ``classes.json`` beside the shards). Every tenth
    address is held out whole. Licences in ``LICENSES`` beside the shards.
    """
    return _shards("speeches")


def novel() -> dict[str, list[str]]:
    """URLs of parts of Moby-Dick (1851), another kind of English than `speeches`: 1 shard to train on, 1 held out.

    ``json``: ``text``, about 1,800 characters, ``chapter`` and ``title``. Every tenth chapter is held out whole.
    """
    return _shards("novel")


def _shards(name: str) -> dict[str, list[str]]:
    folder = Path(str(files("mmask_text"))) / "samples"
    return {split: [str(path) for path in sorted(folder.glob(f"{name}-{split}-*.tar"))] for split in ("train", "val")}
