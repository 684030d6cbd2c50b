"""``mmask eval``: one command for every evaluator, the core's and those of plugins, and ``compare``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmask.cli.lazy import LazyGroup
from mmask.cli.session import Session, pass_session
from mmask.errors import UsageError

if TYPE_CHECKING:
    from mmask.evaluate.run import Request
    from mmask.evaluate.score import Result
    from mmask.evaluate.subject import Arm
    from mmask.plugin.registry import Claim


class Evaluators(LazyGroup):
    """The evaluators by name, and the commands of the table after them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Evaluators first."""
        return [*sorted(self._guests(ctx)), *self.table]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command made for the evaluator of that name, whose own options are ``KEY=VALUE``."""
        claim = self._guests(ctx).get(cmd_name)
        return super().get_command(ctx, cmd_name) if claim is None else _command(cmd_name, claim)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Names and lines from the manifests alone."""
        with formatter.section("Evaluators"):
            found = sorted(self._guests(ctx).items())
            formatter.write_dl([(name, claim.component.summary) for name, claim in found])
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])

    def _guests(self, ctx: click.Context) -> dict[str, Claim]:
        claims = ctx.ensure_object(Session).host.claims("evaluator", tolerant=True)
        names = [claim.component.name for claim in claims]
        return {c.component.name if names.count(c.component.name) == 1 else c.qualified: c for c in claims}


def shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that every evaluation has."""
    for decorate in reversed([
        click.option("--data", multiple=True, metavar="URL", help="Labelled shards to fit on [the run's own]."),
        click.option("--val", multiple=True, metavar="URL",
                     help="Labelled shards to test on [the run's own, or a fifth of --data by sample id]."),
        click.option("--labels", multiple=True, metavar="N", default=("all",), show_default=True,
                     help="Labels used: 100, 10%, 5/class or all; again for another row."),
        click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True,
                     help="Repetitions; two or more give a 95% interval."),
        click.option("--first-seed", "first", type=click.IntRange(min=0), default=0, show_default=True,
                     help="Seed of the first repetition; pair it with the pretraining's seed.", metavar="S"),
        click.option("--label", default="label", show_default=True, metavar="FIELD",
                     help="Of JSON parts: a class, by number or name, a number, or a list, one for each unit."),
        click.option("--units", default="", metavar="GROUP",
                     help="Whose labels lists are, where places are grouped in several ways."),
        click.option("--metric", "metrics", multiple=True, metavar="NAME",
                     help="accuracy, f1, macro-f1, matthews, ...; spearman, pearson, mse predict numbers. [top1 ...]"),
        click.option("--pool", type=click.Choice(["auto", "mean", "cls"]), default="auto", show_default=True,
                     help="The network's own pooling, the mean of the places, or the first token."),
        click.option("--batch-size", "batch", type=click.IntRange(min=1), default=64, show_default=True,
                     help="Samples encoded at once."),
        click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Loader processes."),
        click.option("--limit", type=click.IntRange(min=2), help="At most so many samples of each set, spread evenly."),
        click.option("--device", default="auto", show_default=True),
        click.option("--no-cache", is_flag=True, help="Neither use nor write features in RUN/features."),
        click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
                     help="The JSON file; pictures go beside it [RUN/eval/...]."),
    ]):
        function = decorate(function)
    return function


@click.group(cls=Evaluators, table={
    "compare": ("mmask.cli.eval:compare", "One table of several runs, and of what any encoder should beat."),
}, guests=False)
def command() -> None:
    """Judge a run's encoder on labelled shards, with nothing hidden.

    \b
    mmask eval linear RUN --data 'train-*.tar' --val 'val-*.tar' --seeds 3
    mmask eval knn RUN --data 'train-*.tar' k=50 temperature=0.1
    mmask eval compare RUN RUN --task linear --data 'train-*.tar' --floors

    A label is a number or a name under 'label' in the part 'json' (--label names another field), or an integer in the
    part 'cls'. --data and --val also take files that a packer takes apart (JSONL, CSV, TSV, with the text plugin);
    data.decode... changes how samples are read: data.decode.text.second=hypothesis.
    """


def _command(name: str, claim: Claim) -> click.Command:
    @click.command(name, short_help=claim.component.summary)
    @click.argument("run", type=click.Path(path_type=Path))
    @click.option("--init", type=click.Choice(["trained", "random"]), default="trained", show_default=True,
                  help="The run's weights, or the ones its recipe starts from.")
    @click.option("--features", type=click.Choice(["encoder", "input"]), default="encoder", show_default=True,
                  help="What the encoder makes of the input, or the input itself.")
    @shared
    @click.argument("options", nargs=-1, metavar="[KEY=VALUE]...")
    @pass_session
    def evaluator(session: Session, run: Path, init: str, features: str, pool: str, **given: Any) -> None:
        from mmask.evaluate.subject import Arm

        out, request = _request(name, given)
        arm = Arm(run, init, features, pool)
        _finish(_results(session, [arm], request), out or run / "eval" / f"{_stem(arm, request)}.json")

    _explain(evaluator, claim)
    return evaluator


