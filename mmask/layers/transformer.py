"""Transformer: a stack of layers over packed samples, whose parts are choices. Knows no stage and no modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.errors import PlanError, RecipeError, did_you_mean
from mmask.layers.attention import Rule, attend, dense_shares
from mmask.layers.distance import alibi_slopes, rotary_tables, rotate
from mmask.layers.linear import linear
from mmask.layers.segments import Segments, pick

ACTIVATIONS: Mapping[str, Any] = {
    "gelu": F.gelu,  # the error function
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}
STATES = ("queries", "keys", "values", "attention")


@dataclass(frozen=True, kw_only=True)
class LayerParts:
    """The choices of one layer.

    hidden: width inside the feed-forward part. act: one of `ACTIVATIONS`; ``gelu`` is the exact one. gated: two
    products of that width, act(first) * second (GLU; Shazeer 2020). norm: ``post`` normalises after each residual sum
    (BERT), ``pre`` before each part. eps, norm_bias: of every LayerNorm. qkv: one matrix for queries, keys and values,
    or three (the numbers are the same). attention_bias, in_bias, out_bias: of the products of attention, into and out
    of the hidden width. dropout: of each part's output; attention_dropout: of attention's shares; inner_dropout: of the
    hidden width. std: of N(0, std) cut off at two deviations; shrink: factor of it for matrices that end on the
    residual stream.
    """

    width: int
    heads: int
    hidden: int
    act: str = "gelu"
    gated: bool = False
    norm: Literal["post", "pre"] = "post"
    eps: float = 1e-12
    norm_bias: bool = True
    qkv: Literal["fused", "separate"] = "fused"
    attention_bias: bool = True
    in_bias: bool = True
    out_bias: bool = True
    dropout: float = 0.1
    attention_dropout: float = 0.1
    inner_dropout: float = 0.0
    std: float = 0.02
    shrink: float = 1.0
    fast: bool = True

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise RecipeError(f"a transformer of width {self.width} cannot have {self.heads} heads")
        if self.act not in ACTIVATIONS:
            raise RecipeError(f"no activation '{self.act}'{did_you_mean(self.act, ACTIVATIONS)}",
                              hint=f"there are {', '.join(ACTIVATIONS)}")

    def make_norm(self) -> nn.LayerNorm:
        """A LayerNorm of this kind."""
        return nn.LayerNorm(self.width, eps=self.eps, bias=self.norm_bias)


class Attention(nn.Module):
    """Self-attention of packed samples."""

    def __init__(self, parts: LayerParts) -> None:
        super().__init__()
        self.parts = parts
        width, bias = parts.width, parts.attention_bias
        if parts.qkv == "fused":
            self.qkv = nn.Linear(width, 3 * width, bias=bias)
        else:
            self.query, self.key, self.value = (nn.Linear(width, width, bias=bias) for _ in range(3))
        self.out = nn.Linear(width, width, bias=bias)

    def project(self, x: Tensor) -> Tensor:
        """(T, width) -> (T, 3, heads, size)."""
        parts = self.parts
        if parts.qkv == "fused":
            made = linear(self.qkv, x, fast=parts.fast)
        else:
            made = torch.cat([linear(one, x, fast=parts.fast) for one in (self.query, self.key, self.value)], -1)
        return made.view(len(x), 3, parts.heads, -1)

    def forward(
        self, x: Tensor, segments: Segments, rule: Rule, tables: tuple[Tensor, Tensor] | None = None,
        found: dict[str, Tensor] | None = None, wanted: Tensor | None = None,
    ) -> Tensor:
        """(T, width) -> (T, width). tables: rotary ones for queries and keys. found: receives the internal states of
        the names that it has. wanted: (S,) rows; only these are returned, (S, width), though all are looked at."""
        qkv = self.project(x)
        if tables is not None:
            qkv = torch.cat([rotate(qkv[:, :2], tables).to(qkv.dtype), qkv[:, 2:]], 1)
        for name in found or ():
            assert found is not None
            if name == "attention":
                found[name] = dense_shares(qkv, segments, rule)[0]
            else:
                found[name] = qkv[:, STATES.index(name)].flatten(1)
        dropout = self.parts.attention_dropout if self.training else 0.0
        mixed = attend(qkv, segments, rule, dropout=dropout)
        mixed = mixed if wanted is None else pick(mixed, wanted)
        return linear(self.out, mixed, fast=self.parts.fast)


class FeedForward(nn.Module):
    """Up to the hidden width, activation (and gate), down again."""

    def __init__(self, parts: LayerParts) -> None:
        super().__init__()
        self.parts, self.act = parts, ACTIVATIONS[parts.act]
        self.up = nn.Linear(parts.width, parts.hidden * (2 if parts.gated else 1), bias=parts.in_bias)
        self.down = nn.Linear(parts.hidden, parts.width, bias=parts.out_bias)

    def forward(self, x: Tensor) -> Tensor:
        """(T, width) -> (T, width)."""
        x = linear(self.up, x, fast=self.parts.fast)
        if self.parts.gated:
            first, gate = x.chunk(2, dim=-1)
            x = self.act(first) * gate
        else:
            x = self.act(x)
        x = F.dropout(x, self.parts.inner_dropout, self.training) if self.parts.inner_dropout else x
        return linear(self.down, x, fast=self.parts.fast)


class Layer(nn.Module):
    """Attention and a feed-forward part, each with its residual sum and its norm. bare: no norm before attention."""

    def __init__(self, parts: LayerParts, *, bare: bool = False) -> None:
        super().__init__()
        self.parts = parts
        self.attention = Attention(parts)
        self.norm1 = nn.Identity() if bare else parts.make_norm()
        self.feed = FeedForward(parts)
        self.norm2 = parts.make_norm()

    def forward(
        self, x: Tensor, segments: Segments, rule: Rule, tables: tuple[Tensor, Tensor] | None = None,
        states: Sequence[str] = (), wanted: Tensor | None = None, skip: bool = False,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(T, width) -> (T, width), or (S, width), and the internal ``states`` by name; see `Attention.forward`.

        skip: do nothing, with zero gradients: what layer drop asks for. A skipped layer is called all the same, since
        ranks skip different ones and must agree on who gathers weights and who has a gradient.
        """
        found = dict.fromkeys(states, x)
        kept = x if wanted is None else pick(x, wanted)
        if skip:
            return _touched(kept, self), found
        if self.parts.norm == "pre":
            x = kept + self._drop(self.attention(self.norm1(x), segments, rule, tables, found, wanted))
            return x + self._drop(self.feed(self.norm2(x))), found
        x = self.norm1(kept + self._drop(self.attention(x, segments, rule, tables, found, wanted)))
        return self.norm2(x + self._drop(self.feed(x))), found

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.parts.dropout, self.training) if self.parts.dropout else x


