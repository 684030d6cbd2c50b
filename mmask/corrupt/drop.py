"""Drop: hidden places leave the sequence, so that the network never computes them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mmask.errors import PlanError
from mmask.layers.gather import take_places
from mmask.types import Action, Tokens

if TYPE_CHECKING:
    import torch

    from mmask.protocols import Scene
    from mmask.types import MaskPlan, View


class Drop:
    """Keeps the plan's visible places, in the plan's order, and removes the hidden ones (MAE).

    The tokens' layout afterwards is that of the kept places; its ``index`` says where they were and its
    ``valid`` is False at the padding of a ragged plan. Flat tokens stay flat, with new offsets.
    """

    site = "feature"

    def __call__(self, view: View, stream: str, plan: MaskPlan, scene: Scene | None = None) -> Tokens:
        """The kept tokens of one stream.

        Raises PlanError when the plan asks for anything but removal, or rearranges places.
        """
        if plan.source is not None or plan.edit is not None:
            raise PlanError("a plan that copies or edits places cannot be applied by dropping them")
        if plan.action is not None and bool((plan.action[plan.hidden] != Action.DROP).any()):
            raise PlanError(
                "this plan replaces some hidden places instead of removing them",
                hint="use a corruption that replaces, or a masker that sets no actions",
            )
        tokens = view.tokens[stream]
        return _flat(tokens, plan) if tokens.flat else _padded(tokens, plan)


def _padded(tokens: Tokens, plan: MaskPlan) -> Tokens:
    def pick(value: torch.Tensor | None) -> torch.Tensor | None:
        return None if value is None else take_places(value, plan.keep_idx)

    layout = tokens.layout.take(plan.keep_idx, plan.kept)
    return Tokens(layout, pick(tokens.values), pick(tokens.ids), replaced=pick(tokens.replaced))


def _flat(tokens: Tokens, plan: MaskPlan) -> Tokens:
    import torch

    offsets = tokens.cu_seqlens
    assert offsets is not None, "flat tokens have offsets"
    rows = offsets.cpu()[:-1, None].long() + plan.keep_idx
    kept = plan.kept
    rows = rows.flatten() if kept is None else rows[kept]
    batch, most = plan.keep_idx.shape
    counts = torch.full((batch,), most) if plan.keep_count is None else plan.keep_count
    ends = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(offsets.device, offsets.dtype)

    def pick(value: torch.Tensor | None) -> torch.Tensor | None:
        return None if value is None else value.index_select(0, rows.to(value.device))

    return replace(
        tokens, layout=tokens.layout.take(plan.keep_idx, kept), values=pick(tokens.values),
        ids=pick(tokens.ids), replaced=pick(tokens.replaced), cu_seqlens=ends,
    )
