"""The tokenizer libraries behind a `Vocabulary`: ``tokenizers``, SentencePiece, open_clip, and plain bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmask.api import DataError
from mmask_text.byte_engine import BYTE_FILE, ByteEngine, Cut

_FILES = ("tokenizer.json", "spiece.model", "tokenizer.model", "vocab.txt")
_SHIFTED = "sentencepiece.bpe.model"  # fairseq's: the models beside it count the ids otherwise than the file
CLIP_FILE = "bpe_simple_vocab.txt.gz"


def open_engine(path: Path) -> Any:
    """The engine of a file, by its ending. Raises DataError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"vocabulary {path} cannot be read: {error.strerror}") from error
    if data == BYTE_FILE:
        return ByteEngine()
    if path.name.endswith(".json"):
        return JsonEngine(data, str(path))
    if path.name.endswith(".model"):
        return PieceEngine(data, path.name, str(path))
    if path.name.endswith(".txt.gz"):
        return ClipEngine(data)
    if path.name.endswith(".txt"):
        return JsonEngine(wordpiece_json(data, path), str(path))
    raise DataError(
        f"{path} is no vocabulary that is known by its name",
        hint="known are tokenizer.json, a SentencePiece .model, a WordPiece vocab.txt and open_clip's .txt.gz",
    )


def file_in(folder: Path) -> Path:
    """The vocabulary's file in a folder. Raises DataError when there is none, or more than one of a kind."""
    for name in _FILES:
        if (folder / name).is_file():
            return folder / name
    if (folder / _SHIFTED).is_file():
        raise DataError(
            f"{folder} has {_SHIFTED}, whose ids the model beside it shifts, and no tokenizer.json",
            hint="write one with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
        )
    for pattern in ("*.json", "*.model", "*.txt.gz"):
        found = [path for path in sorted(folder.glob(pattern)) if not path.name.endswith("config.json")]
        if len(found) == 1:
            return found[0]
    raise DataError(f"{folder} holds no vocabulary", hint=f"looked for {', '.join(_FILES)}")


def wordpiece_json(data: bytes, path: Path) -> bytes:
    """BERT's ``vocab.txt`` -> ``tokenizer.json``. Whether it lower-cases is said by a ``tokenizer_config.json``
    beside it (``do_lower_case``); without one, by whether the vocabulary has a piece with a capital letter."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    names = data.decode("utf-8").split("\n")
    while names and not names[-1]:
        names.pop()
    table = {name.rstrip("\r"): number for number, name in enumerate(names)}
    lower = not any(name != name.lower() for name in table if not name.startswith("["))
    config = path.with_name("tokenizer_config.json")
    if config.is_file():
        lower = bool(json.loads(config.read_text(encoding="utf-8")).get("do_lower_case", lower))
    if "[UNK]" not in table:
        raise DataError(f"{path} is no WordPiece vocabulary: it has no [UNK]")
    made = Tokenizer(models.WordPiece(table, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lower)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.add_special_tokens([name for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if name in table])
    return made.to_str().encode()


class JsonEngine:
    """Any ``tokenizer.json``. Its padding, truncation and template are left out: they are the pipeline's."""

    kind = "tokenizers"

    def __init__(self, data: bytes, path: str = "") -> None:
        from tokenizers import Tokenizer

        try:
            self._made = Tokenizer.from_buffer(data)
        except Exception as error:  # the library raises plain Exception
            raise DataError(f"{path or 'the file'} is no tokenizer.json: {error}") from error
        self._data = data
        self._made.no_padding()
        self._made.no_truncation()
        self._made.encode_special_tokens = True  # a document that says [SEP] says these five characters
        added = self._made.get_added_tokens_decoder()
        self._special = tuple(id for id, token in added.items() if token.special)
        self.size = max(self._made.get_vocab(with_added_tokens=True).values()) + 1

    def cut(self, text: str) -> Cut:
        """As `Engine.cut`."""
        found = self._made.encode(text, add_special_tokens=False)
        words = [-1 if word is None else word for word in found.word_ids]
        if -1 in words:  # added tokens that are no special ones: words of their own
            words = _renumbered(words, found.offsets)
        return found.ids, words, found.offsets

    def join(self, ids: Sequence[int]) -> str:
        """As `Engine.join`."""
        return self._made.decode(list(ids), skip_special_tokens=False) if ids else ""

    def token(self, id: int) -> str:
        """As `Engine.token`; empty for a number that the file leaves out."""
        return self._made.id_to_token(id) or ""

    def find(self, token: str) -> int | None:
        """As `Engine.find`."""
        return self._made.token_to_id(token)

    def special(self) -> Sequence[int]:
        """As `Engine.special`."""
        return self._special

    def file(self) -> tuple[str, bytes]:
        """As `Engine.file`."""
        return "tokenizer.json", self._data

    def __reduce__(self) -> tuple[Any, ...]:
        return (JsonEngine, (self._data,))


