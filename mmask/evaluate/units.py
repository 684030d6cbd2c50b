"""Labels of units inside a sample (words, frames): which place stands for which unit, and the truth there."""

from __future__ import annotations

import torch
from torch import Tensor

from mmask.errors import UsageError
from mmask.train.features import places
from mmask.train.model import MaskedModel
from mmask.types import Batch, Encoded

NO_LABEL = -1


def units_of(model: MaskedModel, batch: Batch, group: str = "") -> tuple[Tensor, Tensor | None]:
    """(B, N) int64, the unit that each place of the model's only stream belongs to, -1 for none; and ``valid``.

    group: of the layout; it may be left out where there is one. Raises UsageError.
    """
    layouts = model.layouts(batch)
    if len(layouts) != 1:
        raise UsageError(f"labels of units need one stream; this model has {', '.join(sorted(layouts))}")
    layout = next(iter(layouts.values()))
    known = sorted(layout.groups)
    if group not in known and (group or len(known) != 1):
        raise UsageError(
            f"labels are lists, one for each unit, and the places have {'no group' if not group else 'none called'} "
            f"{group or 'that says which unit they belong to' if not known else group}".rstrip(),
            hint=f"--units takes one of {', '.join(known)}" if known else "the tokenizer has to offer a group",
        )
    return layout.groups[group or known[0]], layout.valid


def first_places(units: Tensor, labels: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """The first place of every labelled unit.

    units: (B, N), -1 for none; a unit's places stand together. labels: (B, W), that of unit w at w. lengths: (B,) of
    the labels; None where none is padded. -> (S,) indices into the flat (B·N) places, ascending, and their labels (S,).
    Units that were cut off, and those with label -1, are left out.
    """
    units, labels = units.cpu(), labels.cpu()
    fresh = units >= 0
    fresh[:, 1:] &= units[:, 1:] != units[:, :-1]
    sizes = torch.full((len(units),), labels.shape[1]) if lengths is None else lengths.cpu()
    fresh &= units < sizes[:, None]
    rows, columns = fresh.nonzero(as_tuple=True)
    truth = labels[rows, units[rows, columns]]
    kept = truth != NO_LABEL
    return (rows * units.shape[1] + columns)[kept], truth[kept]


def truth_of(model: MaskedModel, batch: Batch, group: str = "") -> tuple[Tensor, Tensor]:
    """`first_places` of a batch whose ``label`` holds the units' labels."""
    units, _ = units_of(model, batch, group)
    return first_places(units, batch["label"], batch.fields.get("label.length"))


def at_places(encoded: Encoded, index: Tensor) -> Tensor:
    """(S, D) states at the flat indices (S,) of places."""
    states, _ = places(encoded)
    return states.flatten(0, 1)[index.to(states.device)]
