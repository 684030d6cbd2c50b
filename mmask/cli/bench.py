"""``mmask bench``: a recipe's speed and memory on this machine."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmask.cli.flags import Chosen, recipe_flags
from mmask.cli.session import Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmask.train.bench import Arm, Measured


@click.command("bench")
@click.argument("name", required=False)
@click.option("--vs", multiple=True, metavar="NAME",
              help="Another recipe, or a library by its export format (hf), in alternation; repeatable.")
@click.option("--rounds", type=click.IntRange(min=1), default=10, show_default=True, help="Timings of each kind.")
@recipe_flags
@pass_session
def command(session: Session, name: str | None, vs: tuple[str, ...], rounds: int, chosen: Chosen) -> None:
    """Steps of a recipe on its own data: samples and tokens a second, GFLOP a sample, share of the machine's
    matrix-product peak (measured in the same run), time waiting for data, peak memory.

    \b
    mmask bench mae-vit-b --profile none --batch-size 16 --data shards/
    mmask bench mae-vit-tiny --vs mae-vit-s
    mmask bench mae-vit-b --vs hf             transformers, from the same weights, on the same batch and plans
    """
    if name is not None and "=" in name:  # an override was meant
        chosen = replace(chosen, overrides=(name, *chosen.overrides))
    elif name is not None:
        chosen = replace(chosen, recipe=name)
    made = session.resolve(chosen)
    libraries = _libraries(session, vs)
    others = [session.resolve(replace(chosen, recipe=name, config=None)) for name in vs if name not in libraries]
    import torch

    from mmask.export.peer import make_peer
    from mmask.train.bench import DTYPES, Bench, run_bench

    with tempfile.TemporaryDirectory() as folder:
        first = Bench(made, session.host, Path(folder))
        arms: list[Arm] = [first, *(Bench(one, session.host, Path(folder)) for one in others)]
        arms += [make_peer(name, first, session.host, Path(folder, name.replace("/", "-"))) for name in libraries]
        kind = DTYPES[first.recipe.train.precision]
        peak = run_bench(arms, kind=kind, rounds=rounds, tell=lambda line: click.echo(line, err=True))
    click.echo(
        f"{first.device}, {first.recipe.train.precision}, {torch.get_num_threads()} threads; "
        f"matrix products reach {peak / 1e9:,.0f} GFLOP/s"
    )
    _show(arms, peak, apart=len(arms) == 1 or first.device.type == "cuda")


def _libraries(session: Session, names: tuple[str, ...]) -> list[str]:
    """Those of the names that are export formats and no recipes."""
    recipes = session.host.claims("recipe", tolerant=True)
    formats = {one.component.name for one in session.host.claims("exporter", tolerant=True)}
    known = {word for claim in recipes for word in (claim.component.name, claim.qualified)}
    return [name for name in names if name not in known and name.rpartition("/")[2] in formats]


def _show(arms: Sequence[Arm], peak: float, *, apart: bool) -> None:
    from mmask.cli.table import show
    from mmask.train.bench import Peer

    columns = [_column(arm.measured, peak) for arm in arms]
    rows = [[label, *(column[label] for column in columns)] for label in columns[0]]
    if not apart:  # one process: its peak is that of the larger
        rows = [row for row in rows if row[0] != "peak memory"]
    show(["", *(arm.name for arm in arms)], rows)
    for arm in arms[1:]:
        said = "" if not isinstance(arm, Peer) else "; losses of the same batch {:.6f} and {:.6f}".format(*arm.losses)
        ratio = _times(arms[0].measured, arm.measured)
        click.echo(f"{arms[0].name} takes full steps {ratio:.2f} times as fast as {arm.name} (median of rounds){said}")


def _times(ours: Measured, theirs: Measured) -> float:
    """How many of our samples go through full steps while theirs does one: the median over rounds."""
    rounds = zip(ours.times["step"], theirs.times["step"], strict=True)
    return statistics.median(other / own for own, other in rounds) * ours.batch / theirs.batch


def _column(found: Measured, peak: float) -> dict[str, str]:
    flops = found.flops * found.batch
    return {
        "batch": f"{found.batch} samples of {found.tokens:,.4g} tokens",
        "parameters": f"{found.parameters / 1e6:.1f} M",
        "forward + backward": f"{found.forward_backward * 1e3:,.1f} ms",
        "full step": f"{found.step * 1e3:,.1f} ms",
        "samples a second": f"{found.batch / found.step:,.1f}",
        "tokens a second": f"{found.batch * found.tokens / found.step:,.0f}",
        "GFLOP a sample": f"{found.flops / 1e9:.3f}",
        "share of GEMM peak": f"{flops / found.forward_backward / peak:.1%}",
        "  of the full step": f"{flops / found.step / peak:.1%}",
        "waiting for data": "-" if found.data_wait is None else f"{found.data_wait:.1%}",
        "peak memory": f"{found.memory / 2**30:.2f} GiB",
    }
