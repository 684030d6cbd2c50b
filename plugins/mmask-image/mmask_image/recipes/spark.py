"""SparK: Designing BERT for Convolutional Networks (Tian et al., ICLR 2023, arXiv 2301.03580).

Constants follow the reference code, keyu-tian/SparK at a63e386f8e5186bc07ad7fce86e06b08f48a61ea, which the
paper's appendix agrees with. Two choices of ours: a pooling window averages what is visible in it (the
reference divides by the whole window; no network here pools so), and the learning rate reaches its end at the
step after the last one instead of at it.
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

_PAPER = "Tian et al. 2023, Designing BERT for Convolutional Networks, arXiv 2301.03580"


def spark(
    name: str, summary: str, *, net: str, norm: str, beta2: float, drop_path: float,
    source: str = "timm", image_size: int = 224, cell: int = 32, width: int = 768, ratio: float = 0.6,
    network: dict[str, Any] | None = None, demo: dict[str, Any] | None = None,
) -> Recipe:
    """A convnet that is pretrained as SparK does. 224 / 32 = 7 x 7 = 49 cells; round(49 * 0.4) = 20 stay.

    norm, beta2: ``bn`` and 0.95 for ResNets, ``ln`` and 0.999 for ConvNeXts. network: further options of the
    encoder.
    """
    return Recipe(
        name=name, summary=summary, paper=_PAPER,
        data=DataSection(
            dataset="emoji",
            # crop of 67 to 100 % of the area, bicubic, and a flip
            decode={"image": use("image", size=image_size, scale=(0.67, 1.0))},
            batch_size=4096,
        ),
        tokenize={"image": use("patch", size=cell, image_size=image_size)},
        mask=use("random", ratio=ratio, rounding="round"),
        views={"masked": ViewSection(corrupt=use("blank"))},
        networks={
            "encoder": NetworkSection(
                use="convnet", name=net, source=source, drop_path=drop_path, **(network or {})
            )
        },
        objectives={
            "pixels": ObjectiveSection(
                head=use("spark", width=width, norm=norm),
                target=use("values", normalise=True),  # each cell by its own mean and deviation
                loss=use("mse"),
            )
        },
        # 2e-4 * 4096 / 256 = 3.2e-3; decay rises from .04 to .2 on a cosine; LAMB itself clips at 5
        optim=OptimSection(
            name="lamb", base_lr=2e-4, betas=(0.9, beta2), eps=1e-6, weight_decay=0.04, weight_decay_end=0.2,
            options={"max_grad_norm": 5.0},
        ),
        # from .005 * 3.2e-3 up, and down to .001 * 3.2e-3
        schedule=ScheduleSection(epochs=1600, warmup_epochs=40, warmup_lr=1.6e-5, min_lr=3.2e-6),
        preview=use("mae"),
        profiles={"demo": {**_DEMO, **(demo or {})}},
    )


# What two cores can do in minutes: pictures of 4 x 4 cells, a lighter decoder, few steps.
_DEMO: dict[str, Any] = {
    "data.decode.image.size": 128,
    "data.batch_size": 16,
    "tokenize.image.image_size": 128,
    "objectives.pixels.head.width": 128,
    "optim.lr": 4e-3,
    "schedule.steps": 60,
    "schedule.warmup_steps": 6,
    "train.save_every": 30,
    "train.log_every": 5,
}
# The tiny networks at 64 px: cells of 8 px, 8 x 8 of them.
_DEMO_TINY: dict[str, Any] = {
    "data.decode.image.size": 64,
    "data.batch_size": 64,
    "tokenize.image.image_size": 64,
    "objectives.pixels.head.width": 64,
    "optim.lr": 6e-3,
    "schedule.steps": 300,
    "schedule.warmup_steps": 20,
    "train.save_every": 100,
    "train.log_every": 10,
}


def spark_resnet50() -> Recipe:
    """80.6 % top-1 on ImageNet-1K after fine-tuning (table 3 of the paper)."""
    return spark(
        "spark-resnet50", "SparK, ResNet-50", net="resnet50", norm="bn", beta2=0.95, drop_path=0.05,
    )


def spark_resnet101() -> Recipe:
    """82.2 %."""
    return spark(
        "spark-resnet101", "SparK, ResNet-101", net="resnet101", norm="bn", beta2=0.95, drop_path=0.08,
    )


def spark_convnext_s() -> Recipe:
    """84.1 %. Its last width equals the decoder's, so the coarsest map is not projected."""
    return spark(
        "spark-convnext-s", "SparK, ConvNeXt-S", net="convnext_small", norm="ln", beta2=0.999, drop_path=0.2,
        demo={"objectives.pixels.head.width": 256},
    )


def spark_convnext_b() -> Recipe:
    """84.8 %."""
    return spark(
        "spark-convnext-b", "SparK, ConvNeXt-B", net="convnext_base", norm="ln", beta2=0.999, drop_path=0.3,
        demo={"data.batch_size": 8, "schedule.steps": 30, "schedule.warmup_steps": 3},
    )


def spark_resnet_tiny() -> Recipe:
    """Not in the paper: a narrow ResNet-18 with a stem for small pictures; maps at strides 2, 4, 8."""
    return spark(
        "spark-resnet-tiny", "SparK, a narrow ResNet-18 for small pictures", net="resnet18", norm="bn",
        beta2=0.95, drop_path=0.0, image_size=64, cell=8, width=128,
        network={"stem": "small", "maps": ("layer2", "layer3", "layer4"),
                 "options": {"channels": (16, 32, 64, 128), "layers": (1, 1, 2, 2)}},
        demo=_DEMO_TINY,
    )


def spark_convnext_tiny() -> Recipe:
    """Not in the paper: a narrow ConvNeXt that starts at the pixels; maps at strides 2, 4, 8."""
    return spark(
        "spark-convnext-tiny", "SparK, a narrow ConvNeXt for small pictures", net="convnext_tiny", norm="ln",
        beta2=0.999, drop_path=0.0, image_size=64, cell=8, width=128,
        network={"maps": ("stages.1", "stages.2", "stages.3"),
                 "options": {"patch_size": 1, "depths": (1, 1, 2, 1), "dims": (16, 32, 64, 128)}},
        demo=_DEMO_TINY,
    )
