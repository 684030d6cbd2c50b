"""MlmHead: a transform, then the table of words again, at scored places only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import ACTIVATIONS, Encoded, Prediction, RecipeError, Scored, linear, product, states_at


class MlmHead(nn.Module):
    """Dense, activation, norm (``transform``), then the words' own embeddings and a free bias for each word.

    tied: the decoder is the network's table of words; False gives it a table of its own. transform: False leaves the
    first part out. bias, dense_bias: of the decoder and of the dense layer. act, eps, norm_bias, std: None takes the
    network's. fast: large products through oneDNN on CPUs where it is the faster library.
    network (wired): a `mmask_text.encoder.TextEncoder`, or what has its ``width``, ``parts`` and ``embed``.
    Logits (S, size) are computed at scored places and nowhere else.
    """

    def __init__(
        self, *, network: Any, tied: bool = True, transform: bool = True, bias: bool = True, dense_bias: bool = True,
        act: str | None = None, eps: float | None = None, norm_bias: bool | None = None, std: float | None = None,
        fast: bool = True,
    ) -> None:
        super().__init__()
        parts, words = network.parts, network.embed.words
        name = parts.act if act is None else act
        if name not in ACTIVATIONS:
            raise RecipeError(f"no activation '{name}'", hint=f"there are {', '.join(ACTIVATIONS)}")
        self.act, self.fast, self.std = ACTIVATIONS[name], fast, parts.std if std is None else std
        inner, self.network_width = words.embedding_dim, int(network.width)
        if not transform and network.width != inner:
            raise RecipeError(f"states of width {network.width} need a transform to words of width {inner}")
        self.dense = nn.Linear(network.width, inner, bias=dense_bias) if transform else None
        self.norm = nn.LayerNorm(
            inner, eps=parts.eps if eps is None else eps, bias=parts.norm_bias if norm_bias is None else norm_bias
        ) if transform else None
        self.decoder = words if tied else nn.Embedding(words.num_embeddings, inner)
        self.tied = tied
        self.bias = nn.Parameter(torch.zeros(words.num_embeddings)) if bias else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """N(0, std) cut off at two deviations for matrices of its own; zero biases."""
        own = [self.dense, None if self.tied else self.decoder]
        for module in own:
            if module is not None:
                nn.init.trunc_normal_(module.weight, std=self.std, a=-2 * self.std, b=2 * self.std)
        for value in (self.bias, None if self.dense is None else self.dense.bias):
            if value is not None:
                nn.init.zeros_(value)

    def logits(self, states: Tensor) -> Tensor:
        """(S, width) -> (S, size)."""
        if self.dense is not None and self.norm is not None:
            states = self.norm(self.act(linear(self.dense, states, fast=self.fast)))
        return product(states, self.decoder.weight, self.bias, fast=self.fast)

    def forward(self, encoded: Encoded, scored: Scored) -> Prediction:
        """value: (S, size) logits."""
        states = states_at(encoded, scored) if encoded.cu_seqlens is None else encoded.at(scored)
        return Prediction(self.logits(states), scored)
