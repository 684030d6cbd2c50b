"""Claims: evaluators, previews and commands."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = (
    Component("evaluator", "ctc", "mmask_audio.ctc.tune:CtcTune", "word and character errors on transcribed speech"),
    Component("evaluator", "frames", "mmask_audio.frame_probe:FrameProbe", "what each frame is, from a sum of layers"),
)
