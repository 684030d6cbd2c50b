"""VIOLET: End-to-End Video-Language Transformers with Masked Visual-token Modeling (Fu et al. 2021, arXiv 2111.12681).

Constants follow the reference code, tsujuifu/pytorch_violet at 4f647511fc0499bfdb6868d3a56ec84a847f72be, and where it
differs from the paper the code.
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
    ViewSection,
    use,
)

_PAPER = "Fu et al. 2021, VIOLET: End-to-End Video-Language Transformers, arXiv 2111.12681"


def violet(
    name: str, summary: str, *, swin: dict[str, Any], width: int, depth: int, heads: int, frames: int = 4,
    image_size: int = 224, cell: int = 32, words: int = 32, vocabulary: str = "english-8k",
    tokenizer: NetworkSection | None = None, stride: int = 8, demo: dict[str, Any] | None = None,
) -> Recipe:
    """4 frames of 7 x 7 cells of 32 px; the tokenizer of pictures sees the same frames at 7 x 8 = 56 px, so that its
    codes lie on the cells one to one. Nothing is cropped or flipped."""
    return Recipe(
        name=name, summary=summary, paper=_PAPER,
        data=DataSection(
            dataset="moving-emoji",
            decode={
                "video": use(
                    "video", frames=frames, sampling="sparse", size=image_size, second=image_size // cell * stride,
                    scale=None, flip=0.0, fit="pad",
                ),
                "text": use("text", vocabulary=vocabulary, field="caption", max_length=words),
            },
            batch_size=96, group=4,
        ),
        tokenize={
            "video": use("frames", frames=frames, image_size=image_size, cell=cell),
            "text": use("ids", vocabulary=vocabulary),
        },
        mask={
            "blocks": use("cuboids", on=["video"]),
            "mask": use("blocks-or-attended", ratio=0.15, attended=0.5, on=["video", "text"]),
        },
        views={
            "black": ViewSection(corrupt=use("black"), streams=["video"]),  # pixels, before they are normalised
            "masked": ViewSection(of="black", corrupt=use("token-ids"), streams=["text"]),  # always [MASK]
        },
        networks={
            "encoder": NetworkSection(
                use="violet", swin=swin, width=width, depth=depth, heads=heads, dropout=0.1, attention_dropout=0.1,
            ),
            "tokenizer": tokenizer or NetworkSection(use="dall-e", frozen=True),
        },
        objectives=_objectives(),
        # 12 a GPU on 8; AdamW, constant, decay on everything, no clipping
        optim=OptimSection(lr=2e-5, betas=(0.9, 0.98), weight_decay=1e-3, decay_1d=True, decay_tokens=True),
        schedule=ScheduleSection(epochs=5, kind="constant"),
        preview=use("clip-and-words"),
        profiles={"demo": demo or {}},
    )


def _objectives() -> dict[str, ObjectiveSection]:
    """Masked words, codes of masked cells, and matching; weights of one."""
    return {
        "words": ObjectiveSection(
            stream="text", head=use("mlm", tied=False), target=use("ids", stream="text"),
            loss=use("cross-entropy"),
        ),
        "cells": ObjectiveSection(
            stream="video", head=use("two-layers", times=2, dropout=0.1),
            target=use("codes", network="tokenizer", field="second", fold=2), loss=use("cross-entropy"),
        ),
        "matching": ObjectiveSection(use="matching", options={"group": 4, "temperature": 0.05}),
    }


# 64 px, cells of 32 become 2 x 2: what two cores can do in minutes with the shipped tokenizer of small pictures.
_DEMO: dict[str, Any] = {
    "data.decode.video.size": 64,
    "data.batch_size": 16,
    "networks.tokenizer.use": "vq",
    "networks.tokenizer.weights": "emoji",
    "schedule.warmup_steps": 20,
    "train.log_every": 10,
}


def violet_tiny() -> Recipe:
    """Not in the paper: three stages of Swin, so cells of 16 px, and four layers of fusion."""
    return violet(
        "violet-tiny", "clips and captions, a narrow Video Swin",
        swin={"width": 48, "depths": (2, 2, 2), "heads": (2, 4, 6), "window": (4, 4, 4), "drop_path": 0.0},
        width=192, depth=4, heads=3, image_size=64, cell=16, words=16, stride=4,
        tokenizer=NetworkSection(use="vq", frozen=True, weights="emoji"),
        # narrower, and two layers of fusion: minutes on two cores. From nothing, at fifty times the paper's rate,
        # scores over 0.05 jump; matching is learnt with these (docs/benchmarks/video.md)
        demo={
            "networks.encoder.std": 0.088, "networks.encoder.dropout": 0.0, "networks.encoder.attention_dropout": 0.0,
            "objectives.matching.options.temperature": 0.5,
            "networks.encoder.swin.width": 32, "networks.encoder.swin.heads": (2, 4, 8), "networks.encoder.width": 128,
            "networks.encoder.heads": 4, "networks.encoder.depth": 2, "data.batch_size": 16, "optim.lr": 1e-3,
            "schedule.kind": "cosine", "schedule.steps": 400, "schedule.warmup_steps": 40, "train.save_every": 100,
            "train.log_every": 10,
        },
    )


def violet_base() -> Recipe:
    """Swin-Small's depths and a fusion of BERT-base's size, as in the released code."""
    return violet(
        "violet-base", "clips and captions, Video Swin and BERT-base",
        swin={"width": 96, "depths": (2, 2, 18, 2), "heads": (3, 6, 12, 24), "window": (8, 7, 7)},
        width=768, depth=12, heads=12,
        demo=_DEMO | {
            "data.decode.video.second": 8, "tokenize.video.image_size": 64, "data.batch_size": 8, "optim.lr": 1e-4,
            "schedule.steps": 30, "train.save_every": 15, "schedule.warmup_steps": 5,
        },
    )