@dataclass(frozen=True, kw_only=True)
class StackParts:
    """The choices of a stack.

    positions: how layers know places: ``none`` (tables are added before the stack), ``rotary``, or ``alibi``.
    window: places that a ``local`` layer sees in all, so |i - j| <= window // 2. pattern: the kinds of layers,
    ``global`` or ``local``, repeated over the depth. theta, local_theta: of rotary tables in either kind.
    first_norm: False leaves out the norm before the first attention (ModernBERT). final_norm: one after the last layer;
    by default where norms come first. layer_drop: share of layers that a training pass skips (Fan et al. 2020).
    """

    depth: int
    positions: Literal["none", "rotary", "alibi"] = "none"
    window: int | None = None
    pattern: tuple[str, ...] = ("global",)
    theta: float = 10000.0
    local_theta: float | None = None
    first_norm: bool = True
    final_norm: bool | None = None
    layer_drop: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.layer_drop < 1.0:
            raise RecipeError(f"layer_drop is {self.layer_drop}; it is a share from 0 to below 1")
        unknown = [kind for kind in self.pattern if kind not in ("global", "local")]
        if unknown or not self.pattern:
            raise RecipeError(f"a layer is 'global' or 'local', not {unknown[0] if unknown else 'nothing'!r}")
        if "local" in self.pattern and (self.window is None or self.window < 1):
            raise RecipeError("local layers need a window", hint="set window to the places they see in all")


