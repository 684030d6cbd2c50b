"""PairScores: objectives that score pairs of a network whose two streams can be computed apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmask.errors import RecipeError
from mmask.protocols.pairs import TwoSided
from mmask.protocols.stages import Scene
from mmask.train.objective import MaskedObjective
from mmask.types import Encoded, Layout, Scored

if TYPE_CHECKING:
    from mmask.protocols.pairs import Half


class PairScores:
    """What makes an objective a `mmask.api.PairScorer`: a class beside ``nn.Module`` that leaves ``own`` to it.

    network: the name of the network, which is a `mmask.api.TwoSided`.
    """

    network: str
    sides: tuple[str, str]

    def two_sided(self, networks: Mapping[str, Any]) -> None:
        """Note the sides. networks: by name. Raises RecipeError for a network that cannot be stopped between."""
        found = networks[self.network]
        if not isinstance(found, TwoSided):
            raise RecipeError(
                f"network '{self.network}' ({type(found).__name__}) does not say what it makes of each side alone",
                hint="it needs sides, one_side and join",
            )
        self.sides = found.sides

    def own(self, encoded: Encoded) -> Tensor:
        """(P,) scores of encoded pairs, larger for those that belong together."""
        raise RecipeError(f"{type(self).__name__} does not say how it scores a pair", hint="define own(encoded)")

    def side(self, scene: Scene, stream: str) -> Half:
        """What the network makes of one stream alone."""
        network: Any = scene.network(self.network)
        made: Half = network.one_side(scene.view("clean"), stream)
        return made

    def pair_scores(self, model: Any, first: Half, second: Half) -> Tensor:
        """(A, C) scores, of A x C passes of the rest of the network."""
        many, much = _count(first), _count(second)
        encoded = model.network(self.network).join(*every_pair(first, second))
        return self.own(encoded).view(many, much)


def every_pair(first: Half, second: Half) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Halves of A and of C samples -> those of their A x C pairs, the second changing fastest."""
    many, much = _count(first), _count(second)
    return (
        {name: value.repeat_interleave(much, 0) for name, value in first.items()},
        {name: value.repeat(many, *[1] * (value.ndim - 1)) for name, value in second.items()},
    )


def _count(half: Half) -> int:
    return len(next(iter(half.values())))


class Belongs(PairScores, MaskedObjective):
    """Do the two sides of a sample belong together: two classes from the pooled state, the second one for yes.

    A `MaskedObjective` whose samples are made wrong by a tokenizer or a corruption, and which also scores pairs. The
    section has a head and a target of two classes (``pooled``, ``follows``). networks (wired): the section's one is a
    `mmask.api.TwoSided`.
    """

    def __init__(
        self, *, name: str, section: Any, networks: Mapping[str, Any], head: Any, target: Any, loss: Any
    ) -> None:
        if getattr(target, "dim", 2) != 2:
            raise RecipeError(f"objectives.{name}: a target of {target.dim} classes; belonging has two, no and yes")
        super().__init__(
            name=name, head=head, target=target, loss=loss, network=section.network, view=section.view, plan=None,
            scored="pooled", weight=section.weight, taps=section.taps,
        )
        self.two_sided(networks)

    def own(self, encoded: Encoded) -> Tensor:
        """(P,) log-odds of yes."""
        assert encoded.pooled is not None
        value = self.head(encoded, Scored(Layout(len(encoded.pooled), 1), "pooled")).value
        wide = value.to(torch.promote_types(value.dtype, torch.float32))
        return wide[:, 1] - wide[:, 0]
