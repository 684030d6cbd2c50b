"""Moving averages of weights: of the whole model for evaluation, or of one network as another's teacher."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from mmask.train.shard import local


class Average:
    """``average <- decay · average + (1 - decay) · source`` after every step that was not skipped.

    Floating-point buffers (running statistics) are averaged too; integer ones are copied.
    """

    def __init__(self, source: nn.Module, average: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average = average
        theirs, ours = _state(source), _state(average)
        if theirs.keys() != ours.keys():
            raise ValueError("an average and its source must have the same parameters")
        floats = [name for name in ours if ours[name].is_floating_point()]
        self._ours = [ours[name] for name in floats]
        self._theirs = [theirs[name] for name in floats]
        self._copies = [(ours[name], theirs[name]) for name in ours if name not in set(floats)]

    @staticmethod
    def of(source: nn.Module, decay: float) -> Average:
        """The average of a module, starting as its copy."""
        return Average(source, twin(source), decay)

    @torch.no_grad()
    def start(self) -> None:
        """Set the average to the source."""
        for ours, theirs in zip(self._ours, self._theirs, strict=True):
            ours.copy_(theirs)
        for ours, theirs in self._copies:
            ours.copy_(theirs)

    @torch.no_grad()
    def update(self) -> None:
        """One step of the average."""
        if self._ours:
            torch._foreach_lerp_(self._ours, self._theirs, 1 - self.decay)
        for ours, theirs in self._copies:
            ours.copy_(theirs)


def twin(source: nn.Module) -> nn.Module:
    """A copy in evaluation mode without gradients: an average before its first step."""
    return copy.deepcopy(source).requires_grad_(False).eval()


def _state(module: nn.Module) -> Mapping[str, torch.Tensor]:
    """Parameters and buffers; of a sharded module this rank's parts, in the memory where they are trained."""
    return {name: local(value.detach()) for name, value in (*module.named_parameters(), *module.named_buffers())}
