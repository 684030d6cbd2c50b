"""ELECTRA (Clark et al., ICLR 2020, arXiv 2003.10555): a small generator fills hidden places with draws, the encoder
says of every place whether it was replaced.

Constants follow the paper (section 3.1, appendix A); google-research/electra at 8a46635 is what the comments call the
code. Its positions are drawn with replacement, so that it hides 13.8 % at 128 places where the paper says 15 %, and a
place that is hit twice counts twice; here they are distinct.
"""

from __future__ import annotations

from typing import Any

from mmask.api import (
    DataSection,
    NetworkSection,
    ObjectiveSection,
    OptimSection,
    PackSection,
    Recipe,
    ScheduleSection,
    ViewSection,
    use,
)
from mmask_text.recipes.bert import DEMO_TINY, started

_PAPER = "Clark et al. 2020, ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators, ICLR"


def electra(
    name: str, summary: str, *, width: int, depth: int = 12, embed_width: int, generator: float, lr: float,
    length: int = 128, batch: int = 128, steps: int = 1_000_000, ratio: float = 0.15, size: int | None = 30522,
    demo: dict[str, Any] | None = None,
) -> Recipe:
    """An ELECTRA of one size. generator: the generator's width over the encoder's; both have the same depth."""
    return Recipe(
        name=name, summary=summary, paper=_PAPER,
        # packs: texts whole where they fit, cut into samples of that length where not, never padded
        data=DataSection(
            dataset="speeches", decode={"text": use("text")}, pack=PackSection(by="text", length=length),
            batch_size=batch,
        ),
        tokenize={"text": use("ids", size=size)},
        # 15 % of all places of a text, [CLS] and [SEP] counted but never hidden, at most (ratio + 0.005) of the length;
        # the generator sees [MASK] at 85 % of them, the rest as they are
        mask=use(
            "random", ratio=ratio, rounding="round", count_special=True, at_least=1,
            cap=int((ratio + 0.005) * length), action={"mask": 0.85, "keep": 0.15},
        ),
        views={
            "generator": ViewSection(corrupt=use("token-ids")),
            "discriminator": ViewSection(corrupt=use("sample-ids", objective="words")),
        },
        # the tables and their norm are one; each network projects them to its own width where that differs
        networks=_networks(width, round(width * generator), depth, embed_width),
        objectives=_objectives(),
        optim=OptimSection(lr=lr, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01, clip=1.0),
        schedule=ScheduleSection(steps=steps, kind="linear", warmup_steps=10_000),
        preview=use("text"),
        profiles={"demo": {**_DEMO, **(demo or {})}},
    )


def _networks(wide: int, narrow: int, depth: int, embed_width: int) -> dict[str, NetworkSection]:
    """The tables and their norm are one; each network projects them to its own width where that differs."""
    return {
        "encoder": NetworkSection(
            use="text", width=wide, depth=depth, heads=max(1, wide // 64), embed_width=embed_width,
        ),
        "generator": NetworkSection(
            use="text", width=narrow, depth=depth, heads=max(1, narrow // 64), share="encoder",
        ),
    }


def _objectives() -> dict[str, ObjectiveSection]:
    """The generator's words at hidden places; replaced or not at every place that is no padding, [CLS] too."""
    return {
        "words": ObjectiveSection(
            network="generator", view="generator", head=use("mlm"), target=use("ids"), loss=use("cross-entropy"),
        ),
        "replaced": ObjectiveSection(
            view="discriminator", scored="valid", head=use("rtd"), target=use("replaced", view="discriminator"),
            loss=use("binary"), weight=50.0,
        ),
    }


_DEMO: dict[str, Any] = {
    "data.pack.length": 64,
    "data.batch_size": 64,
    "mask.cap": 9,
    "tokenize.text.size": None,
    "optim.lr": 1e-3,
    "schedule.steps": 600,
    "schedule.warmup_steps": 60,
    "train.save_every": 200,
    "train.log_every": 10,
}


def electra_tiny() -> Recipe:
    """2 layers of 128 beside a generator of 2 layers of 64: not the paper's, for tests and small corpora."""
    return electra(
        "electra-tiny", "replaced token detection, 2 layers of 128", width=128, depth=2, embed_width=128,
        generator=1 / 2, lr=5e-4, demo=DEMO_TINY | started(128, "encoder") | started(64, "generator"),
    )


def electra_small() -> Recipe:
    """14 M parameters: 12 layers of 256 over tables of 128, a generator of 64."""
    return electra(
        "electra-small", "replaced token detection, 12 layers of 256", width=256, embed_width=128, generator=1 / 4,
        lr=5e-4, demo={"data.batch_size": 32, "schedule.steps": 150, "schedule.warmup_steps": 20, "optim.lr": 5e-4},
    )


def electra_base() -> Recipe:
    """110 M parameters: 12 layers of 768, a generator of 256, texts of 512."""
    return electra(
        "electra-base", "replaced token detection, 12 layers of 768", width=768, embed_width=768, generator=1 / 3,
        lr=2e-4, length=512, batch=256, steps=766_000,
        demo={
            "data.batch_size": 16, "schedule.steps": 40, "schedule.warmup_steps": 5, "optim.lr": 2e-4,
            "train.save_every": 20,
        },
    )
