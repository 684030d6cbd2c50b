"""Floors of tools/bench/vl_table.py: what words of titles, and pixels, say of the folder."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

WORDS, PIXELS = "words", "pixels"
FLOORS = {WORDS: "words of titles", PIXELS: "pixels, 16 x 16"}


def floor(kind: str, data: Path, label: str, out: Path) -> float:
    """A logistic regression on TF-IDF of titles' words, or on standardised pixels -> processor seconds."""
    from sklearn.linear_model import LogisticRegression

    start = time.process_time()
    made = _words if kind == WORDS else _pixels
    (fit, known), (held, truth) = (_read(data / split / "*.tar", label) for split in ("train", "val"))
    inputs, asked = made(fit, held)
    model = LogisticRegression(C=10.0 if kind == WORDS else 0.01, max_iter=300).fit(inputs, known)
    out.parent.mkdir(parents=True, exist_ok=True)
    summary = {"top1": {"mean": float(model.score(asked, truth))}}
    out.write_text(json.dumps({"results": [{"summary": summary}]}))
    return time.process_time() - start


def _read(url: Path, label: str) -> tuple[list[dict[str, Any]], list[str]]:
    from mmask.data.source import open_source

    rows = [{**json.loads(one.parts["json"]), "picture": one.parts["webp"]} for one in open_source(str(url))]
    return rows, [row[label] for row in rows]


def _words(fit: list[dict[str, Any]], held: list[dict[str, Any]]) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True)
    return words.fit_transform([row["name"] for row in fit]), words.transform([row["name"] for row in held])


def _pixels(fit: list[dict[str, Any]], held: list[dict[str, Any]]) -> tuple[Any, Any]:
    import numpy as np
    from PIL import Image
    from sklearn.preprocessing import StandardScaler

    def small(rows: list[dict[str, Any]]) -> np.ndarray:
        pictures = (Image.open(io.BytesIO(row["picture"])).resize((16, 16), Image.Resampling.BOX) for row in rows)
        return np.stack([np.asarray(one, np.float32).ravel() for one in pictures])

    scale = StandardScaler()
    return scale.fit_transform(small(fit)), scale.transform(small(held))
