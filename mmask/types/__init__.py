"""The arrows of the pipeline: one type per hand-over between stages.

    shards -> Sample -> Batch -> Layout -> MaskPlan -> View -> Encoded -> Prediction + Target -> Losses

Shape letters used everywhere:
    B  samples of a batch            N  places of a layout (tokens of one sample)
    K  kept places                   H  hidden places
    S  scored places of the batch    D  channels of a token
    T  all tokens of a flat (packed) batch, B·N without padding

Nothing here imports torch when it is loaded, so manifests and the command line stay light.
"""

from mmask.types.batch import Batch, Sample, SampleId
from mmask.types.encoded import Encoded
from mmask.types.labelled import Judged, Labelled, Verdict
from mmask.types.layout import Layout
from mmask.types.losses import Losses, Share, Term
from mmask.types.plan import Action, MaskPlan
from mmask.types.record import Record
from mmask.types.scored import Prediction, Scored, Target, TargetSource
from mmask.types.tokens import Tokens
from mmask.types.view import View
from mmask.types.visibility import Visibility

__all__ = [
    "Action", "Batch", "Encoded", "Judged", "Labelled", "Layout", "Losses", "MaskPlan", "Prediction", "Record",
    "Sample", "SampleId", "Scored", "Share", "Target", "TargetSource", "Term", "Tokens", "Verdict",
    "View", "Visibility",
]
