"""``mmask bench``: a recipe's speed and memory on this machine."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmask.cli.flags import Chosen, recipe_flags
from mmask.cli.session import Session, pass_session

if TYPE_CHECKING:
    from mmask.train.bench import Bench, Measured


@click.command("bench")
@click.argument("name", required=False)
@click.option("--vs", multiple=True, metavar="NAME", help="Another recipe, measured in alternation; repeatable.")
@click.option("--rounds", type=click.IntRange(min=1), default=10, show_default=True, help="Timings of each kind.")
@recipe_flags
@pass_session
def command(session: Session, name: str | None, vs: tuple[str, ...], rounds: int, chosen: Chosen) -> None:
    """Steps of a recipe on its own data: samples and tokens a second, GFLOP a sample, share of the machine's
    matrix-product peak (measured in the same run), time waiting for data, peak memory.

    \b
    mmask bench mae-vit-b --profile none --batch-size 16 --data shards/
    mmask bench mae-vit-tiny --vs mae-vit-s
    """
    if name is not None and "=" in name:  # an override was meant
        chosen = replace(chosen, overrides=(name, *chosen.overrides))
    elif name is not None:
        chosen = replace(chosen, recipe=name)
    made = [session.resolve(chosen)]
    made += [session.resolve(replace(chosen, recipe=other, config=None)) for other in vs]
    import torch

    from mmask.train.bench import Bench, run_bench

    with tempfile.TemporaryDirectory() as folder:
        benches = [Bench(one, session.host, Path(folder)) for one in made]
        peak = run_bench(benches, rounds=rounds, tell=lambda line: click.echo(line, err=True))
    first = benches[0]
    click.echo(
        f"{first.device}, {first.recipe.train.precision}, {torch.get_num_threads()} threads; "
        f"matrix products reach {peak / 1e9:,.0f} GFLOP/s"
    )
    _show(benches, peak)


def _show(benches: list[Bench], peak: float) -> None:
    from mmask.cli.table import show

    columns = [_column(bench.measured, benches[0].measured, peak) for bench in benches]
    rows = [[label, *(column[label] for column in columns)] for label in columns[0]]
    show(["", *(bench.recipe.name for bench in benches)], rows)


def _column(found: Measured, first: Measured, peak: float) -> dict[str, str]:
    flops = found.flops * found.batch
    return {
        "batch": f"{found.batch} samples of {found.tokens} tokens",
        "parameters": f"{found.parameters / 1e6:.1f} M",
        "forward + backward": f"{found.forward_backward * 1e3:,.1f} ms",
        "full step": f"{found.step * 1e3:,.1f} ms",
        "samples a second": f"{found.batch / found.step:,.1f}",
        "tokens a second": f"{found.batch * found.tokens / found.step:,.0f}",
        "GFLOP a sample": f"{found.flops / 1e9:.3f}",
        "share of GEMM peak": f"{flops / found.forward_backward / peak:.1%}",
        "  of the full step": f"{flops / found.step / peak:.1%}",
        "waiting for data": f"{found.data_wait:.1%}",
        "peak memory": f"{found.memory / 2**30:.2f} GiB",
        "speed, to the first": f"{(found.batch / found.step) / (first.batch / first.step):.2f}",
    }
