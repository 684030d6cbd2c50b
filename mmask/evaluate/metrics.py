"""Metrics by name: of classes, and of numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mmask.errors import UsageError, did_you_mean

TOP = 5
Measure = Callable[[np.ndarray, np.ndarray], float]


def _of_classes(name: str, **options: Any) -> Measure:
    def measure(truth: np.ndarray, said: np.ndarray) -> float:
        from sklearn import metrics

        return float(getattr(metrics, name)(truth, said, **options))

    return measure


def _balanced(truth: np.ndarray, said: np.ndarray) -> float:
    """The mean of the recalls of classes that are there."""
    from sklearn.metrics import recall_score

    return float(recall_score(truth, said, labels=np.unique(truth), average="macro"))


def _binary_f1(truth: np.ndarray, said: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(truth, said, pos_label=1, zero_division=0.0))


def _correlation(name: str) -> Measure:
    def measure(truth: np.ndarray, said: np.ndarray) -> float:
        if np.ptp(truth) == 0 or np.ptp(said) == 0:
            return 0.0  # a constant orders nothing
        from scipy import stats

        return float(getattr(stats, name)(truth, said).statistic)

    return measure


CLASSES: Mapping[str, Measure] = {
    "top1": _of_classes("accuracy_score"),
    "accuracy": _of_classes("accuracy_score"),
    "balanced": _balanced,
    "f1": _binary_f1,
    "macro-f1": _of_classes("f1_score", average="macro", zero_division=0.0),
    "matthews": _of_classes("matthews_corrcoef"),
}
NUMBERS: Mapping[str, Measure] = {
    "spearman": _correlation("spearmanr"),
    "pearson": _correlation("pearsonr"),
    "mse": _of_classes("mean_squared_error"),
}
SHARES = frozenset({
    "top1", "top5", "accuracy", "masked_accuracy", "balanced", "f1", "macro-f1", "recall", "soft", "wer", "cer",
})
"""Metrics that are written in percent, beside recalls at a place (``text_r5``)."""
_RECALL = re.compile(r"_r\d+$")


def is_share(name: str) -> bool:
    """Whether a metric is written in percent."""
    return name in SHARES or _RECALL.search(name) is not None


def of_numbers(names: Sequence[str]) -> bool:
    """Whether metrics ask for numbers to be predicted. Raises UsageError for unknown names and for a mixture."""
    known = [*CLASSES, f"top{TOP}", *NUMBERS]
    for name in names:
        if name not in known:
            raise UsageError(f"no metric '{name}'{did_you_mean(name, known)}", hint=f"there are {', '.join(known)}")
    real = [name in NUMBERS for name in names]
    if any(real) and not all(real):
        raise UsageError(f"{', '.join(names)}: metrics of classes and of numbers do not go together")
    return any(real)


def metric_values(names: Sequence[str], truth: np.ndarray, scores: np.ndarray, classes: int) -> dict[str, float]:
    """Metric -> value. truth: (M,). scores: (M, C), or (M, 1) numbers for ``classes`` 0. Without names, the usual ones.

    Raises UsageError for ``f1`` of more than two classes.
    """
    if not classes:
        return {name: NUMBERS[name](truth, scores[:, 0]) for name in names or ("spearman", "pearson")}
    said = scores.argmax(1)
    found: dict[str, float] = {}
    for name in names or ("top1", f"top{TOP}", "balanced"):
        if name == f"top{TOP}":
            if classes > TOP:
                found[name] = _top(truth, scores)
        elif name == "f1" and classes != 2:
            raise UsageError(f"f1 is for two classes, there are {classes}", hint="ask for macro-f1")
        else:
            found[name] = CLASSES[name](truth, said)
    return found


def _top(truth: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import top_k_accuracy_score

    return float(top_k_accuracy_score(truth, scores, k=TOP, labels=np.arange(scores.shape[1])))
