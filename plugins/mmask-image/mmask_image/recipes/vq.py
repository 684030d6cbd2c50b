"""VQ tokenizers: discrete codes for pictures, learnt by reconstruction (van den Oord et al. 2017, arXiv 1711.00937).

Codes of unit length by cosine as in ViT-VQGAN (Yu et al. 2021, arXiv 2110.04627), moved by averages as in BEiT v2
(Peng et al. 2022, arXiv 2208.06366). Nothing is hidden: every place is scored.
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
    use,
)

_PAPER = "van den Oord et al. 2017, Neural Discrete Representation Learning, arXiv 1711.00937"


def vq(
    name: str, summary: str, *, codes: int, dim: int, width: int, depth: int, stride: int, image_size: int,
    demo: dict[str, Any] | None = None,
) -> Recipe:
    """A tokenizer and its decoder: squared error of pixels plus a quarter of the commitment (the paper's 0.25)."""
    return Recipe(
        name=name, summary=summary, paper=_PAPER,
        data=DataSection(
            dataset="emoji",
            decode={"image": use("image", size=image_size, scale=(0.2, 1.0))},
            batch_size=256,
        ),
        # pixels in [0, 1]: the network maps values itself, so that other recipes can hand it plain pictures
        tokenize={"image": use("patch", size=stride, image_size=image_size, mean=(0.0,) * 3, std=(1.0,) * 3)},
        views={},
        networks={
            "tokenizer": NetworkSection(use="vq", codes=codes, dim=dim, width=width, depth=depth, stride=stride),
        },
        objectives={
            "pixels": ObjectiveSection(
                network="tokenizer", view="clean", scored="valid", head=use("vq-decoder", width=width, depth=depth),
                target=use("values"), loss=use("mse"),
            ),
            "commitment": ObjectiveSection(use="commitment", network="tokenizer", view="clean", weight=0.25),
        },
        optim=OptimSection(lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-4, clip=1.0),
        schedule=ScheduleSection(epochs=100, warmup_epochs=1, min_lr=1e-5),
        exports="tokenizer",
        preview=use("codes"),
        profiles={"demo": demo or {}},
    )


def vq_tiny() -> Recipe:
    """512 codes of 4 px, 32 px pictures: 8 x 8 = 64 ids; the tokenizer in this wheel is a run of it."""
    return vq(
        "vq-tiny", "discrete codes of 4 px, 512 of them", codes=512, dim=16, width=48, depth=2, stride=4,
        image_size=32,
        demo={
            "data.batch_size": 64, "schedule.steps": 600, "schedule.warmup_steps": 30, "optim.lr": 2e-3,
            "train.save_every": 200,
        },
    )


def vq_b() -> Recipe:
    """8192 codes of 8 px, 112 px pictures: 14 x 14 ids, what `beit-vit-b` and `cae-vit-b` ask for."""
    return vq(
        "vq-b", "discrete codes of 8 px, 8192 of them", codes=8192, dim=32, width=192, depth=4, stride=8,
        image_size=112,
        demo={
            "data.batch_size": 16, "data.decode.image.size": 32, "tokenize.image.image_size": 32,
            "networks.tokenizer.codes": 512, "schedule.steps": 100, "schedule.warmup_steps": 10,
            "train.save_every": 50,
        },
    )
