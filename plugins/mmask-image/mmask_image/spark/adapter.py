"""SparseNet: any convolutional network of known layer types, made to see visible cells only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from mmask.api import RecipeError
from mmask_image.spark.cells import Cells
from mmask_image.spark.rules import RULES, Rule, clean
from mmask_image.spark.steps import Ref, Step, names, read_steps, refused

Form = Literal["tiles", "dense", "zeros"]
_PROBE = 256  # input side for reading strides; a multiple of every stride in use


class SparseNet(nn.Module):
    """A dense network and a mask-aware way of running it. The network itself is not touched.

    net: any module from (B, C, H, W) to anything; its parameters keep their names, so ``net.state_dict()`` is
        the dense model's and taking the network back out is ``sparse.net``.
    maps: paths of the modules whose outputs are returned, from fine to coarse; by default those that timm
        declares in ``feature_info``, or the stages of torchvision's ResNet and ConvNeXt. What the network does
        after the last of them (pooling, classifier) is not run.
    rules: further layer types -> `Rule`, or other rules for known ones.
    form: ``tiles`` computes visible cells only; ``dense`` computes whole maps and zeroes hidden cells after
        every layer, as the reference does: the plain twin. ``zeros`` is not SparK but its control: the plain
        network on a picture whose hidden pixels are 0, so that values and statistics run over the holes too
        ("zero-outing" in the paper's ablation, Tian et al. 2023, table 4).

    The forward pass is read once, with torch.fx; a layer or function that is not known to keep cells apart
    is an error that names its path and type. Which cells are visible is an argument of each call, so calls
    share nothing. Raises RecipeError.
    """

    def __init__(
        self, net: nn.Module, *, maps: tuple[str, ...] | None = None,
        rules: Mapping[type, Rule] | None = None, form: Form = "tiles",
    ) -> None:
        super().__init__()
        if form not in get_args(Form):
            raise RecipeError(f"form is '{form}'; there are {', '.join(get_args(Form))}")
        self.net, self.form = net, form
        self.maps = default_maps(net) if maps is None else tuple(maps)
        self.rules = {**RULES, **(rules or {})}
        self.steps, self.wanted = read_steps(net, self.maps, self.rules)
        self.channels, self.strides = self._probe()

    @property
    def cell(self) -> int:
        """Pixels of a cell's side: the stride of the coarsest map."""
        return self.strides[-1]

    def forward(self, x: Tensor, cells: Cells | None = None) -> tuple[Tensor, ...]:
        """The maps, from fine to coarse, each (B, C, H / stride, W / stride) and 0 at hidden cells (``zeros``: the
        network's own values there, too).

        x: (B, C, H, W); what it holds at hidden cells is never read. cells: None for a dense pass, whose maps
        are the network's own.
        """
        if cells is None:
            return self._run(x, self._apply_dense)
        if self.form == "zeros":
            return self._run(clean(x, cells, last=False), self._apply_dense)
        if self.form == "dense":
            return self._run(clean(x, cells, last=False), self._masked(cells))
        return self.forward_tiles(cells.tiles(x), cells)

    def forward_tiles(self, tiles: Tensor, cells: Cells) -> tuple[Tensor, ...]:
        """As `forward`, from the visible tiles of the picture alone. tiles: (V, C, cell, cell)."""
        tiles = tiles.contiguous(memory_format=torch.channels_last)
        return tuple(cells.dense(made) for made in self._run(tiles, self._tiled(cells)))

    def idle(self) -> list[str]:
        """Names of parameters that no map depends on (those of a classifier)."""
        used = {step.target for step in self.steps if step.kind in ("layer", "constant")}
        return [
            name for name, _ in self.net.named_parameters()
            if name not in used and name.rpartition(".")[0] not in used
        ]

    def _run(self, x: Tensor, apply: Callable[[Step, Any, Any], Any]) -> tuple[Tensor, ...]:
        values: dict[str, Any] = {self._input(): x}
        del x
        for step in self.steps:
            values[step.name] = apply(step, _fill(step.args, values), _fill(step.kwargs, values))
            for name in step.frees:
                del values[name]
        return tuple(values[name] for name in self.wanted)

    def _input(self) -> str:
        made = {step.name for step in self.steps}
        for step in self.steps:
            for arg in step.args:
                if isinstance(arg, Ref) and arg.name not in made:
                    return arg.name
        raise RecipeError("none of the maps depends on the network's input")

    def _apply_dense(self, step: Step, args: Any, kwargs: Any) -> Any:
        if step.kind == "layer":
            return self.net.get_submodule(step.target)(*args)
        return self._call(step, args, kwargs)

    def _tiled(self, cells: Cells) -> Callable[[Step, Any, Any], Any]:
        def apply(step: Step, args: Any, kwargs: Any) -> Any:
            if step.kind != "layer":
                return self._call(step, args, kwargs)
            module = self.net.get_submodule(step.target)
            return self.rules[type(module)].tiles(module, args[0], cells, step.last)

        return apply

    def _masked(self, cells: Cells) -> Callable[[Step, Any, Any], Any]:
        def apply(step: Step, args: Any, kwargs: Any) -> Any:
            if step.kind != "layer":
                out = self._call(step, args, kwargs)
                return clean(out, cells, step.last) if step.cleans else out
            module = self.net.get_submodule(step.target)
            return self.rules[type(module)].dense(module, args[0], cells, step.last)

        return apply

    def _call(self, step: Step, args: Any, kwargs: Any) -> Any:
        if step.kind == "constant" and isinstance(step.target, str) and not args:
            path, _, name = step.target.rpartition(".")
            return getattr(self.net.get_submodule(path), name)
        if step.kind == "method":
            return getattr(args[0], step.target)(*args[1:], **kwargs)
        return step.target(*args, **kwargs)

    def _probe(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Channels and strides of the maps, from shapes alone (meta tensors)."""
        shapes: dict[str, torch.Size] = {}
        labels = {step.name: step.target for step in self.steps if isinstance(step.target, str)}
        constants: set[str] = set()

        def look(step: Step, args: Any, kwargs: Any) -> Any:
            given = names(step.args) | names(step.kwargs)
            if given <= constants and step.kind != "layer":
                constants.add(step.name)
            else:
                for name in given & constants:
                    check_constant(step, labels.get(name, name), tuple(shapes[name]))
            out = self._apply_dense(step, args, kwargs)
            shapes[step.name] = out.shape
            return out

        with _Meta(self.net) as (channels, dtype), torch.no_grad():
            self._run(torch.empty(1, channels, _PROBE, _PROBE, device="meta", dtype=dtype), look)
        made = [shapes[name] for name in self.wanted]
        strides = tuple(_PROBE // shape[-1] for shape in made)
        bad = [path for path, shape in zip(self.maps, made, strict=True) if len(shape) != 4]
        if bad or list(strides) != sorted(strides):
            raise RecipeError(f"maps {self.maps} are not feature maps from fine to coarse (strides {strides})")
        return tuple(shape[1] for shape in made), strides


class _Meta:
    """A network with its tensors on the meta device and in evaluation mode, and back."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def __enter__(self) -> tuple[int, torch.dtype]:
        """-> input channels and type."""
        tensors = {**dict(self.net.named_parameters()), **dict(self.net.named_buffers())}
        self.modes = [(module, module.training) for module in self.net.modules()]
        self.net.eval()
        self.swap = torch.nn.utils.stateless._reparametrize_module(
            self.net, {name: value.detach().to("meta") for name, value in tensors.items()}
        )
        self.swap.__enter__()
        first = next((m for m in self.net.modules() if isinstance(m, nn.Conv2d)), None)
        if first is None:
            raise RecipeError(f"a {type(self.net).__name__} without convolutions has no maps")
        return first.in_channels, first.weight.dtype

    def __exit__(self, *error: Any) -> None:
        self.swap.__exit__(*error)
        for module, mode in self.modes:
            module.training = mode


def default_maps(net: nn.Module) -> tuple[str, ...]:
    """The modules that end the stages: timm's ``feature_info``, or torchvision's ResNet and ConvNeXt.

    Raises RecipeError for other networks.
    """
    info = getattr(net, "feature_info", None)
    if info is not None:
        entries = info.info if hasattr(info, "info") else info
        ends = tuple(entry["module"] for entry in entries if entry["reduction"] >= 4)
        if ends:
            return ends
    stages: tuple[str, ...]
    for stages in (("layer1", "layer2", "layer3", "layer4"), tuple(f"features.{i}" for i in (1, 3, 5, 7))):
        try:
            for path in stages:
                net.get_submodule(path)
        except AttributeError:
            continue
        return stages
    raise RecipeError(
        f"which outputs of a {type(net).__name__} are its maps is not known",
        hint="name the modules that end its stages, fine to coarse: maps=('stage1', 'stage2', ...)",
    )


def _fill(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, tuple):
        return tuple(_fill(item, values) for item in value)
    if isinstance(value, dict):
        return {name: _fill(item, values) for name, item in value.items()}
    return value


def check_constant(step: Step, name: str, shape: tuple[int, ...]) -> None:
    """A constant may differ between channels; one that differs between positions means nothing on tiles."""
    full = (1,) * (4 - len(shape)) + shape
    beside = full[:3] if step.last else (full[0], *full[2:])
    if len(full) > 4 or beside != (1, 1, 1):
        raise refused(name, "constant", f"its shape {shape} differs between samples or positions")
