"""VioletEncoder: frames through a Video Swin, words through tables, both through one transformer (VIOLET)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import (
    Embeddings,
    Encoded,
    LayerParts,
    Layout,
    PlanError,
    RecipeError,
    Segments,
    StackParts,
    Tokens,
    Transformer,
    View,
    did_you_mean,
)
from mmask_video.swin import VideoSwin

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TAPS = ("clip", "words", "fused", "votes")


class VioletEncoder(nn.Module):
    """A clip and its text in one sequence: each frame as a learned [CLS] and its cells, then the words.

    swin: options of `mmask_video.swin.VideoSwin`. width, depth, heads, hidden: of the fusion transformer (BERT's, norms
    after each part). places: positions of words. side: positions of cells kept are 1 + side², row-major as they come
    (the reference's table is made for 14 x 14 and its first rows are used). frames: positions of frames. pad_votes:
    whether places of padding vote on attention, as in the reference's code. video, text: names of the streams.
    tokenizers (wired): of both streams.

    Pixels are normalised here, with ImageNet's mean and deviation, after hidden cells became black.
    """

    prefix = 0

    def __init__(
        self, *, tokenizers: Any, swin: dict[str, Any] | None = None, width: int = 768, depth: int = 12,
        heads: int = 12, hidden: int | None = None, places: int = 512, types: int = 2, side: int = 14, frames: int = 6,
        eps: float = 1e-12, dropout: float = 0.1, attention_dropout: float = 0.1, act: str = "gelu", std: float = 0.02,
        pad_votes: bool = False, video: str = "video", text: str = "text", fast: bool = True,
    ) -> None:
        super().__init__()
        self.width, self.video, self.text, self.fast, self.pad_votes = width, video, text, fast, pad_votes
        self.sides = (text, video)
        self.frame_tokenizer, words = tokenizers[video], tokenizers[text]
        self.swin = VideoSwin(**(swin or {}))
        if self.swin.out_width != width or self.swin.stride != self.frame_tokenizer.cell:
            raise RecipeError(
                f"a Swin that ends in {self.swin.out_width} channels at stride {self.swin.stride} does not fit a "
                f"fusion of width {width} over cells of {self.frame_tokenizer.cell} pixels",
            )
        self.cls = nn.Parameter(torch.zeros(1, 1, 1, width))
        self.cells = nn.Parameter(torch.zeros(1, 1, 1 + side * side, width))
        self.times = nn.Parameter(torch.zeros(1, frames, 1, width))
        self.norm = nn.LayerNorm(width)
        self.parts = LayerParts(
            width=width, heads=heads, hidden=hidden or 4 * width, eps=eps, dropout=dropout, act=act, std=std,
            attention_dropout=attention_dropout, fast=fast,
        )
        self.embed = Embeddings(
            size=words.size, width=width, pad_id=words.pad_id, places=places, types=types, eps=eps, std=std,
            dropout=dropout,
        )
        self.body = Transformer(self.parts, StackParts(depth=depth))
        for table in (self.cls, self.cells, self.times):
            nn.init.trunc_normal_(table, std=std)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1, 1), persistent=False)

    def clip_states(self, tokens: Tokens) -> Tensor:
        """(B, T, 1 + H'·W', width): the [CLS] and the cells of every frame, before the fusion."""
        layout = tokens.layout
        if tokens.values is None or layout.grid is None or layout.index is not None:
            raise PlanError("this encoder takes whole clips: hide cells by blackening them, not by dropping them")
        pixels = self.frame_tokenizer.clip(tokens.values.to(self.cls.dtype), layout.grid)
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        x = self.swin((pixels - mean.to(pixels.dtype)) / std.to(pixels.dtype)).flatten(2, 3)
        x = torch.cat([self.cls.expand(*x.shape[:2], -1, -1), x], dim=2)
        if x.shape[1] > self.times.shape[1] or x.shape[2] > self.cells.shape[2]:
            raise PlanError(
                f"{x.shape[1]} frames of {x.shape[2] - 1} cells are more than the positions this encoder has",
                hint="set the encoder's frames and side",
            )
        return self.norm(x + self.cells[:, :, : x.shape[2]] + self.times[:, : x.shape[1]])

    def word_states(self, tokens: Tokens) -> Tensor:
        """(B, X, width): the embedded words, before the fusion."""
        ids = tokens.ids
        if ids is None or tokens.flat:
            raise PlanError("this encoder takes padded ids of words")
        places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        types = tokens.layout.groups.get("type")
        flat = None if types is None else types.to(ids.device).clamp_min(0).flatten()
        return self.embed(ids.flatten(), places.flatten(), flat).view(*ids.shape, -1)

    def fuse(
        self, clip: Tensor, words: Tensor, valid: Tensor | None, *, votes: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Clips (B, F, width) and words (B, X, width) through the fusion -> (B, F + X, width) and votes (B, F + X).

        valid: (B, X) bool, False at padding. votes: how much all places look at each one, the mean over heads summed
        over layers and places.
        """
        batch, ahead = clip.shape[:2]
        there = None
        if valid is not None:
            there = torch.cat([torch.ones(batch, ahead, dtype=torch.bool), valid.cpu()], 1)
        layout = Layout(batch, ahead + words.shape[1], valid=there)
        segments = Segments.of(layout, clip.device, padded=not self.fast or (votes and self.pad_votes))
        names = [f"block.{i}.attention" for i in range(len(self.body.layers))] if votes else []
        x, found = self.body(segments.take(torch.cat([clip, words], 1)), segments, taps=names)
        if not votes:
            return segments.put(x), None
        shares = torch.stack([value.mean(1) for value in found.values()]).sum(0)  # B queries keys
        if there is not None and not self.pad_votes:
            shares = shares * there.to(shares.device)[:, :, None]
        return segments.put(x), shares.sum(1)

    def one_side(self, view: View, stream: str) -> dict[str, Tensor]:
        """A clip through the Swin, ``states`` (B, F, width); or words embedded, with ``valid`` (B, X) bool."""
        tokens = view.tokens[stream]
        if stream == self.video:
            return {"states": self.clip_states(tokens).flatten(1, 2)}
        states, valid = self.word_states(tokens), tokens.layout.valid
        there = torch.ones(states.shape[:2], dtype=torch.bool) if valid is None else valid
        return {"states": states, "valid": there.to(states.device)}

    def join(self, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Encoded:
        """Words and clips of P pairs, as `one_side` made them, through the fusion; ``pooled`` is the first word's
        state."""
        words, clip = first["states"], second["states"]
        fused, _ = self.fuse(clip, words, first["valid"])
        layout = Layout(words.shape[0], words.shape[1], valid=first["valid"].cpu())
        streams = {self.text: Encoded(layout, fused[:, clip.shape[1] :])}
        return Encoded(layout, pooled=fused[:, clip.shape[1]], streams=streams)

    def forward(self, view: View, *, taps: Sequence[str] = ()) -> Encoded:
        """Streams ``video`` (cells alone) and ``text``; ``pooled`` is the first word's state.

        taps: ``clip`` (B, T·(1 + H'·W'), width) and ``words`` (B, X, width) before the fusion, ``fused`` after it,
        ``votes`` (B, places of both streams) as `fuse` makes them, without those on frames' [CLS].
        """
        unknown = [tap for tap in taps if tap not in TAPS]
        if unknown:
            raise PlanError(f"no tap '{unknown[0]}'{did_you_mean(unknown[0], TAPS)}", hint=f"there are {TAPS}")
        frames, text = view.tokens[self.video], view.tokens[self.text]
        clip, words = self.clip_states(frames), self.word_states(text)
        fused, votes = self.fuse(clip.flatten(1, 2), words, text.layout.valid, votes="votes" in taps)
        count = clip.shape[1] * clip.shape[2]
        cells = fused[:, :count].unflatten(1, clip.shape[1:3])[:, :, 1:].flatten(1, 2)
        found = {"clip": clip.flatten(1, 2), "words": words, "fused": fused}
        if votes is not None:
            seen = votes[:, :count].unflatten(1, clip.shape[1:3])[:, :, 1:].flatten(1, 2)
            found["votes"] = torch.cat([seen, votes[:, count:]], 1)
        streams = {
            self.video: Encoded(frames.layout, cells), self.text: Encoded(text.layout, fused[:, count:]),
        }
        kept = {tap: found[tap] for tap in taps}
        return Encoded(frames.layout, pooled=fused[:, count], streams=streams, taps=kept)