class Transformer(nn.Module):
    """``depth`` layers over the rows of `Segments`: ``layers.i.{attention,norm1,feed,norm2}``, then ``norm``."""

    def __init__(self, parts: LayerParts, stack: StackParts) -> None:
        super().__init__()
        self.parts, self.stack = parts, stack
        self.kinds = tuple(stack.pattern[i % len(stack.pattern)] for i in range(stack.depth))
        self.slopes = tuple(alibi_slopes(parts.heads)) if stack.positions == "alibi" else None
        self.layers = nn.ModuleList(
            Layer(parts, bare=not stack.first_norm and i == 0) for i in range(stack.depth)
        )
        last = parts.norm == "pre" if stack.final_norm is None else stack.final_norm
        self.norm = parts.make_norm() if last else nn.Identity()
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """N(0, std) cut off at two deviations for matrices, zero for biases."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                std = self.parts.std * (self.parts.shrink if name.endswith((".out", ".down")) else 1.0)
                nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def units(self) -> list[nn.Module]:
        """Its layers."""
        return list(self.layers)

    def forward(
        self, x: Tensor, segments: Segments, rules: Sequence[Rule] = (Rule(),), *, taps: Sequence[str] = (),
        wanted: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(T, width) -> (T, width) and the taps, packed as x is.

        rules: one for all layers or one for each: what they may see beside their own windows and ALiBi.
        taps: ``block.i``, the output of layer i, negative from the end; ``block.i.queries``, ``.keys``, ``.values``
        (T, width), after rotation; ``block.i.attention``, shares (B, H, N, N) over the padded batch.
        wanted: (S,) distinct rows whose states are asked for, -> (S, width); the last layer is computed for these
        alone, which changes none of them.
        """
        named, final = _by_layer(taps, len(self.layers)), len(self.layers) - 1
        found: dict[str, Tensor] = {}
        tables = self._tables(segments, x.dtype)
        for number, layer in enumerate(self.layers):
            rule = self._rule(self.kinds[number], rules[number] if len(rules) > 1 else rules[0])
            asked = named.get(number, {})
            states = tuple(part for part in asked.values() if part)
            rows = wanted if number == final else None
            x, inner = layer(x, segments, rule, tables.get(self.kinds[number]), states, rows, self._skips())
            found |= {tap: inner[part] if part else x for tap, part in asked.items()}
        return self.norm(x), found

    def _skips(self) -> bool:
        share = self.stack.layer_drop
        return self.training and share > 0 and float(torch.rand(())) < share

    def _rule(self, kind: str, rule: Rule) -> Rule:
        radius = self.stack.window // 2 if kind == "local" and self.stack.window else None
        return replace(rule, radius=radius, slopes=self.slopes)

    def _tables(self, segments: Segments, dtype: torch.dtype) -> dict[str, tuple[Tensor, Tensor]]:
        if self.stack.positions != "rotary":
            return {}
        size, local = self.parts.width // self.parts.heads, self.stack.local_theta
        thetas = {"global": self.stack.theta, "local": self.stack.theta if local is None else local}
        return {
            kind: rotary_tables(segments.positions, size, theta, dtype)
            for kind, theta in thetas.items() if kind in self.kinds
        }


def _touched(x: Tensor, layer: nn.Module) -> Tensor:
    """x, with zero gradients for a skipped layer."""
    return x + torch.stack([weight.reshape(-1)[0] for weight in layer.parameters()]).sum() * 0.0


def _by_layer(taps: Sequence[str], depth: int) -> dict[int, dict[str, str]]:
    """Layer -> tap -> the internal state it names, "" for the layer's output. Raises PlanError."""
    ends = ("", *(f".{state}" for state in STATES))
    names = {f"block.{i}{end}": (i % depth, end[1:]) for i in range(-depth, depth) for end in ends}
    out: dict[int, dict[str, str]] = {}
    for tap in taps:
        if tap not in names:
            hint = f"taps are embed, block.0 to block.{depth - 1}, and of each " + ", ".join(STATES)
            raise PlanError(f"no tap '{tap}'{did_you_mean(tap, names)}", hint=hint)
        number, part = names[tap]
        out.setdefault(number, {})[tap] = part
    return out
