"""The verbs of the pipeline: what each kind of component must do. Shapes as in `mmask.types`.

A component is any class or function with these methods; nothing has to be inherited. Components that hold
parameters are ``torch.nn.Module``s. Constructors take keyword options only: they become the recipe's keys,
are checked by name, and their annotations and docstrings are what ``mmask recipe show`` prints.
"""

from __future__ import annotations

from mmask.protocols.around import Evaluator, Exporter, Packer, Preview, Subject, Tracker, WeightsFormat, WholeModel
from mmask.protocols.pairs import PairScorer, TwoSided
from mmask.protocols.stages import (
    Corruption,
    Decoder,
    Encoder,
    Head,
    Loss,
    Masker,
    Objective,
    Plans,
    Scene,
    ScoredMasker,
    TargetMaker,
    Tokenizer,
)

__all__ = [
    "Corruption",
    "Decoder",
    "Encoder",
    "Evaluator",
    "Exporter",
    "Head",
    "Loss",
    "Masker",
    "Objective",
    "Packer",
    "PairScorer",
    "Plans",
    "Preview",
    "Scene",
    "ScoredMasker",
    "Subject",
    "TargetMaker",
    "Tokenizer",
    "Tracker",
    "TwoSided",
    "WeightsFormat",
    "WholeModel",
]
