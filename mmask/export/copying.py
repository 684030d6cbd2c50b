"""Copying an official checkpoint into the parts of a model, all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from torch import Tensor, nn

from mmask.errors import CheckpointError

Parts = Mapping[str, tuple[nn.Module, Mapping[str, Tensor]]]
Fit = Callable[[nn.Module, str, Tensor, Tensor], tuple[Tensor, str]]


def copy_parts(parts: Parts, *, fit: Fit | None = None, spared: Collection[str] = ()) -> Iterator[str]:
    """Copy into several modules. parts: what it is -> (module, its tensors by our names).

    fit: (module, name, given, wanted) -> the tensor to copy and what was resized ("" for nothing); asked for
    tensors of another shape. spared: names that need not be there.
    Yields a line for every tensor missing, unexpected or made to fit. Raises CheckpointError for a tensor of
    another shape, before anything is copied.
    """
    lines: list[str] = []
    jobs: list[tuple[nn.Module, dict[str, Tensor]]] = []
    for what, (module, own) in parts.items():
        wanted, ready = module.state_dict(), {}
        lines += [f"missing: {what} {name}" for name in wanted if name not in own and name not in spared]
        for name, given in own.items():
            if name not in wanted:
                lines.append(f"unexpected: {what} {name}")
                continue
            value, note = given, ""
            if fit is not None and given.shape != wanted[name].shape:
                value, note = fit(module, name, given, wanted[name])
            if value.shape != wanted[name].shape:
                raise CheckpointError(
                    f"{what} {name} is {tuple(given.shape)}, the model has {tuple(wanted[name].shape)}",
                    hint="build the model at the checkpoint's picture size, patch, widths and depths",
                )
            if note:
                lines.append(f"resized: {what} {name} {note}")
            ready[name] = value
        jobs.append((module, ready))
    for module, ready in jobs:
        module.load_state_dict(ready, strict=False)
    yield from lines


def copy_halves(
    encoder: tuple[nn.Module, Mapping[str, Tensor]], decoder: tuple[nn.Module | None, Mapping[str, Tensor]],
    *, fit: Fit | None = None, spared: Collection[str] = (),
) -> Iterator[str]:
    """As `copy_parts`, of an encoder and a decoder either of which may be in the file alone or in the model alone."""
    module, weights = decoder
    both = module is not None and bool(weights)
    parts = {"encoder": encoder} | ({"decoder": (module, weights)} if module is not None and both else {})
    yield from copy_parts(parts, fit=fit, spared=spared)
    if module is not None and not weights:
        yield "missing: the decoder (the checkpoint is of an encoder alone)"
    elif module is None and weights:
        yield f"unexpected: {len(weights)} tensors of a decoder"
