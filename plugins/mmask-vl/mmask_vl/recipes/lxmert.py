"""LXMERT: Learning Cross-Modality Encoder Representations from Transformers (Tan and Bansal 2019, arXiv 1908.07490).

Constants follow the released code, airsplay/lxmert at 0db1182b9030da3ce41f17717cc628e1cd0a95d5.
"""

from __future__ import annotations

from typing import Any

from mmask.api import (
    DataSection,
    NetworkSection,
    ObjectiveSection,
    OptimSection,
    Recipe,
    ScheduleSection,
    Spec,
    ViewSection,
    use,
)

_PAPER = "Tan and Bansal 2019, LXMERT: Learning Cross-Modality Encoder Representations, arXiv 1908.07490"
_GROUP = 2  # neighbours exchange texts and features of objects
_ARRAYS: dict[str, Any] = {  # named as in the released features
    "classes": "", "confidence": "objects_conf",
    "more": {
        "label": "objects_id", "label_confidence": "objects_conf", "attribute": "attrs_id",
        "attribute_confidence": "attrs_conf",
    },
}
_SAMPLES: dict[str, Any] = {"classes": "classes", "confidence": "confidence", "more": {}}


def lxmert(
    name: str, summary: str, *, width: int, heads: int, language: int, objects: int, cross: int, dim: int = 2048,
    regions: int = 36, words: int = 20, vocabulary: str = "english-8k", size: int | None = None,
    tasks: tuple[str, ...] = ("label", "attribute", "feature"), labels: int = 1600, attributes: int = 400,
    arrays: dict[str, Any] | None = None, more: dict[str, Any] | None = None, demo: dict[str, Any] | None = None,
) -> Recipe:
    """36 objects and 20 pieces of text; both hidden at once, each place by its own coin, also of pairs that do not
    match."""
    return Recipe(
        name=name, summary=summary, paper=_PAPER,
        data=DataSection(
            dataset="emoji-regions",
            decode={
                "regions": use("regions", most=regions, **(arrays or _ARRAYS)),
                "text": use("text", vocabulary=vocabulary, field="caption", max_length=words),
            },
            batch_size=256, group=_GROUP,
        ),
        tokenize={
            "text": use(
                "ids", vocabulary=vocabulary, size=size, pairs="other", group=_GROUP, share=0.5,
                apart="regions.picture",
            ),
            "regions": use("regions", dim=dim, code=4),
        },
        mask={"words": _coins("text", "mask"), "regions": _coins("regions", "zero")},
        views={
            "looks": ViewSection(plan="regions", corrupt=use("replace-regions", group=_GROUP)),
            "masked": ViewSection(of="looks", plan="words", corrupt=use("token-ids", random="all")),
        },
        networks={
            "encoder": NetworkSection(
                use="lxmert", width=width, heads=heads, language=language, objects=objects, cross=cross,
                **(more or {}),
            ),
        },
        objectives=_objectives(tasks, labels, attributes),
        # BERT's Adam, which has no bias correction; this one has. Everything decays
        optim=OptimSection(
            lr=1e-4, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01, decay_1d=True, decay_tokens=True, clip=1.0,
        ),
        schedule=ScheduleSection(epochs=20, kind="linear", warmup_epochs=1),
        preview=use("words-and-regions", mlm="words", hides="objects", attention="cross.-1.words"),
        profiles={"demo": demo or {}, "answers": _ANSWERS},
    )


def _coins(stream: str, blank: str) -> Spec:
    """15 % of the places, each by its own coin: 80 % blank, 10 % replaced, 10 % as they are."""
    return use("independent", ratio=0.15, on=[stream], action={blank: 0.8, "random": 0.1, "keep": 0.1})


def _objectives(tasks: tuple[str, ...], labels: int, attributes: int) -> dict[str, ObjectiveSection]:
    """Hidden words, whether text and objects belong together, and what hidden objects are."""
    return {
        "words": ObjectiveSection(
            stream="text", head=use("mlm"), target=use("ids", stream="text"), loss=use("cross-entropy"),
        ),
        "matching": ObjectiveSection(
            use="belongs", scored="pooled", head=use("pooled"), target=use("follows", stream="text"),
            loss=use("cross-entropy"),
        ),
        "objects": ObjectiveSection(
            use="object-tasks", stream="regions",
            options={"tasks": list(tasks), "labels": labels, "attributes": attributes, "share": 0.15},
        ),
    }


# Questions among the texts, with their answers: another term for those whose text is their own.
_ANSWERS: dict[str, Any] = {
    "data.decode.answer.use": "answer",
    "objectives.answers.scored": "pooled",
    "objectives.answers.head.use": "answer",
    "objectives.answers.target.use": "answers",
    "objectives.answers.loss.use": "cross-entropy",
}
_DEMO: dict[str, Any] = {
    "data.batch_size": 64,
    "optim.lr": 1e-3,
    "schedule.steps": 400,
    "schedule.warmup_steps": 40,
    "train.save_every": 200,
    "train.log_every": 10,
}


def lxmert_tiny() -> Recipe:
    """Not in the paper: 2, 1 and 2 layers of width 128."""
    # BERT's std of 0.02 is right for width 768 and keeps 128 at chance in matching; small sets need no dropout
    more = {"std": 128**-0.5, "dropout": 0.0, "attention_dropout": 0.0}
    return lxmert(
        "lxmert-tiny", "words and objects, two streams of width 128", width=128, heads=4, language=2, objects=1,
        cross=2, dim=56, tasks=("label", "feature"), labels=12, arrays=_SAMPLES, more=more, demo=_DEMO,
    )


def lxmert_base() -> Recipe:
    """As published: 9, 5 and 5 layers of width 768."""
    return lxmert(
        "lxmert-base", "words and objects, 9, 5 and 5 layers of width 768", width=768, heads=12, language=9, objects=5,
        cross=5,
        demo=_DEMO | {
            "tokenize.regions.dim": 56, "data.decode.regions.classes": "classes", "data.decode.regions.more": {},
            "data.decode.regions.confidence": "confidence", "objectives.objects.options.labels": 12,
            "objectives.objects.options.tasks": ["label", "feature"],
            "data.batch_size": 16, "optim.lr": 1e-4, "schedule.steps": 30, "schedule.warmup_steps": 5,
            "train.save_every": 15,
        },
    )
