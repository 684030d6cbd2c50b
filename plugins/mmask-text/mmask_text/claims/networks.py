"""Claims: the transformer, its recipes, importers and exporters."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = (
    Component("tokenizer", "ids", "mmask_text.ids:IdTokenizer", "ids of a vocabulary, padded by length"),
    Component("encoder", "text", "mmask_text.encoder:TextEncoder", "one transformer over ids, its parts by choice"),
    Component("head", "mlm", "mmask_text.mlm:MlmHead", "the table of words again, at scored places (BERT)"),
)
