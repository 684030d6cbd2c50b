"""The plugin's sample shards as datasets: what a recipe streams when no data is named."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def speech() -> dict[str, list[str]]:
    """URLs of 520 English prompts of one speaker, 16 kHz Opus: 2 shards to train on, 1 held out.

    ``opus``: the recording. ``txt``: what is said. ``json``: ``seconds``, ``kind`` and ``label``, its number (prompt,
    digits, letters, phonetic). Split by text. CC-BY-SA-3.0, ``LICENSE`` beside the shards.
    """
    return _shards("speech")


def sounds() -> dict[str, list[str]]:
    """URLs of 90 short sounds of instruments and machines, 16 kHz Opus: 2 shards to train on, 1 held out.

    ``opus``: the sound. ``json``: ``name``, ``seconds``, ``kind`` and ``label``, its number (names in
    ``classes.json`` beside the shards). CC0, sources in ``LICENSE``.
    """
    return _shards("sounds")


def _shards(name: str) -> dict[str, list[str]]:
    folder = Path(str(files("mmask_audio"))) / "samples" / name
    return {split: [str(path) for path in sorted(folder.glob(f"{split}-*.tar"))] for split in ("train", "val")}
