"""CLIP: Learning Transferable Visual Models From Natural Language Supervision (Radford et al. 2021)."""

from __future__ import annotations

from mmask.api import DataSection, NetworkSection, ObjectiveSection, OptimSection, Recipe, ScheduleSection, use

_PAPER = "Radford et al. 2021, Learning Transferable Visual Models From Natural Language Supervision, arXiv 2103.00020"


def clip_tiny() -> Recipe:
    """Not in the paper: open_clip's towers of four layers of width 128 over the image plugin's pictures and names."""
    return Recipe(
        name="clip-tiny", summary="pictures and names, two towers of width 128", paper=_PAPER,
        data=DataSection(
            dataset="emoji",
            decode={
                "image": use("image", size=32, scale=[0.6, 1.0], flip=False),
                "text": use("text", vocabulary="english-8k", field="name", max_length=16),
            },
            batch_size=128,
        ),
        tokenize={"image": use("patch", size=4, image_size=32), "text": use("ids", vocabulary="english-8k")},
        mask={}, views={},
        networks={"encoder": NetworkSection(
            use="open-clip", dim=64,
            vision={"layers": 4, "width": 128, "head_width": 32},
            words={"layers": 4, "width": 128, "heads": 4, "context_length": 16},
        )},
        objectives={"contrast": ObjectiveSection(
            use="contrast", view="clean",
            options={"first": {"stream": "text"}, "second": {"stream": "image"}, "dim": None},
        )},
        # Table 19: AdamW, 0.2, (0.9, 0.98), 1e-6, cosine; the rate is that of a small batch
        optim=OptimSection(lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2, clip=1.0),
        schedule=ScheduleSection(epochs=32, kind="cosine", warmup_steps=2000),
        # names of 1,471 pictures are soon known by heart: few steps, half of the patches, strong crops
        profiles={"demo": {
            "networks.encoder.vision.layers": 2, "networks.encoder.words.layers": 2,
            "networks.encoder.vision.patch_dropout": 0.5, "tokenize.image.size": 8,
            "data.decode.image.scale": [0.35, 1.0], "data.batch_size": 64, "optim.lr": 1e-3, "schedule.steps": 60,
            "schedule.warmup_steps": 10, "train.save_every": 20, "train.log_every": 5,
        }},
    )
