"""evaluate: an arm, an evaluator, labelled shards -> a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmask.errors import DataError, PluginError, UsageError
from mmask.evaluate.answers import Answers
from mmask.evaluate.metrics import of_numbers
from mmask.evaluate.score import Result, Spread, Tried, measure
from mmask.evaluate.splits import Few
from mmask.evaluate.subject import ENCODER, INPUT, SAMPLES, Arm, Reading, RunSubject
from mmask.evaluate.table import read_table
from mmask.evaluate.whole import Whole
from mmask.keyed import fold
from mmask.recipe.schema import use
from mmask.train.features import held_out, pair
from mmask.types import Judged, Labelled

if TYPE_CHECKING:
    from mmask.plugin.host import Host

WANTS = ("pooled", "layers", "places", "network", SAMPLES, "model")


@dataclass(frozen=True)
class Request:
    """What to evaluate.

    task: an evaluator by name. options: its own. data, val: labelled URLs to fit and to test on; without ``data``
    those of the run, without ``val`` a fifth of ``data`` is held out by sample id. labels: how many may be used;
    several make a result each. metrics: by name; the usual ones without any. seeds: how many times, with seed
    ``first``, ``first`` + 1, ...
    """

    task: str
    options: Mapping[str, Any] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    labels: tuple[Few, ...] = (Few(),)
    seeds: int = 1
    first: int = 0
    reading: Reading = field(default_factory=Reading)
    metrics: tuple[str, ...] = ()


def evaluate(
    arm: Arm, host: Host, request: Request, *, tell: Callable[[str], None] = lambda line: None
) -> list[Result]:
    """A result for every number of labels asked for. Raises UsageError, DataError, CheckpointError."""
    judge = host.build("evaluator", use(request.task, **request.options))
    if judge.wants not in WANTS:
        raise PluginError(f"evaluator '{request.task}' wants '{judge.wants}'; there are {', '.join(WANTS)}")
    if judge.wants in (SAMPLES, "model") and request.metrics:
        raise UsageError(f"'{request.task}' has metrics of its own", hint="leave --metric away")
    if judge.wants == "model":
        return [_whole(arm, host, request, judge, tell)]
    request = replace(request, reading=replace(
        request.reading, answers=replace(request.reading.answers, real=of_numbers(request.metrics))
    ))
    if judge.wants in ("network", SAMPLES) and arm.features == INPUT:
        raise UsageError(f"'{request.task}' trains the network: it has no input floor", hint="use --init random")
    fit, test, told = load(arm, host, request, judge.wants)
    results = []
    for few in request.labels:
        tried = []
        for number in range(request.first, request.first + request.seeds):
            seed = fold(number, "evaluate") >> 1
            chosen = few.draw(fit, seed)
            one = measure(judge(chosen, test, seed=seed), chosen, test, number, request.metrics)
            main = next(iter(one.numbers))
            shown = Spread(one.numbers[main], None).shown(main)
            tell(f"{arm.label}: {request.task}, {one.fitted:,} labels, seed {number}: {main} {shown}")
            tried.append(one)
        results.append(Result(
            request.task, arm.label, str(arm.run), told["step"], arm.init, arm.features, arm.pool,
            told["data"], few.text, dict(request.options), told["classes"], tried,
        ))
    return results


def load(arm: Arm, host: Host, request: Request, wants: str) -> tuple[Labelled, Labelled, dict[str, Any]]:
    """Fit and test samples with what the evaluator wants, and what the result says of them."""
    subject = RunSubject(arm, host, request.reading, request.data)
    own = not request.data and not request.val and bool(subject.recipe.data.val or subject.section.val)
    other = RunSubject(arm, host, request.reading, request.val, held_out=own) if request.val or own else subject
    sets = [subject] if other is subject else [subject, other]
    answers = request.reading.answers
    if wants != SAMPLES:
        answers = answers.known(sample for one in sets for sample in one.samples())
    subject.answers = other.answers = answers
    if answers.units and wants == "places":
        raise UsageError(f"'{request.task}' pools places; here places have labels", hint="use linear, knn or finetune")
    fit = read_table(subject, wants)
    if other is not subject:
        test, source = read_table(other, wants), other.name
    else:
        source = "a fifth of it, by sample id"
        side = held_out(fit["ids"])
        test = {name: value[side] for name, value in fit.items()}
        fit = {name: value[~side] for name, value in fit.items()}
    known, tested, classes = _unlabelled(fit, test) if wants == SAMPLES else pair(fit, test, _kind(answers, wants))
    told = {
        "step": subject.step, "classes": [answers.names[one] if answers.names else one for one in classes.tolist()],
        "data": {
            "fit": subject.name, "fit_samples": len(known), "test": source, "test_samples": len(tested),
            "decode": list(request.reading.overrides),
        },
    }
    if wants == "network":
        subject.classes = other.classes = None if answers.real else classes
    if wants in ("network", SAMPLES):
        known, tested = replace(known, subject=subject), replace(tested, subject=other)
    return known, tested, told


def _unlabelled(fit: Mapping[str, Any], test: Mapping[str, Any]) -> tuple[Labelled, Labelled, np.ndarray]:
    """Two tables of samples whose truth the evaluator reads. Raises DataError when one is empty."""
    for table, what in ((fit, "fit"), (test, "test")):
        if not len(table["ids"]):
            raise DataError(f"there are no samples to {what}", hint="give more samples, or test shards of their own")
    made = [Labelled(table["labels"], 1, table["ids"], rows=table["rows"]) for table in (fit, test)]
    return made[0], made[1], np.zeros(0, np.int64)


def _kind(answers: Answers, wants: str) -> int | None:
    """Classes where they are not to be counted in the table: 0 for numbers, those of units for networks, those that
    have scores."""
    if answers.real:
        return 0
    return len(answers.names) if answers.scored or (answers.units and wants == "network") else None


def _whole(
    arm: Arm, host: Host, request: Request, judge: Any, tell: Callable[[str], None]
) -> Result:
    """The verdict on a whole model: on ``val``, else on ``data``, else on the run's own held-out samples."""
    if arm.features != ENCODER:
        raise UsageError(f"'{request.task}' judges the model, not its features", hint="leave --features away")
    urls = request.val or request.data
    fit = request.data if request.val or not request.data else None
    whole = Whole(
        RunSubject(arm, host, request.reading, urls, held_out=not urls),
        None if fit is None else RunSubject(arm, host, request.reading, fit),
    )
    tried = []
    for number in range(request.first, request.first + request.seeds):
        judged: Judged = judge(whole, seed=fold(number, "evaluate") >> 1)
        main = next(iter(judged.numbers))
        tell(f"{arm.label}: {request.task}, seed {number}: {main} {Spread(judged.numbers[main], None).shown(main)}")
        tried.append(Tried(number, whole.learnt, judged.numbers, dict(judged.about), None, judged.pictures))
    fitted = whole.fit.name if whole.fit is not None and whole.learnt else ""
    data = {"fit": fitted, "fit_samples": whole.learnt, "test": whole.subject.name, "test_samples": len(whole)}
    return Result(
        request.task, arm.label, str(arm.run), whole.subject.step, arm.init, arm.features, arm.pool, data, "none",
        dict(request.options), [], tried,
    )
