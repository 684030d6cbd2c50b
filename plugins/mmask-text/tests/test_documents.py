"""From stored bytes to ids: cleaning, sentences, faults, and the fields of the decoder."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mmask.api import RecipeError, Sample, SampleError, SampleId, open_source, single
from mmask_text.dataset import speeches
from mmask_text.decode import TextDecoder
from mmask_text.documents import clean
from mmask_text.sentences import sentence_spans

LONG = " ".join(f"This is sentence number {n} of the speech." for n in range(30))


def sample(**parts: Any) -> Sample:
    stored = {name: value if isinstance(value, bytes) else json.dumps(value).encode() for name, value in parts.items()}
    return Sample(SampleId("s", "t.tar", "k"), stored)


def sentences(text: str, rule: str = "split") -> list[str]:
    return [text[start:stop] for start, stop in sentence_spans(text, rule)]


def test_sentences_end_where_a_reader_says_so() -> None:
    cases = {
        "He came. She left! Why? \u201cI know.\u201d (Really.) End": 6,
        "Mr. Smith of the U.S. Senate met J. P. Morgan, i.e. the banker.": 1,
        "It cost $4.50 approx. 10 times. Then... nothing. Wait\u2026 What?": 4,
        "\u65e5\u672c\u8a9e\u3067\u3059\u3002\u6b21\u306e\u6587\u3002": 2,
        "A heading\n\nThen a paragraph\nof two lines. Done.": 3,
        "no mark at all": 1, " \n ": 0,
    }
    for text, count in cases.items():
        found = sentences(text)
        assert len(found) == count, found
        assert "".join("".join(found).split()) == "".join(text.split())
    assert sentences("one. two\n\nthree\n", "lines") == ["one. two", "three"]


def test_cleaning_is_the_stated_policy() -> None:
    assert clean("a\r\nb\rc\u2028d") == "a\nb\nc\nd"
    assert clean("\ufeffa\x00b\x1b[0m\x85c\tD ") == "ab[0m\nc\tD "
    assert clean("e\u0301") == "\u00e9" and clean("e\u0301", "none") == "e\u0301" and clean("\ufb01", "NFKC") == "fi"
    assert clean("a\ud800b") == "ab"


def test_text_is_found_in_txt_and_in_fields() -> None:
    decode = TextDecoder()
    plain = decode(sample(txt=b"the whale"), None)
    assert set(plain) == {"text", "text.word"}
    assert decode.vocabulary.decode(plain["text"], special=True) == "[CLS] the whale [SEP]"
    for made, stored in (
        (decode, {"text": "the whale", "n": 1}), (TextDecoder(field="a.b"), {"a": {"b": "the whale"}}),
        (TextDecoder(field="lines"), {"lines": ["the", "whale"]}),
    ):
        assert made(sample(json=stored), None)["text"].tolist() == plain["text"].tolist()
    assert set(TextDecoder(name="body")(sample(txt=b"x"), None)) == {"body", "body.word"}


@pytest.mark.parametrize(("parts", "what"), [
    ({"txt": b"caf\xe9"}, "no UTF-8: byte 0xe9 at 3"), ({"txt": b" \n\x00"}, "is empty"),
    ({"json": b"{"}, "no JSON"), ({"jpg": b""}, "has no text"),
    ({"json": ["a"]}, "no JSON object"), ({"json": {"txet": "a"}}, "did you mean 'txet'"),
    ({"json": {"text": 5}}, "no text but a int"), ({"txt": b"x" * 200}, "more than max_bytes"),
])
def test_what_cannot_be_used_goes_to_the_ledger(parts: dict[str, Any], what: str) -> None:
    with pytest.raises(SampleError, match=what):
        TextDecoder(max_bytes=100)(sample(**parts), None)


def test_short_documents_are_refused_when_asked() -> None:
    with pytest.raises(SampleError, match=r"2 tokens are fewer than min_tokens 3"):
        TextDecoder(min_tokens=3)(sample(txt=b"the whale"), None)


def test_sentence_numbers_follow_the_rule() -> None:
    made = TextDecoder(sentences="split")(sample(txt=LONG.encode()), None)
    number = made["text.sentence"]
    assert number[0] == number[-1] == -1 and number.shape == made["text"].shape
    stops = made["text"][1:-1] == TextDecoder().vocabulary.encode(".")[0][0]
    assert np.flatnonzero(np.diff(number[1:-1])).tolist() == np.flatnonzero(stops)[:-1].tolist()
    lines = TextDecoder(sentences="lines")(sample(txt=b"a. b\nc"), None)["text.sentence"]
    assert lines.tolist() == [-1, 0, 0, 0, 1, -1]


def test_a_length_cuts_at_the_end_and_a_pair_at_its_longer_text() -> None:
    whole = TextDecoder()(sample(txt=LONG.encode()), None)["text"]
    short = TextDecoder(max_length=12)(sample(txt=LONG.encode()), None)["text"]
    assert short.tolist() == [*whole[:11], whole[-1]]
    both = TextDecoder(second="b", max_length=20)(sample(json={"text": LONG, "b": "the sea"}), None)
    assert len(both["text"]) == 20 and both["text.type"].sum() == 3
    with pytest.raises(RecipeError, match="leaves no room"):
        TextDecoder(max_length=2)


def test_pairs_are_two_segments_cut_at_a_sentence() -> None:
    decode = TextDecoder(pair="next", max_length=64, sentences="split")
    seen = set()
    for visit in range(20):
        made = decode(sample(txt=LONG.encode()), single(1, 2, visit))
        inner = made["text.sentence"] >= 0
        first = made["text.sentence"][inner & (made["text.type"] == 0)]
        second = made["text.sentence"][inner & (made["text.type"] == 1)]
        assert len(made["text"]) == 64 and second.min() == first.max() + 1
        seen.add((len(first), int(made["text"][6])))
    assert len(seen) > 5
    fixed = [decode(sample(txt=LONG.encode()), None)["text"].tolist() for _ in range(2)]
    assert fixed[0] == fixed[1]


def test_order_says_whether_the_halves_were_exchanged() -> None:
    decode = TextDecoder(pair="order")
    whole = decode(sample(txt=LONG.encode()), None)
    assert whole["text.follows"] == 1
    found = []
    for visit in range(40):
        made = decode(sample(txt=LONG.encode()), single(1, 2, visit))
        begins = decode.vocabulary.decode(made["text"]).startswith("this is sentence number 0 ")
        assert begins == bool(made["text.follows"])
        found.append(int(made["text.follows"]))
    assert 8 < sum(found) < 32


def test_short_documents_still_make_pairs() -> None:
    decode = TextDecoder(pair="next", max_length=16)
    for text in (b"one", b"one two", b"One. Two."):
        made = decode(sample(txt=text), single(0, 0, 0))
        assert (made["text.type"] == 1).sum() >= 1 and len(made["text"]) == len(made["text.word"])


@pytest.mark.parametrize("options", [
    {"pair": "nxt"}, {"sentences": "words"}, {"form": "NFD"}, {"pair": "next", "second": "b"}, {"min_tokens": 0},
    {"vocabulary": "nothing"},
])
def test_unfit_options(options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        TextDecoder(**options)


def test_the_sample_shards_decode() -> None:
    decode = TextDecoder()
    source = open_source(speeches()["val"][0])
    lengths = [len(decode(source.read(row), None)["text"]) for row in range(0, len(source), 10)]
    assert 200 < np.mean(lengths) < 600
