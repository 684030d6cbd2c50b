"""Alteration: what TERA changes of an utterance along time, frequency and magnitude, and what it scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mmask.api import Action, Keys, Layout, MaskPlan, PlanError, RecipeError, Scene, Tokens, View

ACTIONS = (Action.ZERO, Action.COPY, Action.KEEP)


class AlterationMasker:
    """The plan of TERA (Liu et al. 2021, section III). Altered and scored are two things: the places hidden are the
    frames of the time spans, whatever is done with them; ``cells`` is the band of bins on every frame; noise scores
    nothing, unless nothing else is altered: then every cell is scored.

    time: share of frames that spans of ``length`` frames would cover if they did not overlap; 0 is off. dice: shares
        of utterances whose spans become 0, are overwritten with spans of the same utterance, or stay as they are; one
        dice for an utterance.
    frequency: the widest band, a share of the bins; its width is uniform from 0 to that. 0 is off.
    magnitude: share of the draws in which noise is added. per: ``utterance``, each its own draw, or ``batch``, one for
        the step as in the released code.
    edges: False never takes the last frame and the last bin, as the released code.
    """

    def __init__(
        self, *, time: float = 0.15, length: int = 7, dice: Sequence[float] = (0.8, 0.1, 0.1),
        frequency: float = 0.2, magnitude: float = 0.15, per: Literal["utterance", "batch"] = "utterance",
        edges: bool = True,
    ) -> None:
        shares = (time, frequency, magnitude, *dice)
        if min(shares) < 0 or max(shares) > 1 or len(dice) != 3 or abs(sum(dice) - 1) > 1e-6:
            raise RecipeError(
                f"mask.time {time}, frequency {frequency}, magnitude {magnitude} and dice {tuple(dice)} are shares; "
                "the three of dice sum to 1",
            )
        if length < 1 or per not in ("utterance", "batch"):
            raise RecipeError(f"mask.length is {length} (at least 1), mask.per '{per}' (utterance or batch)")
        self.time, self.length, self.dice, self.frequency = time, length, tuple(dice), frequency
        self.magnitude, self.per, self.edges = magnitude, per, edges

    def plan(self, layout: Layout, keys: Keys) -> MaskPlan:
        """The plan of each utterance. Raises PlanError for places without cells."""
        if layout.channels is None or layout.grid is not None:
            raise PlanError("alteration takes frames of bins, one place a frame", hint="use the tokenizer 'bins'")
        free = layout.maskable()
        spans, source = self._spans(layout, keys)
        hidden = torch.from_numpy(spans) & free
        draws = torch.from_numpy(keys.uniform("dice", 1))
        bound = float(self.dice[0]), float(self.dice[0] + self.dice[1])
        action = torch.where(draws < bound[0], ACTIONS[0], torch.where(draws < bound[1], ACTIONS[1], ACTIONS[2]))
        cells = self._band(layout, keys)[:, None, :] & free[:, :, None]
        if self.time == 0 and self.frequency == 0:
            cells = free[:, :, None].expand(-1, -1, layout.channels)
        return MaskPlan.of_hidden(
            layout, hidden, action=(action * hidden).to(torch.uint8), source=torch.from_numpy(source),
            cells=cells, extra={"noise": self._noise(layout, keys), "band": self._band(layout, keys)},
        )

    def _spans(self, layout: Layout, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        """(B, T) bool frames in spans, and (B, T) int64 the frames that would be copied there: other spans as long."""
        count = layout.lengths().cpu().numpy()
        usable = count if self.edges else count - 1
        spans = np.where(usable >= self.length, np.rint(count * self.time / self.length), 0).astype(np.int64)
        most, width = int(spans.max(initial=0)), layout.length
        room = np.arange(width)[None] <= (usable - self.length)[:, None]
        starts, others = (keys.order(purpose, width, room)[:, :most] for purpose in ("start", "copy"))
        hidden = np.zeros((layout.batch, width), bool)
        source = np.broadcast_to(np.arange(width), hidden.shape).copy()
        rows, number = np.nonzero(np.arange(most)[None] < spans[:, None])
        for step in range(self.length):
            place = starts[rows, number] + step
            hidden[rows, place] = True
            source[rows, place] = others[rows, number] + step
        return hidden, source

    def _band(self, layout: Layout, keys: Keys) -> Tensor:
        """(B, bins) bool."""
        assert layout.channels is not None
        usable = layout.channels if self.edges else layout.channels - 1
        width = keys.integers("width", 1, 0, int(layout.channels * self.frequency) + 1)
        low = np.floor(keys.uniform("low", 1) * (usable - width + 1)).astype(np.int64)
        bins = np.arange(layout.channels)[None]
        return torch.from_numpy((bins >= low) & (bins < low + width))

    def _noise(self, layout: Layout, keys: Keys) -> Tensor:
        """(B,) bool."""
        if self.per == "utterance":
            return torch.from_numpy(keys.uniform("noise", 1)[:, 0] < self.magnitude)
        share = (keys.batch("noise") >> 11) * 2.0**-53
        return torch.full((layout.batch,), share < self.magnitude)


class Alter:
    """Applies such a plan to the frames. std: of the noise; it reaches every frame that is not padding. Noise is drawn
    from each utterance's key, so it does not depend on what else is in the batch."""

    site = "feature"

    def __init__(self, *, std: float = 0.2) -> None:
        if std < 0:
            raise RecipeError(f"std = {std} must not be negative")
        self.std = std

    def __call__(self, view: View, stream: str, plan: MaskPlan, scene: Scene) -> Tokens:
        """Frames of the same layout. Sources are read from the frames before any was changed."""
        clean = view.tokens[stream].values
        if clean is None or plan.action is None or plan.source is None:
            raise RecipeError("corruption 'alter' needs frames and a plan of masker 'alteration'")
        device = clean.device
        copied = clean.gather(1, plan.source.to(device)[..., None].expand_as(clean))
        action = plan.action.to(device)[..., None]
        altered = torch.where(action == Action.COPY, copied, clean)
        blank = action == Action.ZERO
        if "band" in plan.extra:
            blank = blank | (plan.extra["band"][:, None, :] & plan.layout.maskable()[..., None]).to(device)
        altered = altered.masked_fill(blank, 0.0)
        return view.tokens[stream].with_data(altered + self._noise(plan, scene, clean))

    def _noise(self, plan: MaskPlan, scene: Scene, like: Tensor) -> Tensor:
        made = torch.zeros(like.shape, dtype=like.dtype)
        for row in plan.extra["noise"].nonzero().flatten().tolist():
            length = int(plan.layout.lengths()[row])
            draw = scene.keys.generator(row, "magnitude").normal(0.0, self.std, (length, like.shape[2]))
            made[row, :length] = torch.from_numpy(draw).to(made)
        return made.to(like.device)
