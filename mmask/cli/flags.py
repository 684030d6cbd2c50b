"""The flags that say which recipe a command is about; ``train``, ``plan``, ``bench`` and others share them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import click

from mmask.errors import UsageError

# flag -> (dotted key, type, metavar, help). Each is an override with a name of its own.
_KEYS: dict[str, tuple[str, Any, str, str]] = {
    "--steps": ("schedule.steps", int, "N", "Optimizer steps."),
    "--epochs": ("schedule.epochs", float, "N", "Passes over the data."),
    "--batch-size": ("data.batch_size", int, "B", "Samples of one step, over all ranks."),
    "--workers": ("data.workers", int, "W", "Loader processes per rank."),
    "--seed": ("train.seed", int, "S", "Seed of everything that is drawn."),
    "--save-every": ("train.save_every", int, "N", "Steps between checkpoints."),
    "--log-every": ("train.log_every", int, "N", "Steps between logged rows."),
    "--device": ("train.device", str, "D", "auto, cpu, cuda or mps."),
    "--parallel": ("train.parallel", str, "HOW", "ddp or fsdp2, with several ranks."),
    "--precision": ("train.precision", str, "P", "fp32, bf16, fp16 or fp64."),
}


@dataclass(frozen=True)
class Chosen:
    """What was asked for.

    flags: dotted key -> (flag, value). overrides: ``key=value`` strings. data: whether sources were given.
    """

    recipe: str | None = None
    config: str | None = None
    profile: str | None = None
    flags: dict[str, tuple[str, Any]] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()


def recipe_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags to a command; it receives them as ``chosen: Chosen``."""

    @wraps(function)
    def command(*args: Any, **given: Any) -> Any:
        return function(*args, chosen=_chosen(given), **given)

    for decorate in reversed(_options()):
        command = decorate(command)
    return command


def _options() -> list[Callable[..., Any]]:
    return [
        click.option("--recipe", metavar="NAME", help="A recipe by name; see mmask recipes."),
        click.option("--config", metavar="FILE", help="A TOML run file, or the folder of a run."),
        click.option("--data", multiple=True, metavar="URL", help="Training shards; again for a mixture."),
        click.option("--val", multiple=True, metavar="URL", help="Held-out shards."),
        click.option("--profile", metavar="NAME", help="A profile of the recipe; none switches demo off."),
        *(
            click.option(flag, _name(flag), type=kind, metavar=metavar, help=line)
            for flag, (_, kind, metavar, line) in _KEYS.items()
        ),
        click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]..."),
    ]


def _chosen(given: dict[str, Any]) -> Chosen:
    if given["steps"] is not None and given["epochs"] is not None:
        raise UsageError("--steps and --epochs exclude each other", hint="give one length")
    flags: dict[str, tuple[str, Any]] = {}
    for flag, key in (("--data", "data.train"), ("--val", "data.val")):
        urls: Sequence[str] = given.pop(_name(flag))
        if urls:
            flags[key] = (flag, [{"url": url} for url in urls])
    for flag, (key, *_) in _KEYS.items():
        value = given.pop(_name(flag))
        if value is not None:
            flags[key] = (flag, value)
    return Chosen(
        given.pop("recipe"), given.pop("config"), given.pop("profile"), flags, tuple(given.pop("overrides"))
    )


def _name(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")
