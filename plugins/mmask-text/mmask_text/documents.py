"""Documents: the text of a stored sample, cleaned by one stated policy."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mmask.api import Sample, SampleError, did_you_mean

PARTS = ("txt", "text", "json")
FORMS = ("NFC", "NFKC", "none")
Form = Literal["NFC", "NFKC", "none"]

# Control characters but tab and line feed, the byte order mark, lone surrogates and what Unicode calls no character.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_LINE_ENDS = re.compile("\r\n?|\u0085|\u2028|\u2029|\x0b|\x0c")


def clean(text: str, form: Form = "NFC") -> str:
    """The text that is tokenised: line ends become a line feed, control characters, the byte order mark and lone
    surrogates are dropped, and the rest is put into a Unicode normal form (``NFC``, ``NFKC``, or ``none``). White
    space, case and everything else stay: they are the vocabulary's affair."""
    text = _CONTROL.sub("", _LINE_ENDS.sub("\n", text))
    return text if form == "none" else unicodedata.normalize(form, text)


def decode_utf8(data: bytes, where: str) -> str:
    """Raises SampleError for bytes that are no UTF-8: guessing an encoding would train on wrong letters."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SampleError(
            f"{where} is no UTF-8: byte {data[error.start]:#04x} at {error.start}",
            hint="convert the files when packing: mmask data pack ... --packer document --encoding latin-1",
        ) from None


def stored_texts(
    sample: Sample, fields: Sequence[str], parts: Sequence[str] = PARTS, *, form: Form = "NFC",
    max_bytes: int = 1 << 26,
) -> list[str]:
    """The cleaned texts of a sample, one for each of ``fields``.

    The first of ``parts`` that the sample has is read: plain text gives one field, whatever it is called, JSON those
    that are asked for. Raises SampleError for a part that is missing, too large, no UTF-8 or no JSON object, a field
    that is missing or no text, and a text that is empty after cleaning.
    """
    name = next((part for part in parts if part in sample.parts), None)
    if name is None:
        raise SampleError(
            f"{sample.id} has no text; its parts are {sorted(sample.parts)}",
            hint=f"the text decoder looks for {', '.join(parts)}; set its 'parts'",
        )
    data, where = sample.parts[name], f"{sample.id}.{name}"
    if len(data) > max_bytes:
        raise SampleError(f"{where} has {len(data):,} bytes, more than max_bytes {max_bytes:,}")
    if not name.endswith("json"):
        if len(fields) > 1:
            raise SampleError(f"{where} is plain text, so it has no fields {', '.join(fields)}")
        texts = [decode_utf8(data, where)]
    else:
        record = read_record(data, where)
        texts = [_field(record, field, where) for field in fields]
    cleaned = [clean(text, form) for text in texts]
    for field, text in zip(fields, cleaned, strict=True):
        if not text.strip():
            raise SampleError(f"{where}: the text of '{field}' is empty")
    return cleaned


def stored_words(sample: Sample, field: str, *, form: Form = "NFC", max_bytes: int = 1 << 26) -> list[str]:
    """The cleaned words of a sample's JSON part: ``field`` is a list of texts, one for each word, without line ends.

    Raises SampleError.
    """
    name = next((part for part in sample.parts if part.endswith("json")), None)
    if name is None:
        raise SampleError(f"{sample.id} has no JSON, so it has no list of words in '{field}'")
    data, where = sample.parts[name], f"{sample.id}.{name}"
    if len(data) > max_bytes:
        raise SampleError(f"{where} has {len(data):,} bytes, more than max_bytes {max_bytes:,}")
    value: Any = read_record(data, where)
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise SampleError(f"{where}: field '{field}' is no list of words but a {type(value).__name__}")
    words = [clean(word, form).replace("\n", " ") for word in value]
    if not any(word.strip() for word in words):
        raise SampleError(f"{where}: the words of '{field}' are empty")
    return words


def read_record(data: bytes, where: str) -> Mapping[str, Any]:
    """A JSON object. Raises SampleError."""
    try:
        record = json.loads(decode_utf8(data, where))
    except ValueError as error:
        raise SampleError(f"{where} is no JSON: {error}") from None
    if not isinstance(record, dict):
        raise SampleError(f"{where} is no JSON object but a {type(record).__name__}")
    return record


def _field(record: Mapping[str, Any], field: str, where: str) -> str:
    """A dotted field: a text, or a list of texts (paragraphs, sentences), one a line."""
    value: Any = record
    for name in field.split("."):
        if not isinstance(value, Mapping) or name not in value:
            known = list(value) if isinstance(value, Mapping) else []
            raise SampleError(f"{where} has no field '{field}'{did_you_mean(name, known)}; it has {known}")
        value = value[name]
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        raise SampleError(f"{where}: field '{field}' is no text but a {type(value).__name__}")
    return value
