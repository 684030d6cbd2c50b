"""ReplaceIds: hidden places of discrete tokens become the mask's id, another id, or stay (BERT)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mmask.errors import PlanError, RecipeError
from mmask.types import Action, Tokens

if TYPE_CHECKING:
    import torch

    from mmask.protocols import Scene
    from mmask.types import MaskPlan, View

_KNOWN = {Action.MASK, Action.RANDOM, Action.KEEP}


class ReplaceIds:
    """Writes ids before the embedding, as the plan's actions say; a plan without actions masks every hidden place.

    ``MASK`` is the vocabulary's mask id, ``RANDOM`` an id drawn uniformly, ``KEEP`` the id that is there.
    random: what random ids are drawn from: ``text``, ids that are no special tokens (fairseq's RoBERTa), or ``all``
        of the vocabulary, special and unused ones included (BERT's code). Either may draw the id that was there.
    tokenizers (wired): the tokenizer of a stream offers ``vocabulary`` with ``size``, ``mask_id`` and ``special_ids``.

    Each draw belongs to (seed, sample, visit, view, place), so it is the same in any batch.
    """

    site = "embedding"

    def __init__(self, *, random: Literal["text", "all"] = "text", tokenizers: Mapping[str, Any]) -> None:
        if random not in ("text", "all"):
            raise RecipeError(f"random is '{random}'; it is 'text' or 'all'")
        self.random, self.tokenizers = random, tokenizers
        self._choices: dict[str, np.ndarray] = {}

    def __call__(self, view: View, stream: str, plan: MaskPlan, scene: Scene) -> Tokens:
        """The tokens of one stream with other ids at hidden places.

        Raises PlanError for tokens without ids, and for a plan that moves places or asks for another action.
        """
        import torch

        tokens = view.tokens[stream]
        action = _actions(plan)
        masked, random = (action.flatten() == one for one in (Action.MASK, Action.RANDOM))
        index = (masked | random).nonzero().squeeze(1)
        ids = torch.full((len(index),), self._mask_id(stream), dtype=torch.int64)
        inside = random[index]
        if bool(inside.any()):
            keys, length = scene.keys.of_view(view.name), plan.layout.length
            choices = self._from(stream)
            drawn = choices[keys.integers("random-id", length, 0, len(choices))]
            ids[inside] = torch.from_numpy(drawn).flatten()[index[inside]]
        return put_ids(tokens, index, ids)

    def _mask_id(self, stream: str) -> int:
        vocabulary = getattr(self.tokenizers[stream], "vocabulary", None)
        if getattr(vocabulary, "mask_id", None) is None:
            raise RecipeError(
                f"corruption 'token-ids' needs the id of the mask; the tokenizer of stream '{stream}' offers none",
                hint="a tokenizer of ids offers 'vocabulary' with size, mask_id and special_ids",
            )
        return int(vocabulary.mask_id)  # type: ignore[union-attr]  # it has one

    def _from(self, stream: str) -> np.ndarray:
        """The ids that random places draw from."""
        if stream not in self._choices:
            vocabulary = self.tokenizers[stream].vocabulary
            ids = np.arange(vocabulary.size, dtype=np.int64)
            if self.random == "text":
                ids = np.setdiff1d(ids, np.asarray(sorted(vocabulary.special_ids), np.int64))
            self._choices[stream] = ids
        return self._choices[stream]


def _actions(plan: MaskPlan) -> torch.Tensor:
    """(B, N) uint8: the plan's actions, MASK at hidden places of a plan without any."""
    import torch

    if plan.source is not None or plan.edit is not None:
        raise PlanError("a plan that moves places cannot be applied by writing ids alone")
    if plan.action is None:
        return torch.where(plan.hidden, int(Action.MASK), int(Action.VISIBLE)).to(torch.uint8)
    other = sorted(set(plan.action[plan.hidden].unique().tolist()) - _KNOWN)
    if other:
        raise PlanError(
            f"corruption 'token-ids' masks, replaces or keeps hidden places; the plan asks for {Action(other[0]).name}",
            hint="use the actions mask, random and keep",
        )
    return torch.where(plan.hidden, plan.action, torch.zeros_like(plan.action))


def put_ids(tokens: Tokens, index: torch.Tensor, ids: torch.Tensor) -> Tokens:
    """The tokens with ``ids`` (S,) at places ``index`` (S,) of the flattened (B·N), also where tokens are flat.

    Raises PlanError for tokens without ids, or with several ids a place.
    """
    if tokens.ids is None or tokens.ids.ndim != (1 if tokens.flat else 2):
        raise PlanError("ids can be written into tokens of one id a place only")
    device = tokens.ids.device
    index = tokens.layout.flat_rank(index) if tokens.flat else index
    new = tokens.ids.flatten().index_copy(0, index.to(device), ids.to(device))
    return replace(tokens, ids=new.view_as(tokens.ids))
