"""Copying an official checkpoint into the parts of a model, all or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from mmask.errors import CheckpointError


def copy_parts(parts: Mapping[str, tuple[nn.Module, Mapping[str, Tensor]]]) -> Iterator[str]:
    """Copy into several modules. parts: what it is -> (module, its tensors by our names).

    Yields a line for every tensor missing or unexpected. Raises CheckpointError for a tensor of another shape,
    before anything is copied.
    """
    lines: list[str] = []
    for what, (module, own) in parts.items():
        wanted = module.state_dict()
        for name, value in own.items():
            if name in wanted and wanted[name].shape != value.shape:
                raise CheckpointError(
                    f"{what} {name} is {tuple(value.shape)}, the model has {tuple(wanted[name].shape)}",
                    hint="build the model at the checkpoint's picture size, patch, widths and depths",
                )
        lines += [f"missing: {what} {name}" for name in wanted if name not in own]
        lines += [f"unexpected: {what} {name}" for name in own if name not in wanted]
    for module, own in parts.values():
        wanted = module.state_dict()
        module.load_state_dict({name: value for name, value in own.items() if name in wanted}, strict=False)
    yield from lines
