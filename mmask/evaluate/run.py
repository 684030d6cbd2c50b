"""evaluate: an arm, an evaluator, labelled shards -> a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmask.errors import DataError, PluginError, UsageError
from mmask.evaluate.score import Result, measure
from mmask.evaluate.splits import Few
from mmask.evaluate.subject import INPUT, SAMPLES, Arm, Reading, RunSubject
from mmask.keyed import fold
from mmask.recipe.schema import use
from mmask.train.features import held_out, pair
from mmask.types import Labelled

if TYPE_CHECKING:
    from mmask.plugin.host import Host

WANTS = ("pooled", "layers", "places", "network", SAMPLES)


@dataclass(frozen=True)
class Request:
    """What to evaluate.

    task: an evaluator by name. options: its own. data, val: labelled URLs to fit and to test on; without ``data``
    those of the run, without ``val`` a fifth of ``data`` is held out by sample id. labels: how many may be used;
    several make a result each. seeds: how many times, with seed ``first``, ``first`` + 1, ...
    """

    task: str
    options: Mapping[str, Any] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    labels: tuple[Few, ...] = (Few(),)
    seeds: int = 1
    first: int = 0
    reading: Reading = field(default_factory=Reading)


def evaluate(
    arm: Arm, host: Host, request: Request, *, tell: Callable[[str], None] = lambda line: None
) -> list[Result]:
    """A result for every number of labels asked for. Raises UsageError, DataError, CheckpointError."""
    judge = host.build("evaluator", use(request.task, **request.options))
    if judge.wants not in WANTS:
        raise PluginError(f"evaluator '{request.task}' wants '{judge.wants}'; there are {', '.join(WANTS)}")
    if judge.wants in ("network", SAMPLES) and arm.features == INPUT:
        raise UsageError(f"'{request.task}' trains the network: it has no input floor", hint="use --init random")
    fit, test, told = load(arm, host, request, judge.wants)
    results = []
    for few in request.labels:
        tried = []
        for number in range(request.first, request.first + request.seeds):
            seed = fold(number, "evaluate") >> 1
            chosen = few.draw(fit, seed)
            one = measure(judge(chosen, test, seed=seed), chosen, test, number)
            first, value = next(iter(one.numbers.items()))
            tell(f"{arm.label}: {request.task}, {one.fitted:,} labels, seed {number}: {first} {value:.2%}")
            tried.append(one)
        results.append(Result(
            request.task, arm.label, str(arm.run), told["step"], arm.init, arm.features, arm.pool,
            told["data"], few.text, dict(request.options), told["classes"], tried,
        ))
    return results


def load(arm: Arm, host: Host, request: Request, wants: str) -> tuple[Labelled, Labelled, dict[str, Any]]:
    """Fit and test samples with what the evaluator wants, and what the result says of them."""
    subject = RunSubject(arm, host, request.reading, request.data)
    fit = subject.table(wants)
    own = not request.data and not request.val and bool(subject.recipe.data.val or subject.section.val)
    if request.val or own:
        other = RunSubject(arm, host, request.reading, request.val, held_out=own)
        test, source = other.table(wants), other.name
    else:
        other, source = subject, "a fifth of it, by sample id"
        side = held_out(fit["ids"])
        test = {name: value[side] for name, value in fit.items()}
        fit = {name: value[~side] for name, value in fit.items()}
    known, tested, classes = _unlabelled(fit, test) if wants == SAMPLES else pair(fit, test)
    told = {
        "step": subject.step, "classes": classes.tolist(),
        "data": {"fit": subject.name, "fit_samples": len(known), "test": source, "test_samples": len(tested)},
    }
    if wants == "network":
        subject.classes = other.classes = classes
    if wants in ("network", SAMPLES):
        known, tested = replace(known, subject=subject), replace(tested, subject=other)
    return known, tested, told


def _unlabelled(fit: Mapping[str, Any], test: Mapping[str, Any]) -> tuple[Labelled, Labelled, np.ndarray]:
    """Two tables of samples whose truth the evaluator reads. Raises DataError when one is empty."""
    for table, what in ((fit, "fit"), (test, "test")):
        if not len(table["ids"]):
            raise DataError(f"there are no samples to {what}", hint="give more samples, or test shards of their own")
    made = [Labelled(table["labels"], 1, table["ids"], rows=table["rows"]) for table in (fit, test)]
    return made[0], made[1], np.zeros(1, np.int64)
