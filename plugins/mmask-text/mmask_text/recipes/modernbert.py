"""ModernBERT (Warner et al. 2024, arXiv 2412.13663).

Constants follow the paper and AnswerDotAI/ModernBERT at 8c57a0f.
"""

from __future__ import annotations

from mmask.api import DataSection, NetworkSection, OptimSection, PackSection, Recipe, ScheduleSection, ViewSection, use
from mmask_text.recipes.bert import DEMO, DEMO_LARGE, masking, words_head

_PAPER = "Warner et al. 2024, Smarter, Better, Faster, Longer: A Modern Bidirectional Encoder, arXiv 2412.13663"


def modernbert_base() -> Recipe:
    """149 M parameters: rotary positions, two of three layers with windows of 128, gated units, no biases."""
    return Recipe(
        name="modernbert-base", summary="rotary, local and global layers, gated units, 22 of 768", paper=_PAPER,
        data=DataSection(
            dataset="speeches", decode={"text": use("text")}, pack=PackSection(by="text", length=1024), batch_size=4608,
        ),
        tokenize={"text": use("ids", size=50368)},
        mask=masking(0.3),
        views={"masked": ViewSection(corrupt=use("token-ids"))},
        networks={
            "encoder": NetworkSection(
                use="text", width=768, depth=22, heads=12, hidden=1152, positions="rotary", theta=160000.0,
                local_theta=10000.0, window=128, pattern=("global", "local", "local"), types=0, gated=True,
                norm="pre", first_norm=False, eps=1e-5, norm_bias=False, attention_bias=False, in_bias=False,
                out_bias=False, dropout=0.0, attention_dropout=0.0, scaled_init=True,
            )
        },
        objectives=words_head(dense_bias=False),
        # the decay of the paper's optimizer, 1e-5, is not multiplied by its rate of 8e-4: 1e-5 / 8e-4 = 0.0125 here
        optim=OptimSection(lr=8e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.0125),
        # 1.7e12 tokens / (4608 * 1024) = 360,000 steps, 3e9 of them to warm up: 636 steps, then constant
        schedule=ScheduleSection(steps=360_000, kind="constant", warmup_steps=636),
        preview=use("text"),
        profiles={"demo": {**DEMO, **DEMO_LARGE, "networks.encoder.window": 32}},
    )
