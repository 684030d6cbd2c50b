"""Markdown of tools/bench/text_table.py from the files of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from table import RANDOM, Column, Shown, put
from table import render as shared

__all__ = ["RANDOM", "SETS", "TFIDF", "TFIDF_SEEN", "put", "render"]

SETS = ("reuters8", "newsgroups")
TFIDF, TFIDF_SEEN = "tfidf", "beginnings"
COLUMNS = (
    Column("reuters8-linear", "Reuters, linear"), Column("reuters8-finetune", "Reuters, fine-tuned"),
    Column("newsgroups-linear", "Newsgroups, linear"), Column("newsgroups-finetune", "Newsgroups, fine-tuned"),
)


def render(
    out: Path, labels: Mapping[str, tuple[str, str]], floors: Mapping[str, str], rates: Mapping[str, float], seeds: int
) -> str:
    """Accuracies, differences to the same architecture at random initialisation, and what it took."""
    starts = {TFIDF: "TF-IDF of whole texts", TFIDF_SEEN: "TF-IDF of the beginnings that encoders see"}
    starts |= {f"{RANDOM}-{key}": f"random: {label}" for key, label in floors.items()}
    arms = {key: Shown(label, f"{RANDOM}-{start}") for key, (label, start) in labels.items()}
    return shared(
        out, COLUMNS, starts, arms, rates, seeds, trivial="the predictor of frequencies",
        others={"vocabulary and floors": (RANDOM, TFIDF, TFIDF_SEEN, "vocabulary")},
    )
