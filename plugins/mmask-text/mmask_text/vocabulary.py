"""Vocabulary: what turns text into ids and back, whichever library trained it.

    open_vocabulary("english-8k")               one that ships with the plugin
    open_vocabulary("bytes")                    UTF-8 bytes
    open_vocabulary("open_clip")                the byte pairs of CLIP, from the installed open_clip
    open_vocabulary("some/tokenizer.json")      any tokenizer of the ``tokenizers`` library
    open_vocabulary("some/spiece.model")        SentencePiece
    open_vocabulary("some/folder")              a folder that ``transformers`` or ``Vocabulary.save`` wrote

Nothing heavy is imported before a vocabulary is opened.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from mmask.api import DataError, RecipeError, did_you_mean

DEFAULT = "english-8k"
MASK = "[MASK]"
# The names by which vocabularies call the tokens that a masked model needs, the commonest first.
ROLES: Mapping[str, tuple[str, ...]] = {
    "mask": (MASK, "<mask>", "<|mask|>", "[MSK]"),
    "pad": ("[PAD]", "<pad>", "<|padding|>", "<|pad|>"),
    "cls": ("[CLS]", "<s>", "<cls>", "[BOS]", "<bos>", "<start_of_text>", "<|startoftext|>", "<|begin_of_text|>"),
    "sep": ("[SEP]", "</s>", "<sep>", "[EOS]", "<eos>", "<end_of_text>", "<|endoftext|>"),
    "unk": ("[UNK]", "<unk>", "<|unknown|>"),
}


class Pieces(NamedTuple):
    """A text in pieces, without special tokens around it. ids: (L,) int64. words: (L,) int64, the number of the
    word each piece belongs to, -1 at special tokens. offsets: (L, 2) int64, where it lies in the text, in characters,
    end exclusive."""

    ids: np.ndarray
    words: np.ndarray
    offsets: np.ndarray


class Engine(Protocol):
    """One library's tokenizer. ``words`` of ``cut`` need not be consecutive, only different for different words."""

    kind: str
    size: int

    def cut(self, text: str) -> tuple[list[int], list[int], list[tuple[int, int]]]:
        """ids, words and offsets of plain text: no special token is read from it or added."""
        ...

    def join(self, ids: Sequence[int]) -> str:
        """The text of pieces that are no special tokens."""
        ...

    def token(self, id: int) -> str:
        """A piece as it is written in the vocabulary."""
        ...

    def find(self, token: str) -> int | None:
        """The id of a piece; None when it is not in the vocabulary."""
        ...

    def special(self) -> Sequence[int]:
        """What the vocabulary itself calls special (control) tokens."""
        ...

    def file(self) -> tuple[str, bytes]:
        """The name and the bytes of the one file that this engine is read from."""
        ...