class PieceEngine:
    """A SentencePiece model."""

    kind = "sentencepiece"

    def __init__(self, data: bytes, name: str = "spiece.model", path: str = "") -> None:
        import sentencepiece

        self._made = sentencepiece.SentencePieceProcessor()
        try:
            self._made.LoadFromSerializedProto(data)
        except RuntimeError as error:
            raise DataError(f"{path or name} is no SentencePiece model: {str(error).strip()}") from error
        self._data, self._name = data, name
        self.size = self._made.GetPieceSize()
        self._special = tuple(i for i in range(self.size) if self._made.IsControl(i) or self._made.IsUnknown(i))

    def cut(self, text: str) -> Cut:
        """As `Engine.cut`. A piece that begins with the sign of a space begins a word."""
        found = self._made.encode(text, out_type="offset_mapping")
        words, word = [], -1
        for piece in found["pieces"]:
            word += piece.startswith("\u2581") or word < 0
            words.append(word)
        return found["ids"], words, found["offsets"]

    def join(self, ids: Sequence[int]) -> str:
        """As `Engine.join`."""
        return str(self._made.decode(list(ids)))

    def token(self, id: int) -> str:
        """As `Engine.token`."""
        return str(self._made.IdToPiece(id))

    def find(self, token: str) -> int | None:
        """As `Engine.find`."""
        id = self._made.PieceToId(token)
        return id if self._made.IdToPiece(id) == token else None

    def special(self) -> Sequence[int]:
        """As `Engine.special`."""
        return self._special

    def file(self) -> tuple[str, bytes]:
        """As `Engine.file`."""
        return self._name, self._data

    def __reduce__(self) -> tuple[Any, ...]:
        return (PieceEngine, (self._data, self._name))


class ClipEngine:
    """open_clip's byte pairs: lower-cased, cleaned, a word's last piece ends in ``</w>``.

    The library drops where a piece came from, so offsets are found again by looking for each word in the text;
    a word that its cleaning has changed (a repaired encoding) is placed at the end of the word before.
    """

    kind = "open_clip"

    def __init__(self, data: bytes) -> None:
        import tempfile

        from open_clip.tokenizer import SimpleTokenizer

        with tempfile.NamedTemporaryFile(suffix=".txt.gz") as file:  # the library reads from a path alone
            file.write(data)
            file.flush()
            self._made = SimpleTokenizer(bpe_path=file.name)
        self._data, self.size = data, self._made.vocab_size
        self._special = tuple(self._made.all_special_ids)

    @classmethod
    def installed(cls) -> ClipEngine:
        """With the merges of the installed open_clip. Raises DataError when it is not installed."""
        try:
            from open_clip.tokenizer import default_bpe
        except ImportError as error:
            raise DataError("vocabulary 'open_clip' needs open_clip", hint="pip install open-clip-torch") from error
        return cls(Path(default_bpe()).read_bytes())

    def cut(self, text: str) -> Cut:
        """As `Engine.cut`."""
        made, low = self._made, text.lower()
        if len(low) != len(text):  # a letter whose small form is longer; rare
            low = "".join(letter if len(letter.lower()) != 1 else letter.lower() for letter in text)
        ids, words, offsets, at = [], [], [], 0
        for number, word in enumerate(made.pat.findall(made.clean_fn(text))):
            start = low.find(word, at)
            at = at if start < 0 else start + len(word)
            place = at if start < 0 else start
            raw = "".join(made.byte_encoder[byte] for byte in word.encode("utf-8"))
            # the names of its special tokens are text here, as in every engine
            pieces = _spelled(raw) if raw in made.cache and not made.cache[raw].endswith("</w>") else made.bpe(raw)
            spent = 0
            for piece in pieces.split(" "):
                count = len(piece.removesuffix("</w>"))
                ids.append(made.encoder[piece])
                words.append(number)
                offsets.append((place, place) if start < 0 else _within(word, place, spent, count))
                spent += count
        return ids, words, offsets

    def join(self, ids: Sequence[int]) -> str:
        """As `Engine.join`."""
        return str(self._made.decode(list(ids))).rstrip(" ")

    def token(self, id: int) -> str:
        """As `Engine.token`."""
        return str(self._made.decoder[id])

    def find(self, token: str) -> int | None:
        """As `Engine.find`."""
        return self._made.encoder.get(token)

    def special(self) -> Sequence[int]:
        """As `Engine.special`."""
        return self._special

    def file(self) -> tuple[str, bytes]:
        """As `Engine.file`."""
        return CLIP_FILE, self._data

    def __reduce__(self) -> tuple[Any, ...]:
        return (ClipEngine, (self._data,))


def _renumbered(words: Sequence[int], offsets: Sequence[tuple[int, int]]) -> list[int]:
    out, last, number = [], None, -1
    for word, place in zip(words, offsets, strict=True):
        mark = ("word", word) if word >= 0 else ("added", place)
        number += mark != last
        last = mark
        out.append(number)
    return out


def _spelled(raw: str) -> str:
    return " ".join([*raw[:-1], f"{raw[-1]}</w>"])


def _within(word: str, place: int, spent: int, count: int) -> tuple[int, int]:
    """Where bytes ``spent`` to ``spent + count`` of a word lie, in characters."""
    data = word.encode("utf-8")
    start = len(data[:spent].decode("utf-8", "ignore"))
    stop = len(data[: spent + count].decode("utf-8", "ignore"))
    return place + start, place + max(stop, start + 1 if count else start)
