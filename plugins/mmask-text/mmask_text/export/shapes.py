"""Which class of transformers a text encoder is, its configuration and its weights by that class's names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import ACTIVATIONS, ExportError
from mmask_text.encoder import TextEncoder
from mmask_text.mlm import MlmHead
from mmask_text.rtd import RtdHead
from mmask_text.weights.configs import ACTS
from mmask_text.weights.names import BERT, MODERNBERT, ROBERTA, Family, places

THEIRS = {ours: theirs for theirs, ours in reversed(ACTS.items())}


@dataclass(frozen=True)
class Shape:
    """kind: the class. options: further arguments of its ``from_pretrained``. config: values of ``config.json``.
    loose: a tolerance for classes that compute a part in float32 whatever the model is in; 0 for none."""

    kind: str
    config: dict[str, Any]
    weights: dict[str, Tensor] = field(repr=False)
    options: str = ""
    loose: float = 0.0


def shape_of(
    encoder: TextEncoder, head: MlmHead | RtdHead | None, vocabulary: Any, *, electra: bool = False
) -> Shape:
    """electra: whether it is one of ELECTRA's networks; one with narrower embeddings always is.

    Raises ExportError naming the part that no class has.
    """
    ends = {"pad_token_id": vocabulary.pad_id, "cls_token_id": vocabulary.cls_id, "sep_token_id": vocabulary.sep_id}
    if isinstance(head, RtdHead) or encoder.project is not None or electra:
        from mmask_text.export.electra import electra_shape

        return electra_shape(encoder, head, ends)
    if encoder.parts.norm == "pre":
        return _modernbert(encoder, head, ends)
    return _bert(encoder, head, ends, vocabulary.pad_id)


def _bert(encoder: TextEncoder, head: MlmHead | None, ends: dict[str, Any], pad_id: int | None) -> Shape:
    parts, embed = encoder.parts, encoder.embed
    refuse("BERT", [
        (not parts.gated, "gated units"),
        (embed.positions is not None, "no table of positions"),
        (embed.norm is not None and embed.norm.eps == parts.eps, "another norm of its embeddings"),
        (parts.norm_bias and parts.attention_bias and parts.in_bias and parts.out_bias, "parts without bias"),
        (set(encoder.body.kinds) == {"global"}, "local layers"),
        (isinstance(encoder.body.norm, nn.Identity), "a norm after the last layer"),
        *word_head(head, parts.eps, parts.act, bias=True, norm_bias=True, always=True),
    ])
    assert embed.positions is not None
    offset = embed.place_offset
    # RoBERTa counts its places from the id of padding; another offset is BERT's table without the rows before it
    roberta = offset > 0 and pad_id is not None and offset == pad_id + 1 and parts.act == "gelu"
    family = ROBERTA if roberta else BERT
    weights = _weights(family, encoder, head)
    prefix = family.prefix if head is not None else ""
    if not roberta:
        weights[f"{prefix}embeddings.position_embeddings.weight"] = embed.positions.weight[offset:]
    if embed.types is None:
        weights[f"{prefix}embeddings.token_type_embeddings.weight"] = torch.zeros(1, parts.width)
    config = {
        "model_type": family.model_type, "vocab_size": embed.words.num_embeddings, **common(encoder),
        "hidden_act": THEIRS[parts.act], "layer_norm_eps": parts.eps, "hidden_dropout_prob": parts.dropout,
        "attention_probs_dropout_prob": parts.attention_dropout,
        "max_position_embeddings": embed.positions.num_embeddings - (0 if roberta else offset),
        "type_vocab_size": 1 if embed.types is None else embed.types.num_embeddings,
        "tie_word_embeddings": head is None or head.tied, **ends,
    }
    name = "Roberta" if roberta else "Bert"
    bare = "" if head is not None or encoder.pooler is not None else ", add_pooling_layer=False"
    return Shape(f"{name}{'Model' if head is None else 'ForMaskedLM'}", config, weights, bare)


def _modernbert(encoder: TextEncoder, head: MlmHead | None, ends: dict[str, Any]) -> Shape:
    parts, embed, stack = encoder.parts, encoder.embed, encoder.body.stack
    first: Any = encoder.body.layers[0]
    refuse("ModernBERT", [
        (parts.gated, "units without a gate"),
        (stack.positions == "rotary", f"positions '{stack.positions}'"),
        (embed.positions is None and embed.types is None, "tables of positions or types"),
        (encoder.project is None and encoder.pooler is None, "a projection or a pooler"),
        (embed.norm is not None and embed.norm.eps == parts.eps, "another norm of its embeddings"),
        (isinstance(first.norm1, nn.Identity), "a norm before the first attention"),
        (isinstance(encoder.body.norm, nn.LayerNorm), "no norm after the last layer"),
        (parts.in_bias == parts.out_bias, "a bias in one half of the feed-forward part"),
        (parts.dropout == 0.0, "dropout on the residual stream"),
        (stack.window is None or stack.window % 2 == 0, "an odd window"),
        *word_head(head, parts.eps, parts.act, bias=None, norm_bias=parts.norm_bias, always=False),
    ])
    dense = head is not None and head.dense is not None and head.dense.bias is not None
    local = stack.theta if stack.local_theta is None else stack.local_theta
    config = {
        "model_type": "modernbert", "vocab_size": embed.words.num_embeddings, **common(encoder),
        "hidden_activation": THEIRS[parts.act], "norm_eps": parts.eps, "norm_bias": parts.norm_bias,
        "attention_bias": parts.attention_bias, "mlp_bias": parts.in_bias, "max_position_embeddings": 8192,
        "layer_types": [{"global": "full_attention"}.get(kind, "sliding_attention") for kind in encoder.body.kinds],
        "local_attention": stack.window or 128, "attention_dropout": parts.attention_dropout,
        "mlp_dropout": parts.inner_dropout, "embedding_dropout": embed.dropout,
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": theta}
            for kind, theta in (("full_attention", stack.theta), ("sliding_attention", local))
        },
        "global_rope_theta": stack.theta, "local_rope_theta": local,
        "classifier_activation": THEIRS[parts.act], "classifier_bias": dense,
        "decoder_bias": head is None or head.bias is not None, "tie_word_embeddings": head is None or head.tied, **ends,
    }
    weights = _weights(MODERNBERT, encoder, head)
    return Shape(f"ModernBert{'Model' if head is None else 'ForMaskedLM'}", config, weights, loose=1e-5)


def common(encoder: TextEncoder) -> dict[str, Any]:
    """What all classes call the sizes."""
    parts = encoder.parts
    return {
        "hidden_size": parts.width, "num_hidden_layers": len(encoder.body.layers),
        "num_attention_heads": parts.heads, "intermediate_size": parts.hidden, "initializer_range": parts.std,
    }


def word_head(
    head: MlmHead | None, eps: float, act: str, *, bias: bool | None, norm_bias: bool, always: bool
) -> Iterable[tuple[bool, str]]:
    """What a class's word head must be. bias: of the dense layer, None for either. always: the decoder has a bias."""
    if head is None:
        return
    yield head.dense is not None and head.norm is not None, "a word head without its transform"
    if head.dense is not None and head.norm is not None:
        same = (head.norm.eps, head.norm.bias is not None, head.act) == (eps, norm_bias, ACTIVATIONS[act])
        yield same, "a word head with another norm or activation than the layers"
        yield bias is None or (head.dense.bias is not None) == bias, "a word head whose dense layer has no bias"
    yield head.bias is not None or not always, "a word head without a bias for each word"


def refuse(name: str, rules: Iterable[tuple[bool, str]]) -> None:
    """Raise ExportError for the first rule that does not hold."""
    for fine, part in rules:
        if not fine:
            raise ExportError(
                f"transformers' {name} cannot hold this encoder: it has {part}", hint="use --format safetensors"
            )


def _weights(family: Family, encoder: TextEncoder, head: MlmHead | None) -> dict[str, Tensor]:
    own: dict[str, dict[str, Tensor]] = {
        "encoder": dict(encoder.state_dict()), "head": {} if head is None else dict(head.state_dict()),
    }
    where = places(family, own["encoder"], own["head"])
    named = {name: place.of(own[place.part]) for name, place in where.items()}
    if head is not None:
        return named
    return {name.removeprefix(family.prefix): value for name, value in named.items()}
