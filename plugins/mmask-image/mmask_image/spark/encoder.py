"""ConvEncoder: a convolutional network that is shown visible cells only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from mmask.api import Encoded, PlanError, RecipeError, Tokens, View, unpatchify
from mmask_image.export.dense import Dense
from mmask_image.spark.adapter import Form, SparseNet
from mmask_image.spark.cells import Cells
from mmask_image.spark.nets import Source, make_net
from mmask_image.spark.sync import synced


class ConvEncoder(SparseNet):
    """A convnet as the encoder of SparK (Tian et al. 2023, section 3.1).

    name, source: the network, of ``timm`` or ``torchvision``. options: further arguments of its constructor.
    drop_path, stem: see `mmask_image.spark.nets.make_net`. maps, form: see `SparseNet`.
    sync_bn: batch norm statistics run over the visible positions of all ranks, as the reference trains.
    tokenizer (wired): offers ``patch``, ``grid``, ``in_chans``; its patch is a cell, the square of pixels
    under one position of the coarsest map.

    ``net`` is the dense network under its library's names; parameters that no map depends on are frozen.
    """

    def __init__(
        self, *, tokenizer: Any, name: str = "resnet50", source: Source = "timm", drop_path: float = 0.0,
        stem: str = "full", maps: tuple[str, ...] | None = None, form: Form = "tiles", sync_bn: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        net = make_net(
            source, name, in_chans=tokenizer.in_chans, drop_path=drop_path, stem=stem, options=options,
        )
        super().__init__(synced(net) if sync_bn else net, maps=maps, form=form)
        if tuple(tokenizer.patch) != (self.cell, self.cell):
            raise RecipeError(
                f"a cell of {name} is {self.cell}x{self.cell} pixels, the tokenizer cuts patches of"
                f" {'x'.join(map(str, tokenizer.patch))}", hint=f"set tokenize.image.size = {self.cell}",
            )
        self.patch, self.grid = tuple(tokenizer.patch), tuple(tokenizer.grid)
        self.in_chans = int(tokenizer.in_chans)
        self.source, self.name, self.stem, self.options = source, name, stem, dict(options or {})
        idle = set(self.idle())
        for label, param in self.net.named_parameters():
            param.requires_grad_(label not in idle)

    @property
    def width(self) -> int:
        """Channels of the coarsest map."""
        return self.channels[-1]

    @property
    def prefix(self) -> int:
        """Tokens in front of the places: none."""
        return 0

    def dense(self) -> Dense:
        """The network itself as its library makes it; what exporters start from."""
        args = dict(self.options)
        if self.source == "timm" and self.in_chans != 3:
            args["in_chans"] = self.in_chans
        change, net = "", cast(Any, self.net)
        if self.stem == "small":
            change = (
                f"model.conv1 = torch.nn.Conv2d({self.in_chans}, {net.conv1.out_channels}, 3, padding=1, "
                "bias=False)  # the stem for small pictures\nmodel.maxpool = torch.nn.Identity()\n"
            )
        # SparseNet's dense pass runs the library's layers in the library's order, up to the coarsest map.
        features = net.forward_features if self.source == "timm" else self._coarsest
        return Dense(self.source, self.name, args, self.net.state_dict(), self.net, features, change=change)

    def _coarsest(self, image: Tensor) -> Tensor:
        return super().forward(image)[-1]

    def forward(  # type: ignore[override]  # an encoder takes a view, a SparseNet a picture
        self, view: View, *, taps: Sequence[str] = ()
    ) -> Encoded:
        """The maps of the view's plan, 0 at hidden cells; of a view without a plan, the dense network's.

        ``state`` is the coarsest map as (B, N, width), and ``pooled`` its mean over visible cells, made in
        evaluation mode only. There are no taps: internal states of tiles have no place in the whole map.
        """
        if taps:
            raise PlanError(f"a convolutional encoder has no tap '{taps[0]}'", hint="its maps are the pyramid")
        tokens = view.only()
        plan = view.plan() if view.plans else None
        cells = None if plan is None else Cells.of(plan, self._device())
        maps = self.maps_of(tokens, cells)
        state = pooled = None
        if not self.training:
            state = maps[-1].flatten(2).transpose(1, 2)
            pooled = state.mean(1) if cells is None else _visible_mean(state, cells)
        return Encoded(tokens.layout, state, pooled=pooled, pyramid=maps, plan=plan)

    def maps_of(self, tokens: Tokens, cells: Cells | None) -> tuple[Tensor, ...]:
        """The maps of tokens whose values are the pixels of cells, (B, N, cell·cell·C)."""
        values = tokens.values
        if values is None or tokens.flat or tokens.layout.index is not None:
            raise PlanError(
                "a convolutional encoder takes all cells of a picture, not a shortened sequence",
                hint="use the corruption 'blank' in its view",
            )
        values = values.to(next(self.net.parameters()).dtype)
        if cells is None or self.form != "tiles":
            grid = self._grid(tokens)
            return super().forward(unpatchify(values, grid, self.patch, self.in_chans), cells)
        seen = values.flatten(0, 1).index_select(0, cells.index)
        tiles = seen.view(len(seen), *self.patch, self.in_chans).permute(0, 3, 1, 2)
        return self.forward_tiles(tiles, cells)

    def _grid(self, tokens: Tokens) -> tuple[int, ...]:
        if tokens.layout.grid is None:
            raise PlanError("a convolutional encoder needs tokens on a grid")
        return tokens.layout.grid

    def _device(self) -> torch.device:
        return next(self.net.parameters()).device


def _visible_mean(state: Tensor, cells: Cells) -> Tensor:
    """(B, C): hidden cells are 0 in ``state`` (B, N, C) and do not count."""
    return state.sum(1) / cells.visible.flatten(1).sum(1, keepdim=True).clamp_min(1).to(state.dtype)

