"""The floor of tools/bench/text_table.py: TF-IDF of words, on the labels that ``mmask eval`` draws."""

from __future__ import annotations

import json
import time
from pathlib import Path


def floor(train: str, test: str, few: int, seed: int, limit: int, out: Path, seen: tuple[Path, int] | None) -> float:
    """TF-IDF and a logistic regression on the labels that ``mmask eval`` draws -> processor seconds.

    seen: a vocabulary and a number of places: only the beginnings of texts that encoders see.
    """
    import numpy as np
    import torch
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    from mmask.data.source import open_source
    from mmask.evaluate.splits import Few
    from mmask.evaluate.subset import spread
    from mmask.keyed import fold
    from mmask.types import Labelled

    start = time.process_time()
    sets = []
    for url in (train, test):
        source = open_source(url)
        samples = [source.read(int(row)) for row in spread(len(source), limit)]
        rows = [json.loads(one.parts["json"]) for one in samples]
        labels = [int(one.parts["cls"]) if "cls" in one.parts else int(row["label"])
                  for one, row in zip(samples, rows, strict=True)]
        ids = np.array([one.id.digest() for one in samples], np.uint64).view(np.int64)
        sets.append(([_seen(row["text"], seen) for row in rows], torch.tensor(labels), torch.from_numpy(ids.copy())))
    (texts, known, ids), (held, truth, _) = sets
    fit = Labelled(known, int(max(known.max(), truth.max())) + 1, ids, rows=torch.arange(len(known)))
    chosen = Few.parse(f"{few}/class").draw(fit, fold(seed, "evaluate") >> 1).rows
    assert chosen is not None
    words = TfidfVectorizer(sublinear_tf=True)
    model = LogisticRegression(C=10.0, max_iter=1000)
    model.fit(words.fit_transform([texts[row] for row in chosen.tolist()]), known[chosen].numpy())
    accuracy = float(model.score(words.transform(held), truth.numpy()))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"results": [{"summary": {"top1": {"mean": accuracy}}}]}))
    return time.process_time() - start


def _seen(text: str, seen: tuple[Path, int] | None) -> str:
    from mmask_text.vocabulary import open_vocabulary

    if seen is None:
        return text
    vocabulary = open_vocabulary(seen[0])
    return vocabulary.decode(vocabulary.encode(text)[0][: seen[1] - vocabulary.framing])
