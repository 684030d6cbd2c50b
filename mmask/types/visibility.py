"""Visibility: which places may attend to which. A policy, not a tensor, until a kernel asks for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmask.errors import PlanError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Visibility:
    """Constraints on attention that all have to hold (query q may see key k only if each allows it).

    valid: (B, N) bool; padding is no key. keys: (B, N) bool; places that may be looked at (MP3's "not a
    key"). causal: k <= q. prefix: (B,) int64; the first places see each other in both directions and
    ``causal`` holds after them. segments: (B, N) int64; only the same segment (packing). window: (left,
    right) distances, e.g. (64, 64); None on a side is unlimited. explicit: (B, N, N) bool.
    """

    valid: torch.Tensor | None = None
    keys: torch.Tensor | None = None
    causal: bool = False
    prefix: torch.Tensor | None = None
    segments: torch.Tensor | None = None
    window: tuple[int | None, int | None] | None = None
    explicit: torch.Tensor | None = None

    @property
    def full(self) -> bool:
        """Whether everything may see everything, so that a kernel needs no mask."""
        return not self.causal and all(
            value is None for value in (self.valid, self.keys, self.segments, self.window, self.explicit)
        )

    def dense(self, length: int, device: torch.device | str = "cpu") -> torch.Tensor | None:
        """(B or 1, N, N) bool, True where query (row) may see key (column); None when `full`.

        The plain twin of every faster kernel. A query with no visible key sees itself, so that softmax
        is defined there; such rows are padding and never scored.
        """
        import torch

        if self.full:
            return None
        place = torch.arange(length, device=device)
        allowed = torch.ones(1, length, length, dtype=torch.bool, device=device)
        if self.causal:
            order = place[None, :] <= place[:, None]
            if self.prefix is not None:
                inside = place[None] < self.prefix.to(device)[:, None]
                allowed = allowed & (order | (inside[:, None, :] & inside[:, :, None]))
            else:
                allowed = allowed & order
        elif self.prefix is not None:
            raise PlanError("a prefix means something only with causal=True")
        if self.window is not None:
            left, right = self.window
            distance = place[None, :] - place[:, None]
            if left is not None:
                allowed = allowed & (distance >= -left)
            if right is not None:
                allowed = allowed & (distance <= right)
        if self.segments is not None:
            segments = self.segments.to(device)
            allowed = allowed & (segments[:, :, None] == segments[:, None, :])
        for keys in (self.valid, self.keys):
            if keys is not None:
                allowed = allowed & keys.to(device)[:, None, :]
        if self.explicit is not None:
            allowed = allowed & self.explicit.to(device)
        lonely = ~allowed.any(-1, keepdim=True)
        return allowed | (lonely & torch.eye(length, dtype=torch.bool, device=device))
