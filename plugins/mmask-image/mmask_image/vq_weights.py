"""Reading tokenizers from files: tensors only, never a pickle's own code."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from torch import Tensor

from mmask.api import CheckpointError, did_you_mean, read_safetensors

SHIPPED = {"emoji": "vq-emoji.safetensors"}


def read_vq(source: str, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a tokenizer by our names, from a shipped name, a ``.safetensors`` file or a run's folder.

    wanted: our names -> tensors of the right shapes. A file of a whole run may hold more, under
    ``networks.<name>.``; the part that has our names is taken.
    Raises CheckpointError for a missing file, missing names or other shapes.
    """
    path = locate(source)
    found = read_safetensors(path)
    starts = [name.removesuffix("codebook.codes") for name in found if name.endswith("codebook.codes")]
    if len(starts) != 1:
        raise CheckpointError(f"{path} holds {len(starts)} tokenizers with a codebook, not one")
    own = {name.removeprefix(starts[0]): value for name, value in found.items() if name.startswith(starts[0])}
    missing = [name for name in wanted if name not in own]
    if missing:
        raise CheckpointError(f"{path} has no '{missing[0]}' of the tokenizer")
    for name, value in wanted.items():
        if own[name].shape != value.shape:
            raise CheckpointError(
                f"{path}: '{name}' is {tuple(own[name].shape)}, the recipe's tokenizer has {tuple(value.shape)}",
                hint="give the network the options it was trained with: codes, dim, width, depth, stride, in_chans",
            )
    return {name: own[name] for name in wanted}


def locate(source: str) -> Path:
    """A shipped name, a file, or a run's newest checkpoint -> a path. Raises CheckpointError."""
    if source in SHIPPED:
        return Path(str(files("mmask_image"))) / "weights" / SHIPPED[source]
    path = Path(source)
    if path.is_dir():
        saved = sorted((path / "checkpoints").glob("*/model.safetensors"))
        if not saved:
            raise CheckpointError(f"{path} is a folder without checkpoints", hint="give a run's folder, or a file")
        return saved[-1]
    if not path.is_file():
        near = did_you_mean(source, SHIPPED)
        raise CheckpointError(
            f"no tokenizer at '{source}'{near}", hint=f"a .safetensors file, a run's folder, or {', '.join(SHIPPED)}"
        )
    return path
