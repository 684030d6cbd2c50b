"""Configurations of transformers as options of our components, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmask.api import CheckpointError

ACTS = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu", "silu": "silu",
    "swish": "silu",
}


@dataclass(frozen=True)
class Options:
    """Options of the encoder ``text`` and of the head ``mlm``, and the rows of the table of words."""

    encoder: dict[str, Any]
    head: dict[str, Any]
    size: int


def config_options(config: Mapping[str, Any]) -> Options:
    """From the values of a ``config.json``. Raises CheckpointError for an architecture that this encoder is not."""
    kind = config.get("model_type")
    if kind in ("bert", "roberta", "electra"):
        return _bert(config, offset=int(config.get("pad_token_id") or 0) + 1 if kind == "roberta" else 0)
    if kind == "modernbert":
        return _modernbert(config)
    raise CheckpointError(
        f"model_type '{kind}' is none of bert, roberta, electra, modernbert",
        hint="other architectures have their own recipes",
    )


def _act(name: str) -> str:
    if name not in ACTS:
        raise CheckpointError(f"activation '{name}' is none of {', '.join(ACTS)}")
    return ACTS[name]


def _bert(config: Mapping[str, Any], *, offset: int) -> Options:
    how = config.get("position_embedding_type", "absolute")
    if how != "absolute" or config.get("is_decoder"):
        raise CheckpointError(f"position_embedding_type '{how}' (or a decoder) is not what this encoder has")
    encoder = {
        "width": config["hidden_size"], "depth": config["num_hidden_layers"], "heads": config["num_attention_heads"],
        "hidden": config["intermediate_size"], "act": _act(config.get("hidden_act", "gelu")),
        "eps": config.get("layer_norm_eps", 1e-12), "types": config.get("type_vocab_size", 2),
        "places": config.get("max_position_embeddings", 512) - offset, "place_offset": offset,
        "dropout": config.get("hidden_dropout_prob", 0.1), "std": config.get("initializer_range", 0.02),
        "attention_dropout": config.get("attention_probs_dropout_prob", 0.1),
    }
    if config["model_type"] == "electra":
        # its word head has the exact GELU whatever the layers have
        encoder["embed_width"] = config.get("embedding_size", 128)
        return Options(encoder, {"act": "gelu", "tied": config.get("tie_word_embeddings", True)}, config["vocab_size"])
    # transformers' RoBERTa head has the exact GELU whatever the layers have
    head: dict[str, Any] = {"act": "gelu"} if offset else {}
    return Options(encoder, head | {"tied": config.get("tie_word_embeddings", True)}, config["vocab_size"])


def _modernbert(config: Mapping[str, Any]) -> Options:
    depth, rope = config["num_hidden_layers"], config.get("rope_parameters") or {}
    every = config.get("global_attn_every_n_layers") or 3
    types = config.get("layer_types") or [("sliding" if i % every else "full") + "_attention" for i in range(depth)]
    pattern = tuple("global" if one == "full_attention" else "local" for one in types)
    theta = config.get("global_rope_theta") or rope.get("full_attention", {}).get("rope_theta", 160000.0)
    local = config.get("local_rope_theta") or rope.get("sliding_attention", {}).get("rope_theta", 10000.0)
    scaled = [one for one in rope.values() if isinstance(one, Mapping) and one.get("rope_type", "default") != "default"]
    if scaled:
        raise CheckpointError(f"rotary positions of type '{scaled[0]['rope_type']}' are not what this encoder has")
    inner = config.get("mlp_bias", False)
    encoder = {
        "width": config["hidden_size"], "depth": depth, "heads": config["num_attention_heads"],
        "hidden": config["intermediate_size"], "act": _act(config.get("hidden_activation", "gelu")), "gated": True,
        "norm": "pre", "first_norm": False, "eps": config.get("norm_eps", 1e-5),
        "norm_bias": config.get("norm_bias", False), "attention_bias": config.get("attention_bias", False),
        "in_bias": inner, "out_bias": inner, "positions": "rotary", "types": 0, "theta": theta, "local_theta": local,
        "window": config.get("local_attention", 128), "pattern": pattern, "dropout": 0.0,
        "attention_dropout": config.get("attention_dropout", 0.0), "inner_dropout": config.get("mlp_dropout", 0.0),
        "embed_dropout": config.get("embedding_dropout", 0.0), "std": config.get("initializer_range", 0.02),
        "scaled_init": True,
    }
    head = {
        "act": _act(config.get("classifier_activation", "gelu")), "dense_bias": config.get("classifier_bias", False),
        "bias": config.get("decoder_bias", True), "tied": config.get("tie_word_embeddings", True),
    }
    return Options(encoder, head, config["vocab_size"])
