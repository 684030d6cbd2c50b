"""Latents: a network's own states at scored places are the truth; no gradient passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from mmask.errors import RecipeError, did_you_mean
from mmask.layers.places import states_at
from mmask.protocols import Scene
from mmask.types import Prediction, Scored, Target, TargetSource


class Latents:
    """States of ``network`` for ``view``, at scored places, computed and kept without gradient.

    network: the network that encodes; the live encoder itself for CAE (Chen et al. 2022), whose reference
        aliases its "alignment encoder" to the encoder after every step; a moving average for others; a frozen
        teacher that is shown the clean view (EVA, Fang et al. 2022).
    view: what it is shown, such as the complement of the plan. stream: of a network with several.
    through: a network whose ``adapt`` maps the states on to the width of the prediction, without gradient too.
    fixed: the network never changes, so that a constant is a fair baseline: `trivial` says the mean of the states of
        the batch's scored places. Without it there is none, since states that move together are no achievement.
    networks (wired): gives ``dim``, the width of the states, to heads that are built for it.

    The network runs in the mode it is in: with drop path, the target's draws are its own, as in the reference.
    """

    trivial: Callable[[Target], Prediction]

    def __init__(
        self, *, network: str = "encoder", view: str = "hidden", stream: str | None = None, through: str | None = None,
        fixed: bool = False, networks: Mapping[str, Any] | None = None,
    ) -> None:
        if networks is not None and network not in networks:
            raise RecipeError(f"target 'latents' needs the network '{network}'{did_you_mean(network, networks)}")
        self.network, self.view, self.stream, self.through = network, view, stream, through
        self.dim: int | None = None
        if networks is not None and through is None:
            self.dim = getattr(networks[network], "width", None)
        if fixed:
            self.trivial = mean_state

    @torch.no_grad()
    def __call__(self, scene: Scene, scored: Scored) -> Target:
        """value: (S, D), detached. Raises PlanError when a scored place is not in the view."""
        encoded = scene.encode(self.network, self.view, grad=False)
        value = states_at(encoded if self.stream is None else encoded.stream(self.stream), scored)
        if self.through is not None:
            through: Any = scene.network(self.through)
            value = through.adapt(value)
        return Target(value.detach(), scored, TargetSource.NETWORK)


def mean_state(target: Target) -> Prediction:
    """The mean of the target's states at every place, (S, D)."""
    return Prediction(target.value.mean(0, keepdim=True).expand_as(target.value), target.scored)
