"""Training a vocabulary: WordPiece and byte-level BPE by ``tokenizers``, Unigram by SentencePiece.

The same texts in the same order give the same bytes, in any process and with any number of threads. Texts are read
as a stream, twice where the alphabet must be known first; what is held is the words with their counts.
"""

from __future__ import annotations

import io
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mmask.api import RecipeError

KINDS = ("wordpiece", "bpe", "unigram", "bytes")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
Texts = Callable[[], Iterable[str]]


@dataclass(frozen=True)
class Training:
    """What to train. kind: ``wordpiece``, ``bpe`` (byte level), ``unigram`` (SentencePiece) or ``bytes``. size: of the
    vocabulary, special tokens included; bytes have no choice. special: the special tokens, in the order of their ids
    from 0; the roles that they play follow from their names (`mmask_text.vocabulary.ROLES`). lower: fold case (and, in
    WordPiece, accents). least: occurrences below which no piece is made. alphabet: characters that WordPiece knows;
    rarer ones become unknown."""

    kind: Literal["wordpiece", "bpe", "unigram", "bytes"] = "wordpiece"
    size: int = 8192
    special: Sequence[str] = SPECIAL
    lower: bool = True
    least: int = 2
    alphabet: int = 1000

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RecipeError(f"kind = '{self.kind}' is unknown; there are {', '.join(KINDS)}")
        if len(set(self.special)) < len(self.special):
            raise RecipeError(f"special tokens must differ: {', '.join(self.special)}")
        if self.size <= len(self.special) + 1:
            raise RecipeError(f"size = {self.size} leaves no room beside {len(self.special)} special tokens")
        if self.kind == "wordpiece" and "[UNK]" not in self.special:
            raise RecipeError("WordPiece needs [UNK] among its special tokens")

    @property
    def suffix(self) -> str:
        """Of the file: ``.model`` for SentencePiece, ``.json`` otherwise."""
        return ".model" if self.kind == "unigram" else ".json"

    @property
    def passes(self) -> int:
        """How often the texts are read."""
        return {"wordpiece": 2, "bpe": 1, "unigram": 1, "bytes": 0}[self.kind]

    def __call__(self, texts: Texts) -> bytes:
        """The vocabulary's file. texts: called once a pass. Raises RecipeError for a size that the texts cannot fill
        or the alphabet alone exceeds."""
        make = {"wordpiece": _wordpiece, "bpe": _bpe, "unigram": _unigram, "bytes": _bytes}[self.kind]
        return make(self, texts)


def fertility(vocabulary: Any, texts: Iterable[str]) -> dict[str, float]:
    """How finely texts are cut. tokens, words (split at white space), characters; ``fertility``: tokens a word;
    ``unknown``: share of the tokens."""
    found: Counter[str] = Counter()
    for text in texts:
        ids, _ = vocabulary.encode(text)
        found["tokens"] += len(ids)
        found["words"] += len(text.split())
        found["characters"] += len(text)
        found["unknown"] += int((ids == vocabulary.unk_id).sum()) if vocabulary.unk_id is not None else 0
    tokens, words = found["tokens"], found["words"]
    return {
        "tokens": tokens, "words": words, "characters": found["characters"],
        "fertility": tokens / max(1, words), "unknown": found["unknown"] / max(1, tokens),
    }


def _wordpiece(wanted: Training, texts: Texts) -> bytes:
    """The library numbers the pieces of one letter in the order of a hash table, and ties between merges follow the
    numbers: so the alphabet is counted first and given to it in order."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    normalizer = normalizers.BertNormalizer(lowercase=wanted.lower)
    seen: Counter[str] = Counter()
    for text in texts():
        seen.update(normalizer.normalize_str(text))
    kept = sorted((letter for letter in seen if not letter.isspace()), key=lambda one: (-seen[one], one))
    letters = sorted(kept[: wanted.alphabet])
    first = [*wanted.special, *letters, *(f"##{letter}" for letter in letters if not _alone(letter))]
    if len(first) >= wanted.size:
        raise RecipeError(f"size = {wanted.size} is below the {len(first)} pieces of one letter", hint="raise --size")
    rare = {ord(letter): " " for letter in kept[wanted.alphabet :]}
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=wanted.size, min_frequency=wanted.least, special_tokens=first, show_progress=False
    )
    made.train_from_iterator((normalizer.normalize_str(text).translate(rare) for text in texts()), trainer)
    whole = Tokenizer(models.WordPiece(made.get_vocab(), unk_token="[UNK]", max_input_chars_per_word=100))
    whole.normalizer, whole.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    whole.decoder = decoders.WordPiece()
    whole.add_special_tokens(list(wanted.special))
    return _written(whole)


def _bpe(wanted: Training, texts: Texts) -> bytes:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if wanted.size <= len(wanted.special) + len(alphabet):
        raise RecipeError(f"size = {wanted.size} must exceed 256 bytes and {len(wanted.special)} special tokens")
    made = Tokenizer(models.BPE())
    if wanted.lower:
        made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=wanted.size, min_frequency=wanted.least, special_tokens=list(wanted.special),
        initial_alphabet=alphabet, show_progress=False,
    )
    made.train_from_iterator(iter(texts()), trainer)
    return _written(made)


def _unigram(wanted: Training, texts: Texts) -> bytes:
    import sentencepiece

    roles = {"pad": "[PAD]", "unk": "[UNK]", "bos": "[CLS]", "eos": "[SEP]"}
    numbers = {role: wanted.special.index(name) if name in wanted.special else -1 for role, name in roles.items()}
    if numbers["unk"] < 0:
        raise RecipeError("SentencePiece needs [UNK] among its special tokens")
    given: dict[str, Any] = {f"{role}_id": number for role, number in numbers.items()}
    given |= {f"{role}_piece": name for role, name in roles.items() if numbers[role] >= 0}
    others = [name for name in wanted.special if name not in roles.values()]
    to = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(texts()), model_writer=to, model_type="unigram", vocab_size=wanted.size,
            control_symbols=others, character_coverage=0.9995, num_threads=1, shuffle_input_sentence=False,
            max_sentence_length=1 << 16, hard_vocab_limit=False, minloglevel=2,
            normalization_rule_name="nmt_nfkc_cf" if wanted.lower else "nmt_nfkc", **given,
        )
    except RuntimeError as error:
        raise RecipeError(f"SentencePiece could not train {wanted.size} pieces: {str(error).strip()}") from error
    return to.getvalue()


def _bytes(wanted: Training, texts: Texts) -> bytes:
    from mmask_text.engines import ByteEngine

    return ByteEngine().file()[1]


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """SentencePiece skips lines that are too long, so documents are handed over by their lines, cut at 4,096
    characters where white space allows."""
    for text in texts:
        for line in text.split("\n"):
            while len(line) > 4096:
                cut = line.rfind(" ", 1, 4096)
                cut = cut if cut > 0 else 4096
                yield line[:cut]
                line = line[cut:].lstrip()
            if line.strip():
                yield line


def _alone(letter: str) -> bool:
    """Whether BERT's splitter makes a word of this letter, so that it never continues one."""
    code = ord(letter)
    ascii_mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    chinese = 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0x20000 <= code <= 0x2FA1F
    return ascii_mark or chinese or 0xF900 <= code <= 0xFAFF or unicodedata.category(letter).startswith("P")


def _written(made: Any) -> bytes:
    return (made.to_str() + "\n").encode()
