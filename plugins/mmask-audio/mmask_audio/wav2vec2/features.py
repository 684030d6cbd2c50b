"""ConvFeatures: a waveform cut into frames by strided convolutions that learn with the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import Batch, Layout, RecipeError, Tokens
from mmask_audio.wav2vec2.arithmetic import Arithmetic


class ConvFeatures(nn.Module):
    """The feature encoder of wav2vec 2.0 (Baevski et al. 2020): one token for each ``stride`` samples.

    channels: of every convolution, or one number a layer. kernels, strides: in samples, then in frames of the layer
    below; nothing is padded, so a clip of S samples has exactly ``frames(S)`` tokens. bias: of the convolutions.
    norm: ``group`` normalises the first convolution's output per channel over time (BASE), ``layer`` every
    convolution's per frame (LARGE). over: what the group norm averages over in a ragged batch: ``padded`` rows, as
    the reference does, so that a clip's features depend on the padding it got; or ``own``, a clip's own frames.
    grad_scale: the gradient of everything here is multiplied by it; 0 freezes the convolutions. fast: convolve the
    valid samples only, where the norm allows it; False is the plain twin. field: of the batch, (B, S) floats, with
    ``<field>.length`` when ragged.
    """

    def __init__(
        self, *, channels: int | Sequence[int] = 512, kernels: Sequence[int] = (10, 3, 3, 3, 3, 2, 2),
        strides: Sequence[int] = (5, 2, 2, 2, 2, 2, 2), norm: Literal["group", "layer"] = "group",
        over: Literal["padded", "own"] = "padded", bias: bool = False, grad_scale: float = 1.0, fast: bool = True,
        field: str = "audio",
    ) -> None:
        super().__init__()
        widths = (channels,) * len(kernels) if isinstance(channels, int) else tuple(channels)
        if not len(widths) == len(kernels) == len(strides) or min(*widths, *kernels, *strides) < 1:
            raise RecipeError(
                f"channels {widths}, kernels {tuple(kernels)} and strides {tuple(strides)} are no stack of "
                "convolutions",
                hint="give each layer one number of each, at least 1",
            )
        if grad_scale < 0:
            raise RecipeError(f"grad_scale is {grad_scale}; it is 0 or more")
        self.arithmetic = Arithmetic(tuple(kernels), tuple(strides))
        self.widths, self.norm, self.over, self.bias = widths, norm, over, bias
        self.grad_scale, self.fast, self.field = grad_scale, fast, field
        below = (1, *widths[:-1])
        kinds = [norm if norm == "layer" or i == 0 else None for i in range(len(widths))]
        self.conv_layers = nn.ModuleList(
            ConvLayer(*row, bias=bias) for row in zip(below, widths, kernels, strides, kinds, strict=True)
        )

    @property
    def dim(self) -> int:
        """Channels of a token."""
        return self.widths[-1]

    def frames(self, samples: Tensor | int) -> Any:
        """How many tokens clips of so many samples have; 0 for clips shorter than the receptive field."""
        return self.arithmetic.frames(samples)

    def layout(self, batch: Batch) -> Layout:
        """A sequence; ``unit`` is the stride in samples. Raises RecipeError for what is no batch of clips, or when
        every clip is shorter than the receptive field."""
        audio = batch[self.field]
        if audio.ndim != 2 or not audio.is_floating_point():
            raise RecipeError(
                f"field '{self.field}' is {tuple(audio.shape)} {audio.dtype}; the tokenizer takes (B, S) floats",
                hint="decode one channel: data.decode.audio.channels=mono",
            )
        length = int(self.frames(int(audio.shape[1])))
        if length < 1:
            raise RecipeError(
                f"clips of {audio.shape[1]} samples have no frame; the convolutions need {self.arithmetic.receptive}",
                hint="decode longer clips: min_seconds of the decoder",
            )
        valid = None
        lengths = self._lengths(batch)
        if lengths is not None:
            valid = torch.arange(length)[None] < self.frames(lengths)[:, None]
        return Layout(
            audio.shape[0], length, valid=None if valid is None or bool(valid.all()) else valid,
            unit=(self.arithmetic.stride,), channels=self.dim,
        )

    def forward(self, batch: Batch) -> Tokens:
        """values: (B, N, dim) raw features, before any norm of the encoder; zero at padding of the packed way."""
        layout = self.layout(batch)
        audio = batch[self.field].to(next(self.parameters()).dtype)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.grad_scale > 0):
            values = self._packed(audio, batch, layout) if self._packs(layout) else self._padded(audio, batch, layout)
        if self.grad_scale not in (0.0, 1.0):
            values = ScaleGradient.apply(values, self.grad_scale)
        return Tokens(layout, values)

    def example(self, count: int) -> dict[str, Tensor]:
        """Clips of 40 frames of noise, from torch's generator: what an export is compared on."""
        return {self.field: torch.randn(count, self.arithmetic.receptive + 39 * self.arithmetic.stride)}

    def _lengths(self, batch: Batch) -> Tensor | None:
        """(B,) samples of each clip on the host; None when the batch says nothing, or all are full."""
        name = f"{self.field}.length"
        if name not in batch.fields or batch[name].is_meta:  # shapes alone: every clip is as long as the row
            return None
        lengths: Tensor = batch[name].cpu()
        return None if bool((lengths == batch[self.field].shape[1]).all()) else lengths

    def _packs(self, layout: Layout) -> bool:
        return self.fast and self.norm == "layer" and layout.valid is not None

    def _padded(self, audio: Tensor, batch: Batch, layout: Layout) -> Tensor:
        """(B, N, dim): convolutions over whole rows."""
        x, lengths = audio[:, None], self._lengths(batch) if self.over == "own" else None
        for number, layer in enumerate(self.conv_layers):
            own = None
            if number == 0 and lengths is not None:
                own = self.arithmetic.frames(lengths, layers=1).to(x.device)
            x = layer(x, own)
        return x.transpose(1, 2)

    def _packed(self, audio: Tensor, batch: Batch, layout: Layout) -> Tensor:
        """(B, N, dim): the clips laid end to end as one signal, each at a multiple of the stride, so that its
        frames are where they would be alone; frames that straddle two clips are thrown away."""
        assert layout.valid is not None
        lengths = self._lengths(batch)
        assert lengths is not None
        stride = self.arithmetic.stride
        cells = (lengths + stride - 1) // stride
        starts = cells.cumsum(0) - cells
        signal = torch.cat([
            F.pad(row[:size], (0, cell * stride - size))
            for row, size, cell in zip(audio, lengths.tolist(), cells.tolist(), strict=True)
        ])
        x = F.pad(signal, (0, self.arithmetic.receptive))[None, None]
        for layer in self.conv_layers:
            x = layer(x)
        flat = layout.flat_index()
        rows = (starts[flat // layout.length] + flat % layout.length).to(x.device)
        out = x.new_zeros(layout.batch * layout.length, self.dim)
        return out.index_copy(0, flat.to(x.device), x[0].t().index_select(0, rows)).view(layout.batch, -1, self.dim)


class ConvLayer(nn.Module):
    """Convolution, norm if it has one, GELU. Names as in transformers."""

    def __init__(
        self, below: int, width: int, kernel: int, stride: int, norm: str | None, *, bias: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(below, width, kernel, stride, bias=bias)
        nn.init.kaiming_normal_(self.conv.weight)
        if norm is not None:
            self.layer_norm = nn.LayerNorm(width) if norm == "layer" else nn.GroupNorm(width, width)

    def forward(self, x: Tensor, own: Tensor | None = None) -> Tensor:
        """x: (B, C, T). own: (B,) frames that a group norm is to average over -> (B, width, T')."""
        x = self.conv(x)
        norm = getattr(self, "layer_norm", None)
        if isinstance(norm, nn.LayerNorm):
            x = norm(x.transpose(1, 2)).transpose(1, 2)
        elif norm is not None:
            x = norm(x) if own is None else _over_own(norm, x, own)
        return F.gelu(x)


def _over_own(norm: Any, x: Tensor, own: Tensor) -> Tensor:
    """A group norm of one channel a group, over the first ``own`` (B,) frames of x (B, C, T)."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    seen = torch.arange(x.shape[2], device=x.device)[None] < own[:, None]
    share = (seen.to(wide.dtype) / own.clamp_min(1)[:, None])[:, None]
    mean = (wide * share).sum(2, keepdim=True)
    var = ((wide - mean).square() * share).sum(2, keepdim=True)
    out = (wide - mean) * torch.rsqrt(var + norm.eps) * norm.weight[:, None] + norm.bias[:, None]
    return out.to(x.dtype)


class ScaleGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        """x: any shape."""
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]  # torch declares *args
        """The scaled gradient."""
        return grad * ctx.scale, None
