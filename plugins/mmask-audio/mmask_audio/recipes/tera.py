"""TERA: Self-Supervised Learning of Transformer Encoder Representation for Speech (Liu et al., TASLP 2021, 2007.06028).

Constants follow the paper and the reference code, s3prl/s3prl at ec8064b5889f81ca460fbe2c094ce576a6f120b7: time,
frequency and magnitude on (``logMelBase-T-F-M``), dropout 0.1 (the released 960 h model).
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

_PAPER = "Liu et al. 2021, TERA: Self-Supervised Learning of Transformer Encoder Representation, arXiv 2007.06028"


def tera(
    name: str, summary: str, *, depth: int, width: int = 768, heads: int = 12, hidden: int = 3072, bins: int = 80,
    frequency: float = 0.2, magnitude: float = 0.15, demo: dict[str, Any] | None = None,
) -> Recipe:
    """80 log-mel bins of 25 ms every 10 ms, each brought to mean 0 and deviation 1 over the utterance, so that 0 is the
    mean. 15 % in spans of 7 cover 13.8 % of 1,000 frames; bands of 0 to 16 bins."""
    return Recipe(
        name=name, summary=summary, paper=_PAPER,
        data=DataSection(
            dataset="speech",
            # up to 1,500 frames, at least 200
            decode={"audio": use("mel", bins=bins, frames=1500, min_frames=200, cmvn=True)},
            batch_size=32,
        ),
        tokenize={"audio": use("bins", bins=bins)},
        mask=use(
            "alteration", time=0.15, length=7, dice=(0.8, 0.1, 0.1), frequency=frequency, magnitude=magnitude,
        ),
        views={"masked": ViewSection(corrupt=use("alter", std=0.2))},
        networks={
            "encoder": NetworkSection(
                use="frame-transformer", width=width, depth=depth, heads=heads, hidden=hidden, dropout=0.1,
                attention_dropout=0.1,
            )
        },
        objectives={
            "reconstruction": ObjectiveSection(
                scored="cells", head=use("spectrum"), target=use("values", trivial_knows="nothing"),
                loss=use("cells", kind="l1"),
            )
        },
        # linear warm-up of 7 %, then down to 0; biases and norms are not decayed
        optim=OptimSection(lr=2e-4, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01, clip=5.0),
        schedule=ScheduleSection(steps=1_000_000, kind="linear", warmup_steps=70_000),
        preview=use("spectrogram"),
        profiles={"demo": {**_DEMO, **(demo or {})}},
    )


_DEMO: dict[str, Any] = {
    "data.decode.audio.min_frames": 20,
    "data.decode.audio.frames": 400,
    "data.batch_size": 16,
    "optim.lr": 5e-4,
    "schedule.steps": 60,
    "schedule.warmup_steps": 10,
    "train.save_every": 30,
    "train.log_every": 10,
}


def tera_tiny() -> Recipe:
    """Not in the paper: two layers of 128, for tests and small machines."""
    return tera(
        "tera-tiny", "altered frames, 2 layers of 128", depth=2, width=128, heads=4, hidden=512,
        demo={"optim.lr": 2e-3, "schedule.steps": 400, "schedule.warmup_steps": 30, "train.save_every": 100},
    )


def tera_base() -> Recipe:
    """Three layers: 21.3 M parameters, the model the paper calls base."""
    return tera("tera-base", "altered frames, 3 layers of 768", depth=3)


def tera_medium() -> Recipe:
    """Six layers."""
    return tera("tera-medium", "altered frames, 6 layers of 768", depth=6, demo={"schedule.steps": 40})


def tera_large() -> Recipe:
    """Twelve layers."""
    return tera(
        "tera-large", "altered frames, 12 layers of 768", depth=12,
        demo={"data.batch_size": 8, "schedule.steps": 30, "schedule.warmup_steps": 5, "train.save_every": 15},
    )


def mockingjay_base() -> Recipe:
    """Mockingjay (Liu et al. 2020, arXiv 1910.12638): time alone, three layers."""
    recipe = tera("mockingjay-base", "masked frames, 3 layers of 768", depth=3, frequency=0.0, magnitude=0.0)
    recipe.paper = "Liu et al. 2020, Mockingjay: Unsupervised Speech Representation Learning, arXiv 1910.12638"
    return recipe
