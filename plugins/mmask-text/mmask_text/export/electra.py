"""ELECTRA's networks as classes of transformers: the discriminator, the generator, or the encoder alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import ACTIVATIONS
from mmask_text.encoder import TextEncoder
from mmask_text.export.shapes import THEIRS, Shape, common, refuse, word_head
from mmask_text.mlm import MlmHead
from mmask_text.rtd import RtdHead
from mmask_text.weights.names import ELECTRA, places, rtd_names


def electra_shape(encoder: TextEncoder, head: MlmHead | RtdHead | None, ends: dict[str, Any]) -> Shape:
    """ElectraForPreTraining with an `RtdHead`, ElectraForMaskedLM with an `MlmHead`, ElectraModel without a head.

    Raises ExportError naming the part that these classes lack.
    """
    parts, embed = encoder.parts, encoder.embed
    words = head if isinstance(head, MlmHead) else None
    refuse("ELECTRA", [
        (parts.norm == "post" and not parts.gated, "layers of another kind"),
        (embed.positions is not None and embed.place_offset == 0, "another table of positions"),
        (encoder.pooler is None, "a pooler"),
        (embed.norm is not None and embed.norm.eps == parts.eps, "another norm of its embeddings"),
        (parts.norm_bias and parts.attention_bias and parts.in_bias and parts.out_bias, "parts without bias"),
        (set(encoder.body.kinds) == {"global"}, "local layers"),
        (isinstance(encoder.body.norm, nn.Identity), "a norm after the last layer"),
        (not isinstance(head, RtdHead) or head.act is ACTIVATIONS[parts.act], "another activation in its head"),
        # ElectraForMaskedLM's transform has the exact GELU whatever the layers have
        *word_head(words, parts.eps, "gelu", bias=True, norm_bias=True, always=True),
    ])
    assert embed.positions is not None
    kind = "ElectraModel" if head is None else "ElectraForMaskedLM" if words is not None else "ElectraForPreTraining"
    config = {
        "model_type": "electra", "vocab_size": embed.words.num_embeddings, "embedding_size": embed.width,
        **common(encoder), "hidden_act": THEIRS[parts.act], "layer_norm_eps": parts.eps,
        "hidden_dropout_prob": parts.dropout, "attention_probs_dropout_prob": parts.attention_dropout,
        "max_position_embeddings": embed.positions.num_embeddings,
        "type_vocab_size": 1 if embed.types is None else embed.types.num_embeddings,
        "tie_word_embeddings": words is None or words.tied, **ends,
    }
    return Shape(kind, config, _weights(encoder, head))


def _weights(encoder: TextEncoder, head: MlmHead | RtdHead | None) -> dict[str, Tensor]:
    own = {"encoder": encoder.state_dict(), "head": head.state_dict() if isinstance(head, MlmHead) else {}}
    found = {name: place.of(own[place.part]) for name, place in places(ELECTRA, own["encoder"], own["head"]).items()}
    if encoder.embed.types is None:
        found["electra.embeddings.token_type_embeddings.weight"] = torch.zeros(1, encoder.embed.width)
    if isinstance(head, RtdHead):
        state = head.state_dict()
        return found | {theirs: state[ours] for ours, theirs in rtd_names().items()}
    return found if head is not None else {n.removeprefix(ELECTRA.prefix): value for n, value in found.items()}
