"""two-pictures: fine-tuning on statements about two pictures (NLVR2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import Batch, FineTune, RecipeError, Subject


class Both(nn.Module):
    """The network on the text with the first picture and on the text with the second -> both answers, (B, 2 width)."""

    def __init__(self, network: nn.Module, first: str, second: str) -> None:
        super().__init__()
        self.network, self.first, self.second = network, first, second

    def forward(self, batch: Batch) -> Tensor:
        """Raises RecipeError where no second picture was decoded."""
        if self.second not in batch.fields:
            raise RecipeError(
                f"the batch has no field '{self.second}'",
                hint=f"decode it: data.decode.{self.second}.use=regions data.decode.{self.second}.part=2.npz "
                     f"data.decode.{self.second}.name={self.second}",
            )
        other = {self._turned(name): value for name, value in batch.fields.items() if self._is(name, self.second)}
        rest = {name: value for name, value in batch.fields.items() if not self._is(name, self.first)}
        made = [self.network(batch), self.network(replace(batch, fields={**rest, **other}))]
        return torch.cat(made, 1)

    @staticmethod
    def _is(name: str, field: str) -> bool:
        return name == field or name.startswith(f"{field}.")

    def _turned(self, name: str) -> str:
        return self.first + name.removeprefix(self.second)


class TwoPictures(FineTune):
    """`finetune` of a network that is run on either picture with the same text; a linear head sees both answers (the
    pairs of LXMERT, and UNITER's simplest form).

    first, second: the fields of the two pictures; the run's tokenizer reads the first. The others as in `finetune`.
    """

    def __init__(
        self, *, first: str = "regions", second: str = "second", epochs: int = 10, warmup: int = 1, batch: int = 32,
        lr: float | None = 1e-4, base_lr: float = 5e-4, weight_decay: float = 0.01, clip: float | None = 1.0,
    ) -> None:
        super().__init__(
            epochs=epochs, warmup=warmup, batch=batch, lr=lr, base_lr=base_lr, weight_decay=weight_decay, clip=clip,
        )
        self.first, self.second = first, second

    def _network(self, subject: Subject, options: Mapping[str, Any]) -> tuple[nn.Module, int]:
        return Both(subject.network(**options), self.first, self.second), 2 * subject.width
