"""Claims: documents, tokenizers, packers and sample shards."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = (
    Component("command", "data.tokenizer", "mmask_text.commands:tokenizer", "train a vocabulary, or see how one cuts"),
    Component("dataset", "speeches", "mmask_text.dataset:speeches", "State of the Union addresses, by period"),
    Component("dataset", "novel", "mmask_text.dataset:novel", "Moby-Dick, by chapter"),
    Component("decoder", "text", "mmask_text.decode:TextDecoder", "ids of documents or of pairs, and their words"),
    Component("packer", "document", "mmask_text.pack:DocumentPacker", "text files, JSONL and tables, by the document"),
    Component("preview", "documents", "mmask_text.contact:DocumentSheet", "stored texts, as a contact sheet"),
)
