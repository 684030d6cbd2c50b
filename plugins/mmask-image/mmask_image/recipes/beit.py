"""BEiT: BERT Pre-Training of Image Transformers (Bao et al., ICLR 2022, arXiv 2106.08254).

Constants follow the paper's section on ImageNet-1K. The reference's command, microsoft/unilm ``beit/README.md`` at
9a6a8a1a010a71956f0f5e8c7093456e4ba8501c, differs in two: no stochastic depth, and betas (.9, .98) by default.
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

_PAPER = "Bao et al. 2021, BEiT: BERT Pre-Training of Image Transformers, arXiv 2106.08254"


def beit(
    name: str, summary: str, *, width: int, depth: int, heads: int, drop_path: float = 0.1,
    demo: dict[str, Any] | None = None,
) -> Recipe:
    """224 / 16 = 14 x 14 patches, 75 of 196 (38 %) hidden in blocks of at least 16; ids of the same crop at 112 px."""
    return Recipe(
        name=name, summary=summary, paper=_PAPER,
        data=DataSection(
            dataset="emoji",
            # colours jittered by 0.4; crop of 8 to 100 % of the area, bicubic and Lanczos; a flip
            decode={"image": use("image-pair", size=224, second=112, scale=(0.08, 1.0), jitter=0.4)},
            batch_size=2048,
        ),
        tokenize={"image": use("patch", size=16, image_size=224)},  # ImageNet's mean and deviation
        mask=use("block", count=75, min_area=16, aspect=(0.3, 1 / 0.3), exact=False),
        views={"masked": ViewSection(corrupt=use("token"))},
        networks={
            "encoder": NetworkSection(
                use="beit", width=width, depth=depth, heads=heads, positions="relative", layer_scale=0.1,
                drop_path=drop_path, mask_token=True,
            ),
            "tokenizer": NetworkSection(use="dall-e", frozen=True),
        },
        objectives={
            "ids": ObjectiveSection(
                head=use("linear"), target=use("codes", network="tokenizer", field="second"),
                loss=use("cross-entropy"),
            ),
        },
        optim=OptimSection(lr=1.5e-3, betas=(0.9, 0.999), weight_decay=0.05, clip=3.0),
        schedule=ScheduleSection(epochs=800, warmup_epochs=10, min_lr=1e-5),
        preview=use("codes"),
        profiles={"demo": demo or {}},
    )


_DEMO: dict[str, Any] = {
    "data.decode.image.size": 64,
    "data.decode.image.second": 32,
    "data.decode.image.scale": (0.5, 1.0),
    "data.batch_size": 64,
    "tokenize.image.image_size": 64,
    "tokenize.image.size": 8,
    "mask.count": 25,
    "mask.min_area": 4,
    "networks.tokenizer.use": "vq",
    "networks.tokenizer.weights": "emoji",
    "optim.lr": 1e-3,
    "schedule.steps": 300,
    "schedule.warmup_steps": 30,
    "train.save_every": 100,
}


def beit_vit_tiny() -> Recipe:
    """Not in the paper: ViT-Ti."""
    return beit(
        "beit-vit-tiny", "codes of hidden blocks, ViT-Ti/16", width=192, depth=12, heads=3, drop_path=0.0,
        demo=_DEMO | {"networks.encoder.depth": 6},
    )


def beit_vit_b() -> Recipe:
    """ViT-B/16: 83.2 % top-1 on ImageNet-1K after 800 epochs and fine-tuning (table 1 of the paper)."""
    return beit(
        "beit-vit-b", "codes of hidden blocks, ViT-B/16", width=768, depth=12, heads=12,
        demo=_DEMO | {
            "data.batch_size": 8, "schedule.steps": 60, "schedule.warmup_steps": 10, "optim.lr": 3e-4,
            "train.save_every": 30,
        },
    )
