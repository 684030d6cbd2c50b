"""MaskToken: hidden places stay in the sequence and are marked for the encoder's mask token."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mmask.errors import PlanError
from mmask.types import Action, Tokens

if TYPE_CHECKING:
    from mmask.protocols import Scene
    from mmask.types import MaskPlan, View


class MaskToken:
    """Marks hidden places in ``Tokens.replaced``; the encoder writes its mask token there after embedding.

    The site is the embedding (BEiT, SimMIM, SSAST): the values stay in the tokens, and an encoder that has no
    mask token refuses the view. A plan with actions may say MASK or KEEP; kept places are hidden and scored,
    but seen as they are.
    """

    site = "embedding"

    def __call__(self, view: View, stream: str, plan: MaskPlan, scene: Scene | None = None) -> Tokens:
        """The same tokens with ``replaced`` (B, N), or (T,) for flat tokens, on the host.

        Raises PlanError for a plan that rearranges places, or asks for another action.
        """
        if plan.source is not None or getattr(plan, "edit", None) is not None:
            raise PlanError("a plan that moves places cannot be applied by a mask token alone")
        replaced = plan.hidden
        if plan.action is not None:
            asked = set(plan.action[plan.hidden].tolist())
            other = sorted(asked - {Action.MASK, Action.KEEP})
            if other:
                raise PlanError(
                    f"corruption 'token' replaces or keeps hidden places; the plan asks for {Action(other[0]).name}",
                    hint="use a masker that sets no actions, or only MASK and KEEP",
                )
            replaced = replaced & (plan.action == Action.MASK)
        tokens = view.tokens[stream]
        if tokens.flat:
            valid = tokens.layout.valid
            replaced = replaced.flatten() if valid is None else replaced[valid.cpu()]
        if tokens.replaced is not None:
            replaced = replaced | tokens.replaced.cpu()
        return replace(tokens, replaced=replaced)
