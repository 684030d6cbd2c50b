"""Losses: named terms, each with a declared numerator, denominator and averaging."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from mmask.errors import PlanError

if TYPE_CHECKING:
    import torch

Over = Literal["positions", "elements", "samples", "groups", "sum"]


@dataclass(frozen=True, slots=True)
class Term:
    """One loss term.

    total: scalar tensor, the *sum* over what is averaged (elements inside a place already reduced as the
        objective declares). count: the denominator this batch contributes: how many positions, elements,
        samples or groups were summed. weight: the term's factor in the loss. over: what ``count`` counts.
    With accumulation or several ranks the engine divides by the count of the whole step, not of one
    micro-batch, so the gradient is that of one big batch.
    """

    total: torch.Tensor
    count: float
    weight: float = 1.0
    over: Over = "positions"

    def mean(self, count: float | None = None) -> torch.Tensor:
        """total / count; exactly 0, and still connected to its parameters, when nothing was scored."""
        count = self.count if count is None else count
        return self.total / count if count > 0 else self.total * 0.0


@dataclass(frozen=True, slots=True)
class Share:
    """A number worth logging that is a quotient of sums: total / count over the whole step (accuracy: right answers
    over answers). Micro-batches and ranks add up both, and nothing is logged where the count is 0."""

    total: float | torch.Tensor
    count: float | torch.Tensor


@dataclass(frozen=True, slots=True)
class Losses:
    """The loss terms of one forward pass, by name, and named numbers worth logging: quotients as `Share`, the mean
    over micro-batches and ranks of plain ones. They do not touch the loss."""

    terms: Mapping[str, Term]
    metrics: Mapping[str, float | torch.Tensor | Share] = field(default_factory=dict)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.terms[name].mean()

    def __iter__(self) -> Iterator[str]:
        return iter(self.terms)

    def __len__(self) -> int:
        return len(self.terms)

    def items(self) -> Iterator[tuple[str, torch.Tensor]]:
        """(name, mean) of each term, unweighted."""
        return ((name, term.mean()) for name, term in self.terms.items())

    def total(self, counts: Mapping[str, float] | None = None) -> torch.Tensor:
        """The weighted sum of the terms. counts: denominators of the whole step, by term name."""
        unknown = [] if counts is None else [name for name in self.terms if name not in counts]
        if unknown:
            raise PlanError(
                f"no denominator for the loss term '{unknown[0]}'; there are {sorted(counts or ())}",
                hint="an objective declares every term it returns in denominators()",
            )
        parts = [
            term.weight * term.mean(None if counts is None else counts[name])
            for name, term in self.terms.items()
        ]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total
