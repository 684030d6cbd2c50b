"""UNITER: UNiversal Image-TExt Representation Learning (Chen et al. 2020, arXiv 1909.11740).

Constants follow the reference code, ChenRocks/UNITER at 1dbfa62bb8ddb1f2b11d20775ce324c5e45a3ab4, and where it differs
from the paper the code.
"""

from __future__ import annotations

from typing import Any

from mmask.api import (
    DataSection,
    NetworkSection,
    ObjectiveSection,
    OptimSection,
    ProgramSection,
    Recipe,
    ScheduleSection,
    TaskSection,
    ViewSection,
    use,
)

_PAPER = "Chen et al. 2020, UNITER: UNiversal Image-TExt Representation Learning, arXiv 1909.11740"
_BERT = {"mask": 0.8, "random": 0.1, "keep": 0.1}
_RATIO = 0.15  # of words, and of regions
_GROUP = 4


def uniter(
    name: str, summary: str, *, width: int, depth: int, heads: int, dim: int = 2048, classes: int = 1601,
    vocabulary: str = "english-8k", dataset: str = "", words: int = 62, regions: dict[str, Any] | None = None,
    joint: bool = False, tasks: dict[str, float] | None = None, size: int | None = None,
    batch_size: int = 256, more: dict[str, Any] | None = None, demo: dict[str, Any] | None = None,
) -> Recipe:
    """One task a step; each hides one modality and leaves the other whole. joint: both are hidden in the tasks of
    either, the paper's comparison."""
    return Recipe(
        name=name, summary=summary, paper=_PAPER,
        data=DataSection(
            dataset=dataset,
            decode={
                "regions": use("regions", **(regions or {"threshold": 0.2, "least": 10, "most": 100})),
                "text": use("text", vocabulary=vocabulary, field="caption", max_length=words),
            },
            batch_size=batch_size, group=_GROUP,
        ),
        tokenize={
            "text": use("ids", vocabulary=vocabulary, **({} if size is None else {"size": size})),
            "regions": use("regions", dim=dim),
        },
        mask={
            "words": use("independent", ratio=_RATIO, force="first", shares=_BERT, on=["text"]),
            "regions": use("independent", ratio=_RATIO, force="any", on=["regions"]),
        },
        views=_views(joint),
        networks={"encoder": NetworkSection(use="uniter", width=width, depth=depth, heads=heads, **(more or {}))},
        objectives=_objectives(classes),
        program=ProgramSection(draw="one", tasks={
            task: TaskSection(objectives=[task], ratio=ratio)
            for task, ratio in (tasks or {"itm": 2.0, "mlm": 2.0, "mrfr": 1.0, "mrc": 1.0}).items()
        }),
        # Linear warm-up over 10k of 200k steps, linear decay; the code's no-decay list misses some norms, this one none
        optim=OptimSection(lr=5e-5, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, clip=5.0),
        schedule=ScheduleSection(steps=200_000, warmup_steps=10_000, kind="linear"),
        preview=use("words-and-regions"),
        profiles={"demo": demo or {}},
    )


def _views(joint: bool) -> dict[str, ViewSection]:
    """What hides words, what hides regions, and other pictures beside the same words."""
    before = {"words": "with-hidden-regions", "hidden": "with-hidden-words"} if joint else {}
    hide = {"words": use("token-ids"), "hidden": use("hide-regions")}
    views = {
        "words": ViewSection(of=before.get("words", "clean"), plan="words", corrupt=hide["words"]),
        "hidden": ViewSection(of=before.get("hidden", "clean"), plan="regions", corrupt=hide["hidden"]),
        "paired": ViewSection(plan=None, corrupt=use("swap-pictures", group=_GROUP), streams=["regions"]),
    }
    if joint:
        views = {
            "with-hidden-words": ViewSection(plan="words", corrupt=hide["words"]),
            "with-hidden-regions": ViewSection(plan="regions", corrupt=hide["hidden"]), **views,
        }
    return views


def _objectives(classes: int) -> dict[str, ObjectiveSection]:
    """One for each task; matching carries the transport of words to regions."""
    return {
        "mlm": ObjectiveSection(
            view="words", stream="text", head=use("mlm"), target=use("ids", stream="text"),
            loss=use("cross-entropy"),
        ),
        "mrfr": ObjectiveSection(
            view="hidden", stream="regions", head=use("region", tied=True), target=use("region-features"),
            loss=use("mse"),
        ),
        "mrc": ObjectiveSection(
            view="hidden", stream="regions", head=use("region"), target=use("region-classes", classes=classes),
            loss=use("divergence", over="mean"),  # the code's mean over regions and classes
        ),
        "itm": ObjectiveSection(
            use="image-text-matching", view="paired", options={"group": _GROUP, "alignment": 0.1},
        ),
    }


def _tiny(name: str, summary: str, *, joint: bool = False) -> Recipe:
    # BERT's std of 0.02 is right for width 768 and keeps 128 at chance in matching; small sets need no dropout
    more = {"std": 128**-0.5, "dropout": 0.0, "attention_dropout": 0.0}
    return uniter(
        name, summary, more=more, width=128, depth=4, heads=4, dim=56, classes=12, dataset="emoji-regions", words=16,
        regions={"least": 1, "most": 36}, joint=joint, batch_size=64,
        demo={
            "optim.lr": 1e-3, "schedule.steps": 600, "schedule.warmup_steps": 30, "train.save_every": 200,
            "train.log_every": 20,
        },
    )


def uniter_tiny() -> Recipe:
    """Not in the paper: four layers over regions of `mmask data regions` without a detector."""
    return _tiny("uniter-tiny", "regions and captions, 4 layers of width 128")


def uniter_tiny_joint() -> Recipe:
    """The paper's comparison (table 2, line 8): words and regions hidden together."""
    return _tiny("uniter-tiny-joint", "words and regions hidden together, as in table 2", joint=True)


def uniter_base() -> Recipe:
    """BERT-base over 10 to 100 regions of a detector with 1,600 classes and their background, 2,048 features each."""
    return uniter(
        "uniter-base", "regions and captions, BERT-base's size", width=768, depth=12, heads=12,
        dataset="emoji-regions", batch_size=1024,
        demo={
            "tokenize.regions.dim": 56, "objectives.mrc.target.classes": 12, "data.decode.regions.least": 1,
            "data.decode.regions.threshold": 0.0, "data.batch_size": 16,
            "schedule.steps": 30, "schedule.warmup_steps": 5,
            "train.save_every": 15,
            "train.log_every": 5,
        },
    )
