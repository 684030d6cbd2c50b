"""SimMIM: A Simple Framework for Masked Image Modeling (Xie et al., CVPR 2022, arXiv 2111.09886).

Constants follow the pretraining configurations of microsoft/SimMIM at d3e29bcac950b83edc34ca33fe4404f38309052c,
``configs/{vit_base__800ep,swin_base__100ep}``.
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

_PAPER = "Xie et al. 2021, SimMIM: A Simple Framework for Masked Image Modeling, arXiv 2111.09886"


def simmim(
    name: str, summary: str, *, encoder: NetworkSection, mask: Spec, patch: int, image_size: int,
    optim: OptimSection, schedule: ScheduleSection, demo: dict[str, Any],
) -> Recipe:
    """Replace, encode, one linear layer, absolute error of raw pixels at hidden places."""
    return Recipe(
        name=name, summary=summary, paper=_PAPER,
        data=DataSection(
            dataset="emoji",
            # crop of 67 to 100 % of the area and a flip; bilinear is torchvision's default, which it takes
            decode={"image": use("image", size=image_size, scale=(0.67, 1.0), interpolation="bilinear")},
            batch_size=2048,
        ),
        tokenize={"image": use("patch", size=patch, image_size=image_size)},
        mask=mask,
        views={"masked": ViewSection(corrupt=use("token"))},
        networks={"encoder": encoder},
        objectives={
            # |p - t|, mean over hidden pixels and channels; the reference adds 1e-5 to the count of pixels
            "pixels": ObjectiveSection(head=use("linear"), target=use("values"), loss=use("l1")),
        },
        optim=optim, schedule=schedule, preview=use("mae"),
        profiles={"demo": demo},
    )


_DEMO: dict[str, Any] = {
    "data.decode.image.size": 64,
    "data.decode.image.scale": (0.67, 1.0),
    "data.batch_size": 64,
    "tokenize.image.image_size": 64,
    "optim.lr": 1e-3,
    "schedule.steps": 300,
    "schedule.warmup_steps": 30,
    "train.save_every": 100,
}


def _vit(
    name: str, summary: str, *, width: int, depth: int, heads: int, demo: dict[str, Any], drop_path: float = 0.1
) -> Recipe:
    """224 / 16 = 14 x 14 patches, hidden in units of 2 x 2 = 32 px: ceil(49 * 0.6) = 30 units, 120 of 196 patches."""
    return simmim(
        name, summary, patch=16, image_size=224, mask=use("units", unit=2, ratio=0.6), demo=demo,
        encoder=NetworkSection(
            use="beit", width=width, depth=depth, heads=heads, positions="relative", layer_scale=0.1,
            drop_path=drop_path, mask_token=True,
        ),
        # 1e-4 * 2048 / 512 = 4e-4. The reference drops the rate tenfold at epoch 700; here a cosine falls to
        # the same tenth.
        optim=OptimSection(base_lr=1e-4, base_batch=512, betas=(0.9, 0.999), weight_decay=0.05, clip=5.0),
        schedule=ScheduleSection(epochs=800, warmup_epochs=10, warmup_lr=2e-6, min_lr=4e-5),
    )


def simmim_vit_tiny() -> Recipe:
    """Not in the paper: ViT-Ti."""
    return _vit(
        "simmim-vit-tiny", "replace and regress, ViT-Ti/16", width=192, depth=12, heads=3, drop_path=0.0,
        demo=_DEMO | {"tokenize.image.size": 8, "networks.encoder.depth": 6},
    )


def simmim_vit_b() -> Recipe:
    """ViT-B/16: 83.8 % top-1 on ImageNet-1K after 800 epochs and fine-tuning (table 6 of the paper)."""
    return _vit(
        "simmim-vit-b", "replace and regress, ViT-B/16", width=768, depth=12, heads=12,
        demo=_DEMO | {
            "data.batch_size": 16, "tokenize.image.size": 16, "optim.lr": 3e-4, "schedule.steps": 60,
            "schedule.warmup_steps": 10, "train.save_every": 30,
        },
    )


def simmim_swin_t() -> Recipe:
    """Swin-T on the paper's 192 px: 6 x 6 places of 32 px, ceil(36 * 0.6) = 22 hidden, windows of 6.

    Constants of the 100-epoch Swin-B configuration; the paper has no Swin-T.
    """
    return simmim(
        "simmim-swin-t", "replace and regress, Swin-T", patch=32, image_size=192,
        mask=use("units", unit=1, ratio=0.6),
        encoder=NetworkSection(use="swin", width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=6),
        # 2e-4 * 2048 / 512 = 8e-4; 1e-6 and 1e-5 are scaled alike
        optim=OptimSection(base_lr=2e-4, base_batch=512, betas=(0.9, 0.999), weight_decay=0.05, clip=5.0),
        schedule=ScheduleSection(epochs=100, warmup_epochs=10, warmup_lr=4e-6, min_lr=4e-5),
        demo=_DEMO | {
            "networks.encoder.window": 4, "networks.encoder.width": 48, "networks.encoder.depths": (2, 2, 2, 2),
            "data.batch_size": 32, "tokenize.image.size": 32, "data.decode.image.size": 128,
            "tokenize.image.image_size": 128, "schedule.steps": 150, "train.save_every": 50,
        },
    )
