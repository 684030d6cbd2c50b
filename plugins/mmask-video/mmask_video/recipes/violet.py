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
                    scale=None, fit="pad",
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
        objectives={
            "words": ObjectiveSection(
                stream="text", head=use("mlm", tied=False), target=use("ids", stream="text"),
                loss=use("cross-entropy"),
            ),
            "cells": ObjectiveSection(
                stream="video", head=use("two-layers"),
                target=use("codes", network="tokenizer", field="second", fold=2), loss=use("cross-entropy"),
            ),
            "matching": ObjectiveSection(use="matching", options={"group": 4, "temperature": 0.05}),
        },
        # 12 a GPU on 8; AdamW, constant, decay on everything, no clipping
        optim=OptimSection(
            lr=2e-5, betas=(0.9, 0.98), weight_decay=1e-3, decay_1d=True, decay_tokens=True,
        ),
        schedule=ScheduleSection(epochs=5, kind="constant"),
        preview=use("clip-and-words"),
        profiles={"demo": demo or {}},
    )
