"""Recipes: this plugin's parts and the core's, put together. A variant calls its parent and changes values."""

from __future__ import annotations

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


def example_tiny() -> Recipe:
    """Hide half of a signal in one gap, encode the rest, predict what was there."""
    return Recipe(
        name="example-tiny", summary="fill the gap in a signal",
        data=DataSection(
            dataset="example", decode={"wave": use("example-wave", length=128)}, batch_size=16, workers=0,
        ),
        tokenize={"wave": use("example-stretch", length=128, size=8)},
        mask=use("example-gap", ratio=0.5),
        views={"masked": ViewSection(corrupt=use("drop"))},
        networks={"encoder": NetworkSection(use="example-encoder", width=64, depth=2, heads=4)},
        objectives={
            "signal": ObjectiveSection(
                head=use("transformer-decoder", width=64, depth=1, heads=4), target=use("values"), loss=use("mse"),
            )
        },
        optim=OptimSection(lr=1e-3, betas=(0.9, 0.95)),
        schedule=ScheduleSection(steps=500, warmup_steps=20),
    )
