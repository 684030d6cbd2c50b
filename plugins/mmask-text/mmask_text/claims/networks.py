"""Claims: the transformer, its recipes, importers and exporters."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = (
    Component("tokenizer", "ids", "mmask_text.ids:IdTokenizer", "ids of a vocabulary, padded by length"),
    Component("encoder", "text", "mmask_text.encoder:TextEncoder", "one transformer over ids, its parts by choice"),
    Component("head", "mlm", "mmask_text.mlm:MlmHead", "the table of words again, at scored places (BERT)"),
    Component("target", "follows", "mmask_text.follows:Follows", "whether a pair is in order (BERT, ALBERT)"),
    Component("exporter", "hf", "mmask_text.export.to_hf:HfTextExporter", "a folder for from_pretrained"),
    Component("weights", "hf", "mmask_text.weights.hf:HfTextWeights", "text encoders by transformers' names"),
    *(
        Component("recipe", name, f"mmask_text.recipes.{module}:{name.replace('-', '_')}", summary)
        for name, module, summary in (
            ("bert-tiny", "bert", "masked language model, 2 layers of 128"),
            ("bert-small", "bert", "masked language model, 4 layers of 512"),
            ("bert-base", "bert", "masked language model, 12 layers of 768"),
            ("bert-base-nsp", "bert", "masked words and next sentences, 12 layers of 768"),
            ("bert-large", "bert", "masked language model, 24 layers of 1024"),
            ("roberta-base", "bert", "BERT's objective alone, trained better"),
            ("mosaicbert-base", "mosaicbert", "ALiBi, gated units, 30 % hidden, 12 layers of 768"),
            ("modernbert-base", "modernbert", "rotary, local and global layers, gated units, 22 of 768"),
        )
    ),
)
