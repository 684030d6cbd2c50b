"""Where sentences end: a small rule, or one sentence a line."""

from __future__ import annotations

import re

RULES = ("split", "lines")

# A mark that ends a sentence, with the quotes and brackets that close behind it.
_END = re.compile(
    r"""[.!?\u2026]+["'\u2019\u201d\u00bb)\]]*(?=\s)"""
    r"""|[\u3002\uff01\uff1f]+[\u300d\u300f\u201d]*|\n\s*\n"""
)
# What stands before a full stop that ends no sentence: a title, a common short form, an initial, a chain like U.S.
_SHORT = re.compile(
    r"(?:^|[\s(\"'\u201c\u2018])(?:Mr|Mrs|Ms|Dr|Prof|Rev|Hon|Gen|Col|Capt|Lt|Sgt|Gov|Sen|Rep|Messrs|St|Jr|Sr|No|Nos|"
    r"Art|Sec|Vol|Ch|Fig|pp|vs|viz|cf|etc|approx|Inc|Ltd|Co|Corp|e\.g|i\.e|a\.m|p\.m|[A-Z]|(?:[A-Za-z]\.)+[A-Za-z])$"
)
_NEXT = re.compile(r"""\s+["'\u201c\u2018\u00ab(\[\u00bf\u00a1]*([^\W\d_]?)""")


def sentence_spans(text: str, rule: str = "split") -> list[tuple[int, int]]:
    """(start, stop) of each sentence, in characters, without the white space around it; they cover all words.

    rule: ``lines``: one sentence a line. ``split``: a sentence ends at ``.``, ``!``, ``?`` or an ellipsis (with the
    quotes or brackets that close there) before white space, unless a small letter follows or, for a full stop, a title,
    an initial or another common short form stands before it; at the full-width marks of Chinese and Japanese; and at
    an empty line. The rule knows English short forms; text that was split better elsewhere belongs one a line.
    """
    ends = [found.end() for found in re.finditer(r"\n", text)] if rule == "lines" else _ends(text)
    spans, start = [], 0
    for stop in [*ends, len(text)]:
        piece = text[start:stop]
        inner = piece.strip()
        if inner:
            first = start + len(piece) - len(piece.lstrip())
            spans.append((first, first + len(inner)))
        start = stop
    return spans


def _ends(text: str) -> list[int]:
    ends = []
    for found in _END.finditer(text):
        mark = found.group()
        if mark[0] in ".!?\u2026":
            following = _NEXT.match(text, found.end())
            if following and following.group(1).islower():
                continue
            before = text[max(0, found.start() - 24) : found.start()]
            if mark[0] == "." and mark.count(".") == 1 and _SHORT.search(before):
                continue
        ends.append(found.end())
    return ends