def _explain(made: click.Command, claim: Claim) -> None:
    """The help of an evaluator: its summary, which needs no import."""
    made.help = f"{claim.component.summary[:1].upper()}{claim.component.summary[1:]}.\n\n" + (
        f"Options of the evaluator are KEY=VALUE; a wrong one is answered with those there are. "
        f"Its code is {claim.component.target}, of plugin {claim.plugin.name}."
    )


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--task", default="linear", show_default=True, metavar="NAME", help="An evaluator.")
@click.option("--floors", is_flag=True, help="Add each architecture with random weights, and the input itself.")
@click.option("--set", "options", multiple=True, metavar="KEY=VALUE", help="An option of the evaluator.")
@shared
@pass_session
def compare(session: Session, runs: tuple[Path, ...], task: str, floors: bool, pool: str, **given: Any) -> None:
    """One table of several runs under one evaluator, the same samples, labels and seeds for each.

    Writes compare-TASK.json here unless --out says otherwise.
    """
    from mmask.evaluate.subject import INPUT, RANDOM, Arm

    out, request = _request(task, given)
    arms = [Arm(run, pool=pool) for run in runs]
    if floors:
        arms += [Arm(run, RANDOM, pool=pool) for run in runs]
        if session.host.target("evaluator", task).wants not in ("network", "samples", "model"):
            arms.append(Arm(runs[0], RANDOM, INPUT))
    _finish(_results(session, arms, request), out or Path(f"compare-{task.replace('/', '-')}.json"))


def _request(task: str, given: dict[str, Any]) -> tuple[Path | None, Request]:
    from mmask.evaluate.answers import Answers
    from mmask.evaluate.run import Request
    from mmask.evaluate.splits import Few
    from mmask.evaluate.subject import Reading
    from mmask.recipe.override import parse

    options: dict[str, Any] = {}
    overrides: list[str] = []
    for text in given["options"]:
        path, value = parse(text)
        if tuple(path[:2]) == ("data", "decode"):
            overrides.append(text)
            continue
        if len(path) != 1:
            raise UsageError(
                f"'{text}': an evaluator's options have no dots", hint="write k=20; only data.decode... has dots",
            )
        options[path[0]] = value
    reading = Reading(
        given["batch"], given["workers"], given["device"], given["limit"], not given["no_cache"], tuple(overrides),
        Answers(given["label"]), given["units"],
    )
    few = tuple(Few.parse(text) for text in given["labels"])
    seeds = given["seeds"], given["first"]
    return given["out"], Request(task, options, given["data"], given["val"], few, *seeds, reading, given["metrics"])


def _results(session: Session, arms: Sequence[Arm], request: Request) -> list[Result]:
    from mmask.evaluate.run import evaluate

    results: list[Result] = []
    for arm in arms:
        results += evaluate(arm, session.host, request, tell=lambda line: click.echo(line, err=True))
    return results


def _finish(results: Sequence[Result], out: Path) -> None:
    from mmask.cli.table import show
    from mmask.evaluate.show import write_results

    metrics = results[0].metrics
    rows = [
        (one.arm, one.task, f"{one.step:,}", f"{one.labels} ({one.tried[0].fitted:,})", str(len(one.tried)),
         *(one.spread(metric).shown(metric) for metric in metrics))
        for one in results
    ]
    show(("arm", "task", "step", "labels", "seeds", *metrics), rows)
    data = results[0].data
    classes = f", {len(results[0].classes)} classes" if results[0].classes else ""
    click.echo(f"{data['test_samples']:,} test samples{classes}; ± is the 95% interval")
    for path in write_results(out, results):
        click.echo(str(path))
    page = out.parent.parent / "report.html"
    if out.parent.name == "eval" and page.is_file():  # results that lie with a run are on its page
        from mmask.observe.report import write_report

        click.echo(str(write_report(page.parent)))


def _stem(arm: Arm, request: Request) -> str:
    parts = [request.task.replace("/", "-")]
    parts += [part for part, usual in ((arm.init, "trained"), (arm.features, "encoder")) if part != usual]
    parts += [few.text.replace("/", "-per-").replace("%", "-percent") for few in request.labels if few.text != "all"]
    return "-".join(parts)
