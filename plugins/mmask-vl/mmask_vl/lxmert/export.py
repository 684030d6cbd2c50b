"""hf: a folder that ``from_pretrained`` of transformers loads as LxmertModel or LxmertForPreTraining."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import Batch, ExportError, Recipe
from mmask_vl.lxmert.encoder import LxmertEncoder
from mmask_vl.lxmert.names import HF
from mmask_vl.lxmert.weights import LxmertWeights, parts_of

_SNIPPET = '''\
import torch
from transformers import {kind}

model = {kind}.from_pretrained(".").eval()
inputs = {{
    "input_ids": torch.arange(5, 13)[None] % model.config.vocab_size,
    "visual_feats": torch.randn(1, 4, model.config.visual_feat_dim),
    "visual_pos": torch.rand(1, 4, 4),
}}
answer = model(**inputs)
print(tuple(answer.{field}.shape))
'''
_ACTS = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "silu": "silu"}
_SCORES = {"words": "prediction_logits", "matching": "cross_relationship_score", "answers": "question_answering_score"}


class HfLxmertExporter:
    """``config.json`` and ``model.safetensors``. whole: the heads of words, matching and answers too, those of objects
    with them; compared are states and what is pooled, or the scores, at every real place, in float64."""

    needs: tuple[str, ...] = ("transformers",)
    extra = "mmask-vl[hf]"
    dtype = "float64"
    tolerance = 1e-9

    def __init__(self, *, whole: bool = False) -> None:
        self.whole = whole

    def write(self, model: Any, recipe: Recipe, folder: Path) -> str:
        """Raises ExportError for another network, or another eps than transformers has."""
        from safetensors.torch import save_file

        encoder = encoder_of(model)
        if encoder.parts.eps != 1e-12:
            raise ExportError(f"transformers' LXMERT has eps 1e-12 in its norms, this network {encoder.parts.eps}")
        parts = parts_of(model) if self.whole else {"encoder": encoder}
        if self.whole and "words" not in parts:
            raise ExportError("this run has no head of words", hint="export the encoder alone: whole=false")
        own = {part: dict(module.named_parameters()) for part, module in parts.items()}
        tensors = LxmertWeights.official(own, HF if self.whole else "")
        saved = {name: value.detach().to("cpu", torch.float32).clone().contiguous() for name, value in tensors.items()}
        save_file(saved, folder / "model.safetensors", metadata={"format": "pt"})
        kind = "LxmertForPreTraining" if self.whole else "LxmertModel"
        config = {"architectures": [kind], **config_of(encoder, parts), "torch_dtype": "float32"}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        return _SNIPPET.format(kind=kind, field="prediction_logits" if self.whole else "language_output")

    def inputs(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """``input_ids``, ``attention_mask``, ``visual_feats``, ``visual_pos``, ``visual_attention_mask``."""
        view = model.scene(batch, {}).view("clean")
        encoder = encoder_of(model)
        text, regions = view.tokens[encoder.text], view.tokens[encoder.regions]
        features, boxes = encoder.region_tokenizer.split(regions.values)
        made = {"input_ids": text.ids, "visual_feats": features, "visual_pos": boxes[..., :4]}
        for name, tokens in (("attention_mask", text), ("visual_attention_mask", regions)):
            layout = tokens.layout
            valid = torch.ones(layout.batch, layout.length) if layout.valid is None else layout.valid
            made[name] = valid.long()
        return made

    def ours(self, model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """States at real places and the pooled one, or scores."""
        encoder = encoder_of(model)
        fields = {
            encoder.text: inputs["input_ids"], f"{encoder.text}.length": inputs["attention_mask"].sum(1),
            encoder.regions: inputs["visual_feats"], f"{encoder.regions}.box": inputs["visual_pos"],
            f"{encoder.regions}.length": inputs["visual_attention_mask"].sum(1),
        }
        rows = torch.arange(len(inputs["input_ids"])).numpy()
        encoded = model.scene(Batch(fields, rows.astype("uint64"), rows * 0), {}).encode(model.exports, "clean")
        text = encoded.stream(encoder.text).state[inputs["attention_mask"].bool()]
        if not self.whole:
            regions = encoded.stream(encoder.regions).state[inputs["visual_attention_mask"].bool()]
            return {"language": text, "regions": regions, "pooled": encoded.pooled}
        parts: dict[str, Any] = parts_of(model)
        made = {"words": parts["words"].logits(text)}
        if "matching" in parts:
            made["matching"] = parts["matching"].proj(encoded.pooled)
        if "answers" in parts:
            made["answers"] = parts["answers"].answer(encoded.pooled)
        return made

    def theirs(self, loaded: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same of transformers' model."""
        model = loaded["model"].to(torch.float64)
        with torch.inference_mode():
            out = model(**inputs)
        text, regions = inputs["attention_mask"].bool(), inputs["visual_attention_mask"].bool()
        if not self.whole:
            return {"language": out.language_output[text], "regions": out.vision_output[regions],
                    "pooled": out.pooled_output}
        tasks = {"matching": model.config.task_matched, "answers": model.config.task_qa}
        made = {"words": out.prediction_logits[text]}
        return made | {task: getattr(out, _SCORES[task]) for task, there in tasks.items() if there}


def encoder_of(model: Any) -> LxmertEncoder:
    """The exported network. Raises ExportError for anything but an `LxmertEncoder`."""
    if not isinstance(model.encoder, LxmertEncoder):
        raise ExportError(f"this format holds LXMERT, not a {type(model.encoder).__name__}",
                          hint="use --format safetensors")
    return model.encoder


def config_of(encoder: LxmertEncoder, parts: Mapping[str, nn.Module]) -> dict[str, Any]:
    """Values of transformers' configuration."""
    own, words, objects, answers = encoder.parts, encoder.embed, parts.get("objects"), parts.get("answers")
    assert words.positions is not None and words.types is not None
    sizes = {task: layer.out_features for task, layer in objects.answers.items()} if objects is not None else {}  # type: ignore[union-attr,operator]  # ObjectTasks
    config: dict[str, Any] = {
        "model_type": "lxmert", "vocab_size": words.words.num_embeddings, "hidden_size": own.width,
        "num_attention_heads": own.heads, "intermediate_size": own.hidden, "hidden_act": _ACTS[own.act],
        "hidden_dropout_prob": own.dropout, "attention_probs_dropout_prob": own.attention_dropout,
        "max_position_embeddings": words.positions.num_embeddings, "type_vocab_size": words.types.num_embeddings,
        "initializer_range": own.std, "l_layers": len(encoder.language.layers), "r_layers": len(encoder.objects.layers),
        "x_layers": len(encoder.cross.layers), "visual_feat_dim": encoder.region_tokenizer.dim, "visual_pos_dim": 4,
        "task_matched": "matching" in parts, "task_mask_lm": "words" in parts, "task_obj_predict": bool(sizes),
        "task_qa": answers is not None, "visual_obj_loss": "label" in sizes, "visual_attr_loss": "attribute" in sizes,
        "visual_feat_loss": "feature" in sizes, "num_object_labels": sizes.get("label", 1),
        "num_attr_labels": sizes.get("attribute", 1),
    }
    return config | ({} if answers is None else {"num_qa_labels": answers.down.out_features})  # type: ignore[union-attr]  # a head of answers has it