class Vocabulary:
    """Text -> ids -> text, and the ids that mean something to a masked model.

    size: number of ids. mask_id: always there; a vocabulary without one gets it as its last id (and ``size`` counts
    it). pad_id, cls_id, sep_id, unk_id: None where the vocabulary has none. special_ids: every id that is no part of
    a text, unknown included, ascending. spec: what it was opened as.

    A word is what the vocabulary's own pre-tokenizer splits (whitespace and, where it does so, punctuation).
    Pickles, and is safe to share between threads for reading.
    """

    def __init__(self, engine: Engine, spec: str = "") -> None:
        self.engine, self.spec = engine, spec
        found = {role: _first(engine, names) for role, names in ROLES.items()}
        self.size = engine.size
        self._own_mask = found["mask"] is None
        if self._own_mask:
            found["mask"], self.size = self.size, self.size + 1
        self.mask_id: int = found["mask"] or 0
        self.pad_id, self.cls_id = found["pad"], found["cls"]
        self.sep_id, self.unk_id = found["sep"], found["unk"]
        ids = {*engine.special(), *(id for id in found.values() if id is not None)}
        self.special_ids: tuple[int, ...] = tuple(sorted(ids))
        self._special = frozenset(ids)
        named = {self.token(id): id for id in self.special_ids}
        self._named = {name: id for name, id in named.items() if name} | {MASK: self.mask_id}
        longest = sorted(map(re.escape, self._named), key=len, reverse=True)
        self._split = re.compile(f"({'|'.join(longest)})")

    def encode(self, text: str, *, special: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """(ids, words) as in `pieces`."""
        found = self._cut(text, special)
        return found.ids, found.words

    def pieces(self, text: str, *, special: bool = False) -> Pieces:
        """A text in pieces.

        special: whether the names of special tokens in the text are these tokens (``[MASK]`` always is the mask,
        whatever the vocabulary calls it); by default they are ordinary text, so that no document can smuggle them in.
        Offsets leave out the white space that some vocabularies count as part of a word.
        """
        found = self._cut(text, special)
        for place in found.offsets:
            start, stop = place
            while start < stop and text[start].isspace():
                start += 1
            place[0] = start
        return found

    def _cut(self, text: str, special: bool) -> Pieces:
        if not special:
            return _packed(*self.engine.cut(text))
        ids: list[int] = []
        words: list[int] = []
        offsets: list[tuple[int, int]] = []
        at = 0
        for number, part in enumerate(self._split.split(text)):
            if number % 2:
                ids.append(self._named[part])
                words.append(-1)
                offsets.append((at, at + len(part)))
            elif part.strip():
                # the space before a special token is part of neither: byte-level pieces would keep it
                plain, first = part.rstrip(), max(words, default=-1) + 1
                more, theirs, places = self.engine.cut(plain)
                ids += more
                words += [first + word for word in theirs]
                offsets += [(at + start, at + stop) for start, stop in places]
            at += len(part)
        return _packed(ids, words, offsets)

    def decode(self, ids: Sequence[int] | np.ndarray, *, special: bool = False) -> str:
        """The text of ids. special: whether special tokens are written too, set off by spaces, instead of left out."""
        runs: list[str] = []
        plain: list[int] = []
        for id in (int(one) for one in ids):
            if id not in self._special:
                plain.append(id)
                continue
            if special:
                runs += [self.engine.join(plain), self.token(id)]
                plain = []
        runs.append(self.engine.join(plain))
        return " ".join(run for run in (one.strip() for one in runs) if run) if special else runs[0]

    def token(self, id: int) -> str:
        """A piece as it is written in the vocabulary. Raises DataError outside of it."""
        if not 0 <= id < self.size:
            raise DataError(f"id {id} is not in a vocabulary of {self.size}")
        return MASK if self._own_mask and id == self.mask_id else self.engine.token(id)

    def find(self, token: str) -> int | None:
        """The id of a piece as it is written in the vocabulary; None when there is none."""
        return self.mask_id if self._own_mask and token == MASK else self.engine.find(token)

    def frame(
        self, first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(ids, words) of one text, or of a pair -> (ids, words, types) with special tokens around, each (L,) int64.

        ``[CLS] A [SEP]`` and ``[CLS] A [SEP] B [SEP]``, without what the vocabulary lacks; types are 0 up to the first
        ``[SEP]`` and 1 after it; words are numbered from 0, those of B going on after A's.
        """
        ids, words, types = [_one(self.cls_id)], [_outside(self.cls_id)], [_types(self.cls_id, 0)]
        texts = [first] if second is None else [first, second]
        next_word = 0
        for number, (mine, theirs) in enumerate(texts):
            shifted = np.where(theirs >= 0, theirs - _least(theirs) + next_word, -1)
            next_word = max(next_word, int(shifted.max(initial=-1)) + 1)
            ids += [mine, _one(self.sep_id)]
            words += [shifted, _outside(self.sep_id)]
            types += [np.full(len(mine), number, np.int64), _types(self.sep_id, number)]
        return np.concatenate(ids), np.concatenate(words), np.concatenate(types)

    @property
    def framing(self) -> int:
        """Special tokens that `frame` puts around one text."""
        return (self.cls_id is not None) + (self.sep_id is not None)

    def file(self) -> tuple[str, bytes]:
        """The name and the bytes of the one file that `open_vocabulary` opens again."""
        return self.engine.file()

    def save(self, folder: str | Path) -> Path:
        """Write `file` into a folder; -> its path."""
        name, data = self.file()
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def __len__(self) -> int:
        return self.size


def open_vocabulary(spec: str | Path) -> Vocabulary:
    """A vocabulary by name or path, see the head of this module. Raises RecipeError for a name that is neither a
    shipped vocabulary nor a file, DataError for a file that is no vocabulary. The same spec gives the same object
    as long as its file does not change."""
    text = str(spec)
    path = _place(text)
    if path is None:
        return _named(text)
    stat = path.stat()
    return _opened(text, str(path), stat.st_mtime_ns, stat.st_size)


def shipped() -> dict[str, Path]:
    """Name -> file of the vocabularies that ship with the plugin."""
    folder = Path(str(files("mmask_text"))) / "vocabularies"
    return {path.name.removesuffix(".json"): path for path in sorted(folder.glob("*.json"))}


def vocabulary_assets(*, vocabulary: str = DEFAULT, **options: Any) -> dict[str, tuple[str, bytes]]:
    """The file behind the option ``vocabulary`` of a component, for its run to keep; none for ``bytes``, which is a
    rule. A component with this option says ``assets = staticmethod(vocabulary_assets)``."""
    return {} if vocabulary == "bytes" else {"vocabulary": open_vocabulary(vocabulary).file()}


@lru_cache(maxsize=16)
def _opened(spec: str, path: str, stamp: int, size: int) -> Vocabulary:
    from mmask_text.engines import open_engine

    return Vocabulary(open_engine(Path(path)), spec)


@lru_cache(maxsize=4)
def _named(spec: str) -> Vocabulary:
    from mmask_text.engines import ByteEngine, ClipEngine

    if spec == "bytes":
        return Vocabulary(ByteEngine(), spec)
    if spec == "open_clip":
        return Vocabulary(ClipEngine.installed(), spec)
    known = ["bytes", "open_clip", *shipped()]
    raise RecipeError(
        f"vocabulary '{spec}' is neither a file nor a known name{did_you_mean(spec, known)}",
        hint=f"known are {', '.join(known)}; a file is a tokenizer.json, a SentencePiece .model, or a folder with one",
    )


def _place(spec: str) -> Path | None:
    """The file of a spec; None when it is a rule's name or nothing. A shipped name wins over a file called like it."""
    from mmask_text.engines import file_in

    path = shipped().get(spec, Path(spec).expanduser())
    if path.is_dir() and spec not in ("bytes", "open_clip"):
        return file_in(path)
    return path if path.is_file() else None


def _first(engine: Engine, names: Sequence[str]) -> int | None:
    return next((id for id in map(engine.find, names) if id is not None), None)


def _packed(ids: Sequence[int], words: Sequence[int], offsets: Sequence[tuple[int, int]]) -> Pieces:
    """Arrays, with the words numbered 0, 1, ... in the order in which they come."""
    number = np.asarray(words, np.int64).reshape(-1)
    inside = number >= 0
    kept = number[inside]
    if len(kept):
        new = np.ones(len(kept), bool)
        new[1:] = kept[1:] != kept[:-1]
        number[inside] = np.cumsum(new) - 1
    return Pieces(np.asarray(ids, np.int64).reshape(-1), number, np.asarray(offsets, np.int64).reshape(-1, 2))


def _least(words: np.ndarray) -> int:
    inside = words[words >= 0]
    return int(inside.min()) if len(inside) else 0


def _one(id: int | None) -> np.ndarray:
    return np.array([] if id is None else [id], np.int64)


def _outside(id: int | None) -> np.ndarray:
    return np.array([] if id is None else [-1], np.int64)


def _types(id: int | None, kind: int) -> np.ndarray:
    return np.array([] if id is None else [kind], np.int64)
