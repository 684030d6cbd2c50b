"""The core's own format: the weights as safetensors and the recipe as JSON, for any modality."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmask.errors import ExportError
from mmask.export.sample import of_fields

if TYPE_CHECKING:
    from mmask.recipe.schema import Recipe
    from mmask.train.model import MaskedModel
    from mmask.types import Batch

_SNIPPET = '''\
import json

from safetensors.torch import load_file

import mmask
from mmask.api import Recipe

recipe = Recipe.model_validate(json.load(open("recipe.json")))
model = mmask.create_model(recipe).eval()
{part}.load_state_dict(load_file("{file}"))
print(sum(value.numel() for value in {part}.state_dict().values()), "numbers")
'''


class PlainExporter:
    """``encoder.safetensors`` under the network's own names (or ``model.safetensors``) and ``recipe.json``.

    whole: everything that was trained, with heads and further networks, instead of the encoder alone.
    Read back by mmask itself; compared are the states of the encoder with nothing hidden and, of a whole
    model, its losses under the plans that it draws.
    """

    needs = ("safetensors",)
    extra = ""
    dtype = "float64"  # the same code on both sides: anything but equality is a fault
    tolerance = 1e-9

    def __init__(self, *, whole: bool = False) -> None:
        self.whole = whole

    def write(self, model: MaskedModel, recipe: Recipe, folder: Path) -> str:
        """Weights and recipe. Raises ExportError for an encoder that a learning tokenizer feeds, alone."""
        if len(model.front_ends) and not self.whole:
            raise ExportError(
                f"tokenizer '{next(iter(model.front_ends))}' learns, so the encoder alone is not enough",
                hint="export all of it: whole=true",
            )
        file, part = ("model.safetensors", "model") if self.whole else ("encoder.safetensors", "model.encoder")
        tensors = (model if self.whole else model.encoder).state_dict()
        _save(tensors, folder / file)
        values = recipe.model_dump(mode="json", exclude={"profiles"})
        (folder / "recipe.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        return _SNIPPET.format(part=part, file=file)

    def inputs(self, model: MaskedModel, batch: Batch) -> dict[str, torch.Tensor]:
        """The batch's fields."""
        return dict(batch.fields)

    def ours(self, model: MaskedModel, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Encoder states; also losses of a whole model."""
        batch = of_fields(inputs)
        encoded = model.scene(batch, {}).encode(model.exports, "clean")
        states = encoded.pyramid if encoded.state is None else (encoded.state,)
        out = {f"states.{i}": state for i, state in enumerate(states)}
        for name, one in encoded.streams.items():
            out |= {} if one.state is None else {f"states.{name}": one.state}
        if self.whole:
            out |= {f"loss.{n}": term.mean().reshape(1) for n, term in model(batch).terms.items()}
        return out

    def theirs(self, loaded: Mapping[str, Any], inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The same of the model that the snippet made."""
        with torch.inference_mode():
            return self.ours(loaded["model"].double(), inputs)


def _save(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Tied tensors are written once under each of their names: the file must stand alone."""
    from safetensors.torch import save_file

    save_file({name: value.detach().clone().contiguous() for name, value in tensors.items()}, path)
