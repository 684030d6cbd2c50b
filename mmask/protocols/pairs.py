"""The verbs of matching: which of many texts belongs to which of many pictures, without naming either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from mmask.protocols.stages import Scene
    from mmask.types import Encoded, View

Half = Mapping[str, "Tensor"]
"""One side of B samples: tensors (B, ...). Those that are longer in some batches than in others are padded at their
end, numbers with 0 and booleans with False, so a half with padding says in a boolean one what is ``valid``."""


@runtime_checkable
class PairScorer(Protocol):
    """An objective that says how well two sides of samples belong together: what ``mmask eval retrieval`` ranks by.

    sides: the two streams, such as ("text", "regions"). A sample is made once of either side; then every first is
    compared with every second.
    """

    sides: tuple[str, str]

    def side(self, scene: Scene, stream: str) -> Half:
        """What is kept of one side of the scene's samples, of its view ``clean``, where nothing is hidden. All that
        does not depend on the other side belongs here, since it is computed once."""
        ...

    def pair_scores(self, model: Any, first: Half, second: Half) -> Tensor:
        """Halves of A and of C samples -> (A, C) scores, larger for those that belong together; any scale that a
        softmax over A or C makes sense on. With gradients where they are switched on. model: offers ``network(name)``.
        """
        ...


@runtime_checkable
class TwoSided(Protocol):
    """A network that can be stopped before its streams meet. Objectives on it score pairs without computing either side
    anew for each of them (`mmask.api.PairScores`)."""

    sides: tuple[str, str]

    def one_side(self, view: View, stream: str) -> Half:
        """What the network makes of one stream alone."""
        ...

    def join(self, first: Half, second: Half) -> Encoded:
        """The rest of the way, for P pairs. ``join(one_side(view, a), one_side(view, b))`` is what the network answers
        to ``view``."""
        ...
