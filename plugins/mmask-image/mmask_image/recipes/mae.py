"""MAE: Masked Autoencoders Are Scalable Vision Learners (He et al., CVPR 2022, arXiv 2111.06377).

Constants follow the paper and the documented command of the reference code, facebookresearch/mae at
efb2a8062c206524e35e47d04501ed4f544c0ae8. Where its command line defaults differ, the paper wins.
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

_PAPER = "He et al. 2021, Masked Autoencoders Are Scalable Vision Learners, arXiv 2111.06377"


def mae(
    name: str, summary: str, *, width: int, depth: int, heads: int,
    patch: int | tuple[int, int] = 16, image_size: int | tuple[int, int] = 224,
    decoder: tuple[int, int, int] = (512, 8, 16),  # width, blocks, heads: table 1 of the paper
    demo: dict[str, Any] | None = None,
) -> Recipe:
    """A masked autoencoder of one size. 224 / 16 = 14 x 14 = 196 patches; int(196 * 0.25) = 49 stay."""
    light = dict(zip(("width", "depth", "heads"), decoder, strict=True))
    return Recipe(
        name=name, summary=summary, paper=_PAPER,
        data=DataSection(
            dataset="emoji",
            # crop of 20 to 100 % of the area, bicubic, and a flip; no colour jitter
            decode={"image": use("image", size=image_size, scale=(0.2, 1.0))},
            batch_size=4096,
        ),
        tokenize={"image": use("patch", size=patch, image_size=image_size)},
        mask=use("random", ratio=0.75),
        views={"masked": ViewSection(corrupt=use("drop"))},
        networks={"encoder": NetworkSection(use="vit", width=width, depth=depth, heads=heads)},
        objectives={
            "pixels": ObjectiveSection(
                head=use("transformer-decoder", **light),
                target=use("values", normalise=True),  # each patch by its own mean and deviation (table 1d)
                loss=use("mse"),
            )
        },
        # 1.5e-4 * 4096 / 256 = 2.4e-3; biases and norms are not decayed; the reference ran in fp16 autocast
        # the reference spares vectors only: [CLS] and the mask token are decayed
        optim=OptimSection(base_lr=1.5e-4, betas=(0.9, 0.95), weight_decay=0.05, decay_tokens=True),
        schedule=ScheduleSection(epochs=800, warmup_epochs=40),
        preview=use("mae"),
        profiles={"demo": {**_DEMO, **(demo or {})}},
    )


# What two cores can do in minutes on 64 px pictures: the method as it is, smaller in pixels and steps. A
# short run needs a larger step than 800 epochs do: the paper's rule gives 3.75e-5 for a batch of 64.
_DEMO: dict[str, Any] = {
    "data.decode.image.size": 64,
    "data.decode.image.scale": (0.5, 1.0),
    "data.batch_size": 64,
    "tokenize.image.image_size": 64,
    "tokenize.image.size": 8,
    "optim.lr": 1e-3,
    "schedule.steps": 600,
    "schedule.warmup_steps": 40,
    "train.save_every": 200,
    "train.log_every": 10,
}
# The larger sizes: fewer pictures a step, fewer steps, a step size that their width bears.
_DEMO_LARGE: dict[str, Any] = {
    "data.batch_size": 16,
    "optim.lr": 3e-4,
    "schedule.steps": 80,
    "schedule.warmup_steps": 10,
    "train.save_every": 40,
}


def mae_vit_tiny() -> Recipe:
    """Not in the paper: ViT-Ti with a decoder in proportion, 5.5 M + 0.9 M parameters."""
    return mae(
        "mae-vit-tiny", "masked autoencoder, ViT-Ti/16", width=192, depth=12, heads=3, decoder=(128, 4, 4),
        demo={"networks.encoder.depth": 6, "objectives.pixels.head.depth": 2},
    )


def mae_vit_s() -> Recipe:
    """Not in the paper: ViT-S, half the width of B, with a decoder of half the width."""
    return mae(
        "mae-vit-s", "masked autoencoder, ViT-S/16", width=384, depth=12, heads=6, decoder=(256, 8, 8),
        demo=_DEMO_LARGE | {"data.batch_size": 32, "schedule.steps": 200, "train.save_every": 100},
    )


def mae_vit_b() -> Recipe:
    """ViT-B/16: 83.6 % top-1 on ImageNet-1K after fine-tuning (table 3 of the paper)."""
    return mae(
        "mae-vit-b", "masked autoencoder, ViT-B/16", width=768, depth=12, heads=12, demo=_DEMO_LARGE,
    )


def mae_vit_l() -> Recipe:
    """ViT-L/16: 85.9 %; the paper's default in its ablations."""
    return mae(
        "mae-vit-l", "masked autoencoder, ViT-L/16", width=1024, depth=24, heads=16,
        demo=_DEMO_LARGE | {"schedule.steps": 40, "schedule.warmup_steps": 5, "optim.lr": 2e-4},
    )


def mae_vit_h() -> Recipe:
    """ViT-H/14: 86.9 %. 224 / 14 = 16 x 16 = 256 patches, 64 of them stay."""
    return mae(
        "mae-vit-h", "masked autoencoder, ViT-H/14", width=1280, depth=32, heads=16, patch=14,
        demo=_DEMO_LARGE | {"schedule.steps": 20, "schedule.warmup_steps": 4, "optim.lr": 1e-4},
    )
