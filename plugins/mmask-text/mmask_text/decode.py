"""The text decoder: the stored text of a sample -> ids with special tokens in place, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmask.api import Keys, RecipeError, Sample, SampleError
from mmask_text.documents import FORMS, PARTS, Form, stored_texts, stored_words
from mmask_text.pair import PAIRS, Half, order_pair, split_pair
from mmask_text.sentences import RULES, sentence_spans
from mmask_text.vocabulary import DEFAULT, Vocabulary, open_vocabulary, vocabulary_assets


class TextDecoder:
    """Makes the field ``text``, (L,) int64 ids, ``[CLS] ... [SEP]`` or what the vocabulary has of these, and
    ``text.word``, (L,) int64, the number of the word that each token belongs to, -1 at special tokens. Documents are
    ragged: the loader pads them, or packs them.

    vocabulary: a shipped name, ``bytes``, ``open_clip``, a ``tokenizer.json``, a SentencePiece ``.model``, or a folder
    with one; it is copied into the run. field: of a ``.json`` part, dotted; a list of texts is joined by lines. parts:
    the parts of a sample to look for, in this order. second: another field, for pairs of texts; adds ``text.type``,
    (L,) int64, 0 up to the first ``[SEP]`` and 1 after it. pair: ``next`` cuts a document in two at a sentence and adds
    ``text.type`` (the halves of neighbours are exchanged later, see `mmask_text.pair`); ``order`` also exchanges the
    two halves of the document itself in half of its visits and adds ``text.follows``, 1 for the order as written, 0
    for the other (Lan et al. 2020). sentences: ``split`` (a rule) or ``lines`` (one a line) adds ``text.sentence``,
    (L,) int64, -1 at special tokens. name: of the fields, in place of ``text``.

    max_length: tokens, special ones included, beyond which the text is cut at its end (a pair: its longer text, token
    by token); None keeps documents whole, for the packer. words: a field that holds the text as a list of words, split
    already; they are joined by spaces, and ``text.word`` numbers them, so that the labels of words find their first
    pieces. min_tokens: shorter documents, special tokens not counted,
    are refused. form: Unicode normal form. max_bytes: larger parts are refused. Raises SampleError.
    """

    def __init__(
        self, *, vocabulary: str = DEFAULT, field: str = "text", parts: Sequence[str] = PARTS, second: str = "",
        pair: str = "", sentences: str = "", words: str = "", name: str = "text",
        max_length: int | None = None, min_tokens: int = 1, form: Form = "NFC", max_bytes: int = 1 << 26,
    ) -> None:
        for option, value, known in (("pair", pair, PAIRS), ("sentences", sentences, RULES), ("form", form, FORMS)):
            if value not in known and (value or option == "form"):
                raise RecipeError(f"{option} = '{value}' is unknown; there are {', '.join(known)}")
        if pair and second:
            raise RecipeError(f"pair = '{pair}' makes pairs of one text, second = '{second}' names another: give one")
        if words and (pair or second or sentences):
            raise RecipeError(f"words = '{words}' is one text split already: leave pair, second and sentences away")
        self.vocabulary: Vocabulary = open_vocabulary(vocabulary)
        self.field, self.parts, self.second, self.pair = field, tuple(parts), second, pair
        self.sentences, self.name, self.form = sentences or ("split" if pair else ""), name, form
        self._tell_sentences, self.words = bool(sentences), words
        self.max_length, self.min_tokens, self.max_bytes = max_length, min_tokens, max_bytes
        least = self.vocabulary.framing + 1
        if max_length is not None and max_length < (least + 2 if pair or second else least):
            raise RecipeError(f"max_length = {max_length} leaves no room for text between special tokens")
        if min_tokens < 1:
            raise RecipeError(f"min_tokens = {min_tokens} must be at least 1")

    assets = staticmethod(vocabulary_assets)

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        """``text``, ``text.word``, and what was asked for beside them."""
        fields = [self.field, self.second] if self.second else [self.field]
        if self.words:
            halves = [self._split(stored_words(sample, self.words, form=self.form, max_bytes=self.max_bytes))]
        else:
            texts = stored_texts(sample, fields, self.parts, form=self.form, max_bytes=self.max_bytes)
            halves = [self._tokens(text) for text in texts]
        count = sum(len(half["ids"]) for half in halves)
        if count < self.min_tokens:
            raise SampleError(
                f"{sample.id}: {count} tokens are fewer than min_tokens {self.min_tokens}",
                hint="leave such documents out with a filter on an index column, such as json.words",
            )
        extra: dict[str, Any] = {}
        if self.pair:
            halves = split_pair(halves[0], keys, self.max_length, self.vocabulary)
            if self.pair == "order":
                halves, follows = order_pair(halves, keys)
                extra[f"{self.name}.follows"] = np.int64(follows)
        if self.max_length is not None:
            halves = _shortened(halves, self.max_length - self._framing(len(halves)))
        made = {**self._fields(halves), **extra}
        if self.words:  # frames number the words that have pieces; here every word counts
            own = made[f"{self.name}.word"]
            own[own >= 0] = halves[0]["word"]
        return made

    def _tokens(self, text: str) -> Half:
        """ids, word and (where they are needed) sentence of one text, each (L,) int64."""
        if not self.sentences:
            ids, words = self.vocabulary.encode(text)
            return {"ids": ids, "word": words}
        found = self.vocabulary.pieces(text)
        starts = np.array([start for start, _ in sentence_spans(text, self.sentences)], np.int64)
        sentence = np.searchsorted(starts, found.offsets[:, 0], side="right") - 1
        return {"ids": found.ids, "word": found.words, "sentence": np.maximum(sentence, 0)}

    def _split(self, words: Sequence[str]) -> Half:
        """The pieces of words joined by spaces, each with the number of the word that its first letter lies in."""
        found = self.vocabulary.pieces(" ".join(words))
        starts = np.cumsum([0, *(len(word) + 1 for word in words[:-1])])
        numbers = np.searchsorted(starts, found.offsets[:, 0], side="right") - 1
        return {"ids": found.ids, "word": np.where(found.words >= 0, numbers, -1)}

    def _framing(self, texts: int) -> int:
        return self.vocabulary.framing + (texts - 1) * (self.vocabulary.sep_id is not None)

    def _fields(self, halves: Sequence[Half]) -> dict[str, Any]:
        frame, name = self.vocabulary.frame, self.name
        ids, words, types = frame(*((half["ids"], half["word"]) for half in halves))
        made = {name: ids, f"{name}.word": words}
        if len(halves) > 1:
            made[f"{name}.type"] = types
        if self._tell_sentences:
            made[f"{name}.sentence"] = frame(*((half["ids"], half["sentence"]) for half in halves))[1]
        return made


def _shortened(halves: Sequence[Half], room: int) -> list[Half]:
    """Cut the longer text until all fit into ``room`` tokens."""
    lengths = [len(half["ids"]) for half in halves]
    while sum(lengths) > room:
        longest = lengths.index(max(lengths))
        rest = sum(lengths) - room
        others = max((n for i, n in enumerate(lengths) if i != longest), default=0)
        lengths[longest] -= min(rest, max(1, lengths[longest] - others))
    return [{name: values[:n] for name, values in half.items()} for half, n in zip(halves, lengths, strict=True)]
