"""wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations (Baevski et al., NeurIPS 2020).

arXiv 2006.11477. Constants follow the paper and the released configuration of the reference,
facebookresearch/fairseq, examples/wav2vec/config/pretraining.
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

_PAPER = "Baevski et al. 2020, wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations"


def wav2vec2(
    name: str, summary: str, *, width: int, depth: int, heads: int, channels: int = 512, codes: int = 256,
    dim: int = 256, entries: int = 320, positions: tuple[int, int] = (128, 16),  # kernel, groups
    demo: dict[str, Any] | None = None,
) -> Recipe:
    """BASE's recipe at one size: group norm, post-norm transformer, two codebooks."""
    return Recipe(
        name=name, summary=summary, paper=f"{_PAPER}, arXiv 2006.11477",
        data=DataSection(
            dataset="speech",
            # crops of at most 250,000 samples, 15.6 s at 16 kHz; clips of less than 2 s are left out
            decode={"audio": use("audio", seconds=15.625, min_seconds=2.0)},
            # 1.6 h a step: 1.4 M samples on each of 64 devices hold 5 full crops, 5 * 64 = 320
            batch_size=320,
        ),
        # kernels 10,3,3,3,3,2,2 and strides 5,2,2,2,2,2,2: one frame of 25 ms each 20 ms (400 and 320 samples)
        tokenize={"audio": use("conv-features", channels=channels, grad_scale=0.1)},
        # floor(0.65 * T / 10 + u) starts of spans of 10 frames, at least two; they overlap, so 0.49 of frames hide
        mask=use("span", ratio=0.65, length=10, rounding="random", at_least=2),
        views={"masked": ViewSection(corrupt=use("token"))},
        networks={
            "encoder": NetworkSection(
                use="speech-transformer", width=width, depth=depth, heads=heads, positions=positions[0],
                position_groups=positions[1], input_dropout=0.1, dropout=0.1, attention_dropout=0.1, layer_drop=0.05,
            )
        },
        objectives={
            "contrast": ObjectiveSection(
                use="code-contrast",
                head=use("linear", std=None),
                # Gumbel temperature 2 * 0.999995^step, at least 0.5: reached at step 277,258
                target=use("gumbel-codes", groups=2, entries=entries, width=codes, dim=dim, negatives=100, dropout=0.1),
                loss=use("sampled-contrast", temperature=0.1),
                options={"diversity": 0.1},
            ),
            "penalty": ObjectiveSection(use="feature-penalty", weight=10.0),
        },
        # fairseq's Adam decays everything, biases and norms too
        optim=OptimSection(
            lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, decay_1d=True, decay_tokens=True
        ),
        # 8 % of 400,000 updates warm up, then the rate falls in a line to 0
        schedule=ScheduleSection(steps=400_000, warmup_steps=32_000, kind="linear"),
        preview=use("waveform"),
        profiles={"demo": {**_DEMO, **(demo or {})}},
    )


# What two cores can do in minutes on short clips: the method as it is, with crops of a second, few steps, and a rate
# and a temperature that such a run can use.
_DEMO: dict[str, Any] = {
    "data.decode.audio.seconds": 1.0,
    "data.decode.audio.min_seconds": 0.3,
    "tokenize.audio.over": "own",  # clips shorter than the crop must not depend on their padding
    "data.batch_size": 32,
    "objectives.contrast.target.negatives": 20,
    "objectives.contrast.target.temperature": (2.0, 0.5, 0.995),
    # a short run has no time for what keeps a long one from overfitting, nor for slow convolutions
    "tokenize.audio.grad_scale": 1.0,
    "networks.encoder.input_dropout": 0.0,
    "networks.encoder.dropout": 0.0,
    "networks.encoder.attention_dropout": 0.0,
    "networks.encoder.layer_drop": 0.0,
    "objectives.contrast.target.dropout": 0.0,
    "optim.lr": 1e-3,
    "schedule.steps": 300,
    "schedule.warmup_steps": 30,
    "train.save_every": 100,
    "train.log_every": 10,
}
_DEMO_BASE: dict[str, Any] = {
    "data.batch_size": 8,
    "optim.lr": 2e-4,
    "schedule.steps": 20,
    "schedule.warmup_steps": 4,
    "train.save_every": 20,
}


def wav2vec2_tiny() -> Recipe:
    """Not in the paper: a narrow stack for short runs, with codebooks in proportion."""
    return wav2vec2(
        "wav2vec2-tiny", "wav2vec 2.0, 4 layers of width 128", width=128, depth=4, heads=4, channels=64, codes=64,
        dim=64, entries=64, positions=(32, 16),
    )


def wav2vec2_base() -> Recipe:
    """BASE: 95 M parameters. Table 1 of the paper says 8 heads; its code and its weights have 12, as here."""
    return wav2vec2(
        "wav2vec2-base", "wav2vec 2.0 BASE, 12 layers of width 768", width=768, depth=12, heads=12, demo=_DEMO_BASE,
    )
