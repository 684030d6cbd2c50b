"""What drawings of the Open Clip Art Library say of themselves, and how that becomes captions."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

COLLECTION = 10  # pictures with one title: it names their collection, and the file's name says what each is
SPLIT = re.compile(r"[\W_]+")
BY = re.compile(r"^clip ?art by [^-]+ - ", re.I)
JUNK = re.compile(r"hash|http|0x|[@\d]|unsorted|clip[ _]?art|theme", re.I)
VARIANTS = frozenset(  # words by which drawings of one series differ
    SPLIT.split(
        "red orange yellow green cyan blue purple violet pink brown black white grey gray gold silver dark light bw "
        "color colour colored coloured left right up down top bottom small large big new old simple and the with"
    )
)
LEFT_OUT = {
    "a star of a script": lambda card: "magick" in card.keywords,
    "an icon of a theme": lambda card: "-theme" in card.file or "theme" in card.keywords,
    "in no folder": lambda card: card.folder == "unsorted",
}


@dataclass(frozen=True)
class Card:
    """file: below the package's folder. title, maker: "" where it has none."""

    file: str
    title: str
    maker: str
    keywords: tuple[str, ...]

    @property
    def folder(self) -> str:
        """What it is filed under, in words."""
        return self.file.partition("/")[0].replace("_", " ")


@dataclass(frozen=True)
class Named:
    """name: what it is called. caption: and its keywords. key: of the series that it belongs to."""

    card: Card
    name: str
    caption: str
    key: str


def read_card(file: str, svg: str) -> Card:
    """The RDF metadata of an SVG."""
    data = _first(r"<metadata.*?</metadata>", svg, whole=True)
    subject, creator = (_first(rf"<dc:{part}>(.*?)</dc:{part}>", data) for part in ("subject", "creator"))
    keywords = (_plain(one).lower() for one in re.findall(r"<rdf:li[^>]*>(.*?)</rdf:li>", subject, re.S))
    title = _plain(_first(r"<dc:title[^>]*>(.*?)</dc:title>", data))
    return Card(file, title, _plain(_first(r"<dc:title[^>]*>(.*?)</dc:title>", creator)),
                tuple(dict.fromkeys(one for one in keywords if one)))


def named(cards: Sequence[Card], dropped: Counter[str]) -> list[Named]:
    """Those that can be told from others by what they are called; ``dropped`` counts the rest by reason."""
    kept = []
    for card in cards:
        why = next((reason for reason, holds in LEFT_OUT.items() if holds(card)), "")
        if why:
            dropped[why] += 1
        else:
            kept.append(card)
    count = Counter(card.title for card in kept)
    made = []
    for card in kept:
        name = _name(card, count[card.title])
        if not name:
            dropped["no name"] += 1
            continue
        rest = [word for word in _keywords(card) if word not in name.split()]
        key = " ".join(word for word in name.split() if word not in VARIANTS) or name
        made.append(Named(card, name, ", ".join([name, *rest]), key))
    return made


def _name(card: Card, alike: int) -> str:
    """Words of the title, or of the file where the title is a collection's, its maker's or none."""
    title, file = _words(BY.sub("", card.title)), _words(card.file.rpartition("/")[2].removesuffix(".svg"))
    own = card.title and "@" not in card.title and title != _words(card.maker)
    if own and (alike < COLLECTION or file[: len(title)] == title):
        return " ".join(title)
    telling = any(len(word) > 2 for word in file)
    return " ".join(file if telling else title if own else [])


def _keywords(card: Card) -> list[str]:
    maker = _words(card.maker)
    told = [" ".join(_words(one)) for one in card.keywords if not JUNK.search(one) and _words(one) != maker]
    return list(dict.fromkeys(one for one in told if one))


def _words(text: str) -> list[str]:
    """In lower case, without numbers and single letters."""
    found = (re.sub(r"\d+", "", word) for word in SPLIT.split(text.lower()))
    return [word for word in found if len(word) > 1]


def _plain(text: str) -> str:
    return " ".join(html.unescape(text).split())


def _first(pattern: str, text: str, *, whole: bool = False) -> str:
    found = re.search(pattern, text, re.S)
    return "" if found is None else found.group(0 if whole else 1)
