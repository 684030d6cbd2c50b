"""What vision transformers share beside their blocks: names of internal states, and pooling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mmask.api import PlanError, did_you_mean


def block_taps(taps: Sequence[str], depth: int) -> dict[int, list[str]]:
    """Block number -> the taps (``block.3``, ``block.-1``) that ask for its output. Raises PlanError."""
    names = {f"block.{i}": i % depth for i in range(-depth, depth)}
    unknown = [tap for tap in taps if tap not in names]
    if unknown:
        raise PlanError(
            f"no tap '{unknown[0]}'{did_you_mean(unknown[0], names)}",
            hint=f"taps are block.0 to block.{depth - 1}, or block.-1 from the end",
        )
    out: dict[int, list[str]] = {}
    for tap in taps:
        out.setdefault(names[tap], []).append(tap)
    return out


def pool_states(x: Tensor, prefix: int, valid: Tensor | None, how: str) -> Tensor:
    """(B, D) of states x (B, prefix + K, D): ``cls``, the first one, or ``mean`` of the places.

    valid: (B, K) bool, False at padding, or None.
    """
    if how == "cls":
        return x[:, 0]
    places = x[:, prefix:]
    if valid is None:
        return places.mean(1)
    share = valid.to(x.device, x.dtype) / valid.sum(1, keepdim=True).clamp_min(1).to(x.device)
    return (places * share[:, :, None]).sum(1)
