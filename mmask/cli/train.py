"""``mmask train``: start a run, or continue one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from mmask.cli.flags import Chosen, recipe_flags
from mmask.cli.session import Session, pass_session
from mmask.errors import EXIT_PREEMPTED, UsageError


@click.command("train")
@click.option("--resume", metavar="RUN", help="Continue the run in this folder.")
@click.option("--init", metavar="SRC", multiple=True,
              help="Start from weights: a run, timm:NAME, or a file; again for more, each over those before it.")
@click.option("--out", metavar="DIR", help="The run's folder [runs/RECIPE-N]. A run that is there goes on.")
@click.option("--stop-after", type=click.IntRange(min=0), metavar="N", help="Save and end after step N.")
@recipe_flags
@click.pass_context
@pass_session
def command(
    session: Session, context: click.Context, resume: str | None, init: tuple[str, ...], out: str | None,
    stop_after: int | None, chosen: Chosen,
) -> None:
    """Pretrain an encoder. The same command with the same --out continues the run.

    \b
    mmask train --recipe NAME                                    sample data, small settings
    mmask train --recipe NAME --data 'train-{000..127}.tar' --val val.tar --epochs 100
    mmask train --resume runs/NAME-1
    torchrun --nproc-per-node 8 -m mmask train --recipe NAME --data ... --out DIR
    """
    if resume is not None:
        chosen = _resumed(resume, out, init, chosen)
    made = session.resolve(_whole(chosen))
    from mmask.train.job import Job
    from mmask.train.loop import PREEMPTED
    from mmask.train.run import train

    where = resume or out
    result = train(Job(
        made, session.host, Path(where) if where else None, init=init, stop_after=stop_after,
        resume=resume is not None,
    ))
    if result.outcome == PREEMPTED:
        context.exit(EXIT_PREEMPTED)


def _resumed(resume: str, out: str | None, init: tuple[str, ...], chosen: Chosen) -> Chosen:
    if chosen.recipe or chosen.config or out or init:
        raise UsageError(
            "--resume continues a run as it is: --recipe, --config, --out and --init do not go with it",
            hint=f"mmask train --resume {resume}",
        )
    if not (Path(resume) / "recipe.toml").is_file():
        raise UsageError(f"{resume} is no run to resume", hint="--resume takes a folder that train wrote")
    return replace(chosen, config=resume)


def _whole(chosen: Chosen) -> Chosen:
    """``--epochs`` means epochs, also where the recipe or its profile counts steps."""
    if "schedule.epochs" in chosen.flags and "schedule.steps" not in chosen.flags:
        flags: dict[str, tuple[str, Any]] = {
            **chosen.flags, "schedule.steps": ("--epochs", None), "schedule.tokens": ("--epochs", None),
        }
        return replace(chosen, flags=flags)
    return chosen
