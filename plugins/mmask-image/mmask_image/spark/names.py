"""Official names of SparK's tensors and ours, as pairs of patterns that translate in both directions."""

from __future__ import annotations

import re
from collections.abc import Callable

# (official, ours): {i} and {j} are numbers; a name that starts with one side starts with the other
Table = tuple[tuple[str, str, "Callable[[int], int]", "Callable[[int], int]"], ...]


def _same(i: int) -> int:
    return i


def _rows(*pairs: tuple[str, str]) -> Table:
    return tuple((theirs, ours, _same, _same) for theirs, ours in pairs)


SAME: Table = ()

HEAD = _rows(
    ("mask_tokens.{i}", "densify.{i}.token"),
    ("densify_norms.{i}.", "densify.{i}.norm."),
    ("densify_projs.{i}.", "densify.{i}.proj."),
    ("dense_decoder.dec.{i}.up_sample.", "decoder.blocks.{i}.up."),
    ("dense_decoder.dec.{i}.conv.0.", "decoder.blocks.{i}.conv1."),
    ("dense_decoder.dec.{i}.conv.1.", "decoder.blocks.{i}.norm1."),
    ("dense_decoder.dec.{i}.conv.3.", "decoder.blocks.{i}.conv2."),
    ("dense_decoder.dec.{i}.conv.4.", "decoder.blocks.{i}.norm2."),
    ("dense_decoder.proj.", "decoder.proj."),
)

_TIMM = _rows(
    ("downsample_layers.0.{j}.", "stem.{j}."),
    ("downsample_layers.{i}.{j}.", "stages.{i}.downsample.{j}."),
    ("stages.{i}.{j}.dwconv.", "stages.{i}.blocks.{j}.conv_dw."),
    ("stages.{i}.{j}.norm.", "stages.{i}.blocks.{j}.norm."),
    ("stages.{i}.{j}.pwconv1.", "stages.{i}.blocks.{j}.mlp.fc1."),
    ("stages.{i}.{j}.pwconv2.", "stages.{i}.blocks.{j}.mlp.fc2."),
    ("stages.{i}.{j}.gamma", "stages.{i}.blocks.{j}.gamma"),
    ("norm.", "head.norm."),
)

# torchvision numbers stem, stage, downsampling, stage, ... in one row
_TWICE = (lambda i: 2 * i, lambda i: i // 2)
_STAGE = (lambda i: 2 * i + 1, lambda i: (i - 1) // 2)
_TORCHVISION: Table = (
    ("stages.{i}.{j}.dwconv.", "features.{i}.{j}.block.0.", *_STAGE),
    ("stages.{i}.{j}.norm.", "features.{i}.{j}.block.2.", *_STAGE),
    ("stages.{i}.{j}.pwconv1.", "features.{i}.{j}.block.3.", *_STAGE),
    ("stages.{i}.{j}.pwconv2.", "features.{i}.{j}.block.5.", *_STAGE),
    ("stages.{i}.{j}.gamma", "features.{i}.{j}.layer_scale", *_STAGE),
    ("norm.", "classifier.0.", _same, _same),
    ("downsample_layers.{i}.{j}.", "features.{i}.{j}.", *_TWICE),  # last: other rows of ours start like it
)

CONVNEXT: dict[str, Table] = {"stem": _TIMM, "features": _TORCHVISION}
"""First part of a library's parameter names -> the table of its ConvNeXt."""


def rename(name: str, table: Table, *, back: bool = False) -> str | None:
    """The other name, or None when no row fits. back: from ours to the official one."""
    for theirs, ours, ahead, behind in table:
        source, result, count = (ours, theirs, behind) if back else (theirs, ours, ahead)
        pattern = re.escape(source).replace(r"\{i\}", r"(?P<i>\d+)").replace(r"\{j\}", r"(?P<j>\d+)")
        found = re.match(pattern, name)
        if found is not None:
            numbers = found.groupdict()
            i = count(int(numbers["i"])) if "i" in numbers else 0
            return result.format(i=i, j=numbers.get("j", 0)) + name[found.end():]
    return None
