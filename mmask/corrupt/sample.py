"""SampleIds: hidden places get draws from another network's predictions (ELECTRA)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmask.corrupt.ids import put_ids
from mmask.errors import PlanError, RecipeError
from mmask.types import Tokens

if TYPE_CHECKING:
    import torch

    from mmask.protocols import Scene
    from mmask.types import MaskPlan, View

_BLOCK = 256  # ids summed in one go: a plain running sum over a vocabulary loses digits in single precision
_ROWS = 1 << 24  # logits looked at together


class SampleIds:
    """Every place that an objective predicts, kept ones too, gets an id drawn from its softmax, without gradient.

    objective: whose prediction, logits over ids. temperature: of the softmax, above 0. disallow_original: the id that
    was there is never drawn, so that every hidden place is replaced. special: special ids, and rows of the table beyond
    the vocabulary, may be drawn too, as ELECTRA's code allows; by default the mask never comes back as a draw.
    tokenizers (wired): the tokenizer of a stream offers ``vocabulary`` with ``size`` and ``special_ids``.

    A draw is the place's own uniform number, keyed by (seed, sample, visit, view, place), sent through the inverse
    of the cumulated softmax: the same distribution as the largest of logits plus Gumbel noise (ELECTRA's code), with
    one random number a place instead of one for each id. It is as exact as the logits are, so it may differ between
    devices where two ids are a rounding apart.
    """

    site = "embedding"

    def __init__(
        self, *, objective: str, temperature: float = 1.0, disallow_original: bool = False, special: bool = False,
        tokenizers: Mapping[str, Any] | None = None,
    ) -> None:
        if temperature <= 0:
            raise RecipeError(f"temperature is {temperature}; it is above 0 (1e-6 takes the likeliest id)")
        self.objective, self.temperature, self.disallow_original = objective, temperature, disallow_original
        self.special, self.tokenizers = special, tokenizers or {}

    def __call__(self, view: View, stream: str, plan: MaskPlan, scene: Scene) -> Tokens:
        """The tokens of one stream with sampled ids. Raises PlanError when the objective predicts other places."""
        import torch

        tokens, prediction = view.tokens[stream], scene.predict(self.objective)
        scored = prediction.scored
        if scored.index is None or scored.unit != "position" or scored.layout.length != plan.layout.length:
            raise PlanError(f"objective '{self.objective}' does not predict places of stream '{stream}'")
        with torch.no_grad():
            logits = prediction.value.detach() / self.temperature
            never = self._never(stream, logits.shape[1])
            if never:
                logits.index_fill_(1, torch.tensor(never, device=logits.device), float("-inf"))
            if self.disallow_original:
                own = scene.view("clean").tokens[stream].at(scored)
                logits.scatter_(1, own.to(logits.device)[:, None], float("-inf"))
            uniform = scene.keys.of_view(view.name).uniform("sample", plan.layout.length)
            drawn = draw_ids(logits, scored.take(torch.from_numpy(uniform)))
        return put_ids(tokens, scored.index, drawn)

    def _never(self, stream: str, rows: int) -> list[int]:
        """Ids that are not drawn, of a table of ``rows``."""
        vocabulary = getattr(self.tokenizers.get(stream), "vocabulary", None)
        if self.special or vocabulary is None:
            return []
        return [*(int(one) for one in vocabulary.special_ids if one < rows), *range(vocabulary.size, rows)]


def draw_ids(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """One id a row from softmax(logits). logits: (S, V). uniform: (S,) in [0, 1). -> (S,) int64.

    The vocabulary is searched in two steps, blocks of ids and ids of a block, each cumulated in double precision.
    """
    import torch

    rows = max(1, _ROWS // logits.shape[1])
    parts = [_draw(*part) for part in zip(logits.split(rows), uniform.split(rows), strict=True)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)


def _draw(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    import torch

    wide = torch.float32 if logits.device.type == "mps" else torch.float64
    single = torch.promote_types(logits.dtype, torch.float32)
    share = torch.softmax(logits.to(single), -1)
    share = torch.nn.functional.pad(share, (0, -share.shape[1] % _BLOCK)).unflatten(1, (-1, _BLOCK))
    ends = share.sum(-1, dtype=wide).cumsum(-1)
    below = 1 - torch.finfo(wide).eps  # so that rounding never leads past the last share
    at = uniform.to(logits.device, wide)[:, None] * ends[:, -1:] * below
    block = torch.searchsorted(ends, at, right=True).clamp_max(ends.shape[1] - 1)
    before = torch.where(block > 0, ends.gather(1, (block - 1).clamp_min(0)), 0.0)
    inside = share.gather(1, block[:, :, None].expand(-1, -1, _BLOCK)).squeeze(1).to(wide).cumsum(-1)
    at = torch.minimum(at - before, inside[:, -1:] * below)
    drawn = block * _BLOCK + torch.searchsorted(inside, at, right=True)
    return drawn.squeeze(1).clamp_max(logits.shape[1] - 1)  # logits that are not numbers lead anywhere
