"""MosaicBERT (Portes et al., NeurIPS 2023, arXiv 2312.17482).

Constants follow the configuration of mosaicml/examples at daddaef.
"""

from __future__ import annotations

from mmask.api import DataSection, NetworkSection, OptimSection, PackSection, Recipe, ScheduleSection, ViewSection, use
from mmask_text.recipes.bert import DEMO, DEMO_LARGE, masking, words_head

_PAPER = "Portes et al. 2023, MosaicBERT: A Bidirectional Encoder Optimized for Fast Pretraining, arXiv 2312.17482"


def mosaicbert_base() -> Recipe:
    """137 M parameters: distances instead of positions, gated units, 30 % hidden."""
    return Recipe(
        name="mosaicbert-base", summary="ALiBi, gated units, 30 % hidden, 12 layers of 768", paper=_PAPER,
        data=DataSection(
            dataset="speeches", decode={"text": use("text")}, pack=PackSection(by="text", length=128), batch_size=4096,
        ),
        tokenize={"text": use("ids", size=30528)},  # 30,522 made a multiple of 64
        mask=masking(0.3),
        views={"masked": ViewSection(corrupt=use("token-ids"))},
        networks={
            "encoder": NetworkSection(
                use="text", width=768, depth=12, heads=12, positions="alibi", gated=True, in_bias=False,
                attention_dropout=0.0, inner_dropout=0.1, dropout=0.1, sparse=True,
            )
        },
        objectives=words_head(),
        # their decay of 1e-5 is not multiplied by the rate: 1e-5 / 5e-4 = 0.02 here
        optim=OptimSection(lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.02),
        # 286,720,000 texts / 4096 = 70,000 steps; 6 % of them warm up; down to 0.02 of the peak
        schedule=ScheduleSection(steps=70_000, kind="linear", warmup_steps=4_200, min_lr=1e-5),
        preview=use("text"),
        profiles={"demo": {**DEMO, **DEMO_LARGE}},
    )
