"""hf: a folder that ``from_pretrained`` of transformers loads: BERT, RoBERTa, ELECTRA or ModernBERT, and its
tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import Batch, ExportError, Plans, Recipe
from mmask_text.encoder import TextEncoder
from mmask_text.export.shapes import shape_of
from mmask_text.export.tokenizer import write_tokenizer
from mmask_text.mlm import MlmHead
from mmask_text.rtd import RtdHead

_SNIPPET = '''\
import torch
from transformers import {names}

model = {kind}.from_pretrained("."{options}).eval()
{ids}
{run}
print(tuple(answer.shape))
'''
_TOKENS = '''\
tokenizer = AutoTokenizer.from_pretrained(".")
inputs = tokenizer("All men are [MASK] equal.", return_tensors="pt")'''
_IDS = "inputs = {{'input_ids': torch.arange(5, 13)[None] % {size}}}"
TEXT = "All men are created equal; so they said, 1776."


class HfTextExporter:
    """``config.json``, ``model.safetensors``, and the vocabulary as a tokenizer of transformers where it is one of the
    ``tokenizers`` library.

    whole: the masked word head too, as ``...ForMaskedLM`` (ELECTRA's discriminator with its own head, as
    ``ElectraForPreTraining``); compared are its logits, otherwise the states, at every real place of a padded
    batch, in float64; and what both sides cut a sentence into.
    """

    needs: tuple[str, ...] = ("transformers",)
    extra = "mmask-text[hf]"
    dtype = "float64"
    tolerance = 1e-9

    def __init__(self, *, whole: bool = False) -> None:
        self.whole = whole

    def write(self, model: Any, recipe: Recipe, folder: Path) -> str:
        """Raises ExportError for what is no text encoder, or has parts that transformers' classes lack."""
        shape = shape_of(
            encoder_of(model), head_of(model) if self.whole else None, tokenizer_of(model).vocabulary,
            electra=any(isinstance(module, RtdHead) for module in model.modules()),
        )
        if shape.loose:
            self.tolerance = shape.loose
        _put(shape.weights, folder)
        config = {"architectures": [shape.kind], **shape.config, "torch_dtype": "float32"}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        vocabulary = tokenizer_of(model).vocabulary
        cuts = write_tokenizer(vocabulary, folder, types="type_vocab_size" in shape.config)
        run = "answer = model(**inputs)." + ("logits" if self.whole else "last_hidden_state")
        return _SNIPPET.format(
            names=f"AutoTokenizer, {shape.kind}" if cuts else shape.kind, kind=shape.kind, options=shape.options,
            ids=_TOKENS if cuts else _IDS.format(size=vocabulary.size), run=run,
        )

    def inputs(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """``input_ids``, ``attention_mask``, ``token_type_ids``; ``text``, the ids of a sentence."""
        tokenizer, encoder = tokenizer_of(model), encoder_of(model)
        ids = batch[tokenizer.field]
        layout = tokenizer.layout(batch)
        valid = torch.ones(ids.shape, dtype=torch.bool) if layout.valid is None else layout.valid
        made = {"input_ids": ids, "attention_mask": valid.long()}
        if encoder.embed.types is not None:
            made["token_type_ids"] = torch.arange(ids.numel()).view(ids.shape) % encoder.embed.types.num_embeddings
        if cut_by_transformers(tokenizer.vocabulary):
            words = tokenizer.vocabulary.encode(TEXT)
            made["text"] = torch.from_numpy(tokenizer.vocabulary.frame(words)[0].copy())
        return made

    def ours(self, model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``states`` or ``logits`` (T, ...) at real places, and ``text``."""
        field, valid = tokenizer_of(model).field, inputs["attention_mask"].bool()
        fields = {field: inputs["input_ids"], f"{field}.length": valid.sum(1)}
        if "token_type_ids" in inputs:
            fields[f"{field}.type"] = inputs["token_type_ids"]
        rows = torch.arange(len(valid)).numpy()
        encoded = model.scene(Batch(fields, rows.astype("uint64"), rows * 0), {}).encode(model.exports, "clean")
        states = encoded.state[valid]
        made = {"logits": head_of(model).logits(states)} if self.whole else {"states": states}
        return made | ({"text": inputs["text"].double()} if "text" in inputs else {})

    def theirs(self, loaded: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same of transformers' model and tokenizer."""
        model = loaded["model"].to(torch.float64)
        given = {name: value for name, value in inputs.items() if name != "text"}
        with torch.inference_mode():
            out = model(**given)
        states = out.logits if self.whole else out.last_hidden_state
        made = {"logits" if self.whole else "states": states[inputs["attention_mask"].bool()]}
        if "text" in inputs:
            made["text"] = torch.tensor(loaded["tokenizer"](TEXT)["input_ids"]).double()
        return made

    def peer(self, model: Any, plans: Plans, folder: Path) -> tuple[nn.Module, Callable[[], Tensor]]:
        """``...ForMaskedLM``, and its loss of the same words, padded to the longest text. Needs ``whole``.

        Raises ExportError for what is trained by anything but one objective of masked words.
        """
        import transformers

        transformers.utils.logging.disable_progress_bar()
        (objective, *others) = model.objectives.values()
        if others or not isinstance(head_of(model), MlmHead):
            raise ExportError("transformers trains masked words alone; this recipe has other objectives")
        scene, layout = model.scene(plans.batch, plans), plans.layout()
        clean, seen = (scene.view(name).only().ids for name in ("clean", objective.view))
        hidden = plans.plan(next(iter(model.maskers))).hidden.to(clean.device)
        valid = torch.ones_like(hidden) if layout.valid is None else layout.valid.to(hidden.device)
        given = {"input_ids": seen, "attention_mask": valid.long(), "labels": clean.masked_fill(~hidden, -100)}
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
        theirs = getattr(transformers, kind).from_pretrained(folder)
        return theirs, lambda: theirs(**given).loss


def tokenizer_of(model: Any) -> Any:
    """The one tokenizer, of ids. Raises ExportError for a model of something else."""
    found = list(model.tokenizers.values())
    if len(found) != 1 or not hasattr(found[0], "vocabulary"):
        raise ExportError("this format holds encoders of one stream of text", hint="use --format safetensors")
    return found[0]


def encoder_of(model: Any) -> TextEncoder:
    """The exported network. Raises ExportError for anything but a `TextEncoder`."""
    if not isinstance(model.encoder, TextEncoder):
        raise ExportError(
            f"this format holds text encoders, not a {type(model.encoder).__name__}", hint="use --format safetensors"
        )
    return model.encoder


def head_of(model: Any) -> MlmHead | RtdHead:
    """The word head of the exported network, or ELECTRA's. Raises ExportError when there is none."""
    for objective in model.objectives.values():
        head: Any = getattr(objective, "head", None)
        if isinstance(head, MlmHead | RtdHead) and objective.network == model.exports:
            return head
    raise ExportError("no head of words belongs to this network", hint="export the encoder alone: whole=false")


def cut_by_transformers(vocabulary: Any) -> bool:
    """Whether the vocabulary is written as a tokenizer that transformers reads."""
    return getattr(getattr(vocabulary, "engine", None), "kind", "") == "tokenizers"


def _put(weights: Mapping[str, Tensor], folder: Path) -> None:
    """``model.safetensors``: float32, every tensor on its own."""
    from safetensors.torch import save_file

    own = {name: value.detach().to("cpu", torch.float32).clone().contiguous() for name, value in weights.items()}
    save_file(own, folder / "model.safetensors", metadata={"format": "pt"})


