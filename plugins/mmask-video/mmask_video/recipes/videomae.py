"""VideoMAE: Masked Autoencoders are Data-Efficient Learners (Tong et al., NeurIPS 2022, arXiv 2203.12602).

Constants follow the paper and the pretraining scripts of the reference code, MCG-NJU/VideoMAE.
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

_PAPER = "Tong et al. 2022, VideoMAE: Masked Autoencoders are Data-Efficient Learners, arXiv 2203.12602"


def videomae(
    name: str, summary: str, *, width: int, depth: int, heads: int, decoder: tuple[int, int, int],
    frames: int = 16, image_size: int = 224, cuboid: tuple[int, int, int] = (2, 16, 16),
    demo: dict[str, Any] | None = None,
) -> Recipe:
    """One size. 16 frames, every fourth of the clip; 8 x 14 x 14 = 1,568 cuboids, of which 160 stay."""
    light = dict(zip(("width", "depth", "heads"), decoder, strict=True))
    return Recipe(
        name=name, summary=summary, paper=_PAPER,
        data=DataSection(
            dataset="moving-emoji",
            # every fourth frame on Kinetics, every second on Something-Something; crop and flip for the whole clip
            decode={"video": use("video", frames=frames, stride=4, size=image_size, scale=(0.5, 1.0), flip=0.5)},
            batch_size=1024,
        ),
        tokenize={"video": use("tubelet", size=cuboid, frames=frames, image_size=image_size)},
        # the same 90 % of places in every frame: int(0.9 * 196) = 176 of 196
        mask=use("tube", spatial=use("random", ratio=0.9, rounding="ceil")),
        views={"masked": ViewSection(corrupt=use("drop"))},
        networks={"encoder": NetworkSection(use="video-vit", width=width, depth=depth, heads=heads)},
        objectives={
            "pixels": ObjectiveSection(
                head=use("transformer-decoder", **light, positions="line", embed_bias=False),
                target=use("cuboids", normalise=True),
                loss=use("mse"),
            )
        },
        # 1.5e-4 * 1024 / 256 = 6e-4
        optim=OptimSection(base_lr=1.5e-4, betas=(0.9, 0.95), weight_decay=0.05, decay_tokens=True),
        schedule=ScheduleSection(epochs=1600, warmup_epochs=40),
        preview=use("clip"),
        profiles={"demo": {**_DEMO, **(demo or {})}},
    )


# What two cores can do in minutes: 8 frames of 64 px, cuboids of 2 x 8 x 8, so 4 x 8 x 8 = 256 of them. A quarter of
# the places stays, not a tenth: of 8 x 8 places that would be six. Nearly the whole picture, since 558 clips are few.
_DEMO: dict[str, Any] = {
    "data.decode.video.size": 64,
    "data.decode.video.frames": 8,
    "data.decode.video.stride": 2,
    "data.decode.video.scale": (0.9, 1.0),
    "data.batch_size": 16,
    "tokenize.video.size": (2, 8, 8),
    "tokenize.video.frames": 8,
    "tokenize.video.image_size": 64,
    "mask.spatial.ratio": 0.75,
    "optim.lr": 1e-3,
    "schedule.steps": 400,
    "schedule.warmup_steps": 20,
    "train.save_every": 100,
    "train.log_every": 10,
}


def videomae_tiny() -> Recipe:
    """Not in the paper: ViT-Ti with a decoder in proportion."""
    return videomae(
        "videomae-tiny", "masked clips, ViT-Ti/16", width=192, depth=12, heads=3, decoder=(96, 4, 3),
        demo={"networks.encoder.depth": 6, "objectives.pixels.head.depth": 2},
    )


def videomae_s() -> Recipe:
    """ViT-S/16, decoder of half the width."""
    return videomae(
        "videomae-s", "masked clips, ViT-S/16", width=384, depth=12, heads=6, decoder=(192, 4, 3),
        demo={"data.batch_size": 8, "optim.lr": 5e-4, "schedule.steps": 150, "train.save_every": 50},
    )


def videomae_b() -> Recipe:
    """ViT-B/16, decoder of half the width: 80.0 % top-1 on Kinetics-400 after fine-tuning (table 2 of the paper)."""
    return videomae(
        "videomae-b", "masked clips, ViT-B/16", width=768, depth=12, heads=12, decoder=(384, 4, 6),
        demo={"data.batch_size": 8, "optim.lr": 3e-4, "schedule.steps": 80, "schedule.warmup_steps": 10,
              "train.save_every": 40},
    )
