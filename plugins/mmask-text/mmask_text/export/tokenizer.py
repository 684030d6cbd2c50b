"""A vocabulary as a tokenizer of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_tokenizer(vocabulary: Any, folder: Path, *, types: bool = False) -> bool:
    """The vocabulary's file; and, where it is one of the ``tokenizers`` library, with special tokens set around a text
    and a ``tokenizer_config.json``. types: whether it gives the segments of a pair.
    -> whether ``AutoTokenizer`` reads it."""
    if not hasattr(vocabulary, "file"):
        return False
    if vocabulary.engine.kind != "tokenizers":
        vocabulary.save(folder)
        return False
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(vocabulary.file()[1].decode("utf-8"))
    made.add_special_tokens([vocabulary.token(id) for id in vocabulary.special_ids])
    made.no_padding()
    made.no_truncation()
    _frame(made, vocabulary)
    made.save(str(folder / "tokenizer.json"))
    roles = {"pad": "pad_id", "cls": "cls_id", "sep": "sep_id", "unk": "unk_id", "mask": "mask_id"}
    named = {
        f"{role}_token": vocabulary.token(getattr(vocabulary, attribute))
        for role, attribute in roles.items() if getattr(vocabulary, attribute) is not None
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **named,
        "model_input_names": ["input_ids", *(["token_type_ids"] if types else []), "attention_mask"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return True


def _frame(made: Any, vocabulary: Any) -> None:
    """``[CLS] A [SEP] B [SEP]`` with what the vocabulary has, as `Vocabulary.frame` does."""
    from tokenizers.processors import TemplateProcessing

    ends = [(vocabulary.token(id), id) for id in (vocabulary.cls_id, vocabulary.sep_id) if id is not None]
    start = [] if vocabulary.cls_id is None else [vocabulary.token(vocabulary.cls_id)]
    stop = [] if vocabulary.sep_id is None else [vocabulary.token(vocabulary.sep_id)]
    second = ["$B:1", *(f"{one}:1" for one in stop)]
    made.post_processor = TemplateProcessing(
        single=[*start, "$A", *stop], pair=[*start, "$A", *stop, *second], special_tokens=list(dict(ends).items())
    )
