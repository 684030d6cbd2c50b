"""CAE: Context Autoencoder for Self-Supervised Representation Learning (Chen et al., IJCV 2023, arXiv 2202.03026).

Constants follow the reference's script for 300 epochs, Atten4Vis/CAE at
a7fd1628176358e3e76b0b042b0f6e9f3cd7c76c, ``scripts/cae_base_300e.sh``.
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

_PAPER = "Chen et al. 2022, Context Autoencoder for Self-Supervised Representation Learning, arXiv 2202.03026"


def cae(
    name: str, summary: str, *, width: int, depth: int, heads: int, patch: int = 16, image_size: int = 224,
    hide: int = 98, min_area: int = 16, regressor: tuple[int, int, int] = (768, 4, 12),  # width, blocks, heads
    decoder_depth: int = 4, layer_scale: float = 0.1, drop_path: float = 0.1, align: float = 2.0,
    tokenizer: NetworkSection | None = None, stride: int = 8, demo: dict[str, Any] | None = None,
) -> Recipe:
    """A context autoencoder. 224 / 16 = 14 x 14 = 196 patches, 98 of them hidden in blocks; the tokenizer sees the
    same crop at 14 x 8 = 112 px, so that its codes lie on the patches one to one."""
    inner, blocks, cross_heads = regressor
    shared = {"layer_scale": layer_scale, "drop_path": drop_path}
    return Recipe(
        name=name, summary=summary, paper=_PAPER,
        data=DataSection(
            dataset="emoji",
            # crop of 8 to 100 % of the area, bicubic and Lanczos, a flip; no colour jitter
            decode={"image": use(
                "image-pair", size=image_size, second=image_size // patch * stride, scale=(0.08, 1.0),
            )},
            batch_size=2048,
        ),
        tokenize={"image": use("patch", size=patch, image_size=image_size)},
        mask=use("block", count=hide, min_area=min_area, aspect=(0.3, 1 / 0.3), exact=True),
        views={
            "masked": ViewSection(corrupt=use("drop")),
            "hidden": ViewSection(corrupt=use("drop"), complement=True),  # what the alignment branch sees
        },
        networks={
            "encoder": NetworkSection(
                use="beit", width=width, depth=depth, heads=heads, positions="fixed", start="xavier", pool="cls",
                **shared,
            ),
            "regressor": NetworkSection(
                use="latent-regressor", of="encoder", width=inner, depth=blocks, heads=cross_heads, **shared,
            ),
            "tokenizer": tokenizer or NetworkSection(use="dall-e", frozen=True),
        },
        objectives=_objectives(use("latent-decoder", depth=decoder_depth, heads=cross_heads, **shared), align),
        # 1.5e-3 at batch 2048 = 4 nodes x 8 x 64, not rescaled; the paper's text says betas (.9, .98), the code
        # leaves PyTorch's
        optim=OptimSection(lr=1.5e-3, betas=(0.9, 0.999), weight_decay=0.05, clip=3.0),
        schedule=ScheduleSection(epochs=300, warmup_epochs=10, min_lr=1e-5),
        preview=use("codes"),
        profiles={"demo": demo or {}},
    )


def _objectives(decoder: Spec, align: float) -> dict[str, ObjectiveSection]:
    return {
        # cross entropy, mean over every hidden place of the batch
        "ids": ObjectiveSection(
            network="regressor", head=decoder, target=use("codes", network="tokenizer", field="second"),
            loss=use("cross-entropy"),
        ),
        # 2 * squared error, mean over batch x hidden x channels, to the live encoder's latents of the hidden
        # patches; after its first step the reference's copy shares the encoder's storage
        "align": ObjectiveSection(
            network="regressor", head=use("states"),
            target=use("latents", network="encoder", view="hidden", through="regressor"),
            loss=use("mse"), weight=align,
        ),
    }


# Two cores, 64 px, 8 x 8 = 64 patches of which 32 are hidden, codes of the shipped tokenizer of 32 px pictures.
_DEMO: dict[str, Any] = {
    "data.decode.image.size": 64,
    "data.decode.image.second": 32,
    "data.decode.image.scale": (0.5, 1.0),
    "data.batch_size": 64,
    "tokenize.image.image_size": 64,
    "tokenize.image.size": 8,
    "mask.count": 32,
    "mask.min_area": 4,
    "networks.tokenizer.use": "vq",
    "networks.tokenizer.weights": "emoji",
    "optim.lr": 1e-3,
    "schedule.steps": 300,
    "schedule.warmup_steps": 30,
    "train.save_every": 100,
}


def cae_vit_tiny() -> Recipe:
    """Not in the paper: ViT-Ti, two regressor and two decoder blocks."""
    return cae(
        "cae-vit-tiny", "context autoencoder, ViT-Ti/16", width=192, depth=12, heads=3, regressor=(192, 2, 3),
        decoder_depth=2, drop_path=0.0, demo=_DEMO | {"networks.encoder.depth": 6},
    )


def cae_vit_b() -> Recipe:
    """ViT-B/16: 83.6 / 83.8 / 83.9 % top-1 on ImageNet-1K after 300 / 800 / 1600 epochs and fine-tuning."""
    return cae(
        "cae-vit-b", "context autoencoder, ViT-B/16", width=768, depth=12, heads=12,
        demo=_DEMO | {
            "data.batch_size": 8, "schedule.steps": 60, "schedule.warmup_steps": 10, "optim.lr": 3e-4,
            "train.save_every": 30,
        },
    )
