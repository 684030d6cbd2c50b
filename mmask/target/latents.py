"""Latents: a network's own states at scored places are the truth; no gradient passes."""

from __future__ import annotations

import torch

from mmask.layers.places import states_at
from mmask.protocols import Scene
from mmask.types import Scored, Target, TargetSource


class Latents:
    """States of ``network`` for ``view``, at scored places, computed and kept without gradient.

    network: the network that encodes; the live encoder itself for CAE (Chen et al. 2022), whose reference
        aliases its "alignment encoder" to the encoder after every step; a moving average for others.
    view: what it is shown, such as the complement of the plan.
    through: a network whose ``adapt`` maps the states on to the width of the prediction, without gradient too.

    The network runs in the mode it is in: with drop path, the target's draws are its own, as in the reference.
    """

    def __init__(
        self, *, network: str = "encoder", view: str = "hidden", through: str | None = None
    ) -> None:
        self.network, self.view, self.through = network, view, through

    @torch.no_grad()
    def __call__(self, scene: Scene, scored: Scored) -> Target:
        """value: (S, D), detached. Raises PlanError when a scored place is not in the view."""
        value = states_at(scene.encode(self.network, self.view, grad=False), scored)
        if self.through is not None:
            value = scene.network(self.through).adapt(value)
        return Target(value.detach(), scored, TargetSource.NETWORK)
