"""Captions and splits of clip art: what a drawing is called, which are one series, and that no file stops the rest."""

from __future__ import annotations

import io
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TOOLS = Path(__file__).parents[3] / "tools"
SVG = """<svg><metadata><rdf:RDF><cc:Work rdf:about=""><dc:title>{title}</dc:title><dc:subject><rdf:Bag>{words}
</rdf:Bag></dc:subject><dc:publisher><cc:Agent><dc:title>a library</dc:title></cc:Agent></dc:publisher><dc:creator>
<cc:Agent><dc:title>{maker}</dc:title></cc:Agent></dc:creator></cc:Work></rdf:RDF></metadata><title>inside</title></svg>"""


@pytest.fixture(scope="module")
def tools():
    """The modules ``clipart`` and ``fetch_clipart``, which lie beside each other and in no package."""
    sys.path.insert(0, str(TOOLS))
    try:
        import clipart
        import fetch_clipart

        yield clipart, fetch_clipart
    finally:
        sys.path.remove(str(TOOLS))


def card(clipart, file, title, *words, maker="A Maker"):
    bag = "".join(f"<rdf:li>{word}</rdf:li>" for word in words)
    return clipart.read_card(file, SVG.format(title=title, words=bag, maker=maker))


def test_names_come_from_titles_and_from_files_where_titles_are_a_collections(tools):
    clipart = tools[0]
    files = [f"shapes/jigsaw_blue_{number:02d}.svg" for number in range(10)]
    ten = [card(clipart, file, "Clipart by N B - jigsaw_red_10", "shape") for file in files]
    rest = [
        card(clipart, "animals/ant_a_maker_01.svg", "Fire Ant &amp; co", "", "Insect", "hash(0x1)", "a maker", "ant"),
        card(clipart, "animals/bear.svg", "A Maker", "mammal"),
        card(clipart, "food/pear.svg", "some@body.org"),
        card(clipart, "shapes/star_1.svg", "gramastar", "magick"),
        card(clipart, "computer/icons/flat-theme/x.svg", "Flat Icons"),
        card(clipart, "unsorted/thing.svg", "Thing"),
        card(clipart, "shapes/1.svg", "2"),
    ]
    dropped = Counter()
    made = {one.card.file: one for one in clipart.named([*ten, *rest], dropped)}
    assert made["shapes/jigsaw_blue_03.svg"].caption == "jigsaw blue, shape"
    assert {made[one.file].key for one in ten} == {"jigsaw"}
    assert made["animals/ant_a_maker_01.svg"].caption == "fire ant co, insect"
    assert (made["animals/bear.svg"].name, made["food/pear.svg"].caption) == ("bear", "pear")
    assert made["animals/bear.svg"].card.folder == "animals"
    assert sum(dropped.values()) == 4
    assert dropped["no name"] == 1


def picture(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


def test_a_picture_that_cannot_be_seen_is_counted_and_the_rest_goes_on(tools, tmp_path):
    clipart, fetch = tools
    rng = np.random.default_rng(0)
    one = np.full((40, 90, 4), 255, np.uint8)
    one[10:30, 5:85, :3] = rng.integers(0, 255, (20, 80, 3))
    picture(tmp_path / "good.png", one)
    picture(tmp_path / "twice.png", one)
    picture(tmp_path / "empty.png", np.zeros((40, 40, 4), np.uint8))
    picture(tmp_path / "black.png", np.zeros((40, 40, 3), np.uint8))
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bent.png").write_bytes(whole[:60] + bytes(40) + whole[100:])
    (tmp_path / "none.png").write_bytes(b"")
    names = ("good", "twice", "empty", "black", "cut", "bent", "none", "absent")
    said = [clipart.Named(card(clipart, f"{name}.svg", name), name, name, name) for name in names]
    dropped = Counter()
    (kept,) = fetch.look(tmp_path, 32, said, dropped)
    assert dropped == {"another looks the same": 1, "empty": 1, "black": 1, "unreadable": 3, "no picture": 1}
    page = np.asarray(Image.open(io.BytesIO(kept.webp)).convert("RGB"))
    assert page.shape == (32, 32, 3)
    assert page[:8].min() > 240  # paper above, ink from side to side
    assert page[16].min(1).max() < 255


def test_a_series_and_what_looks_alike_are_on_one_side(tools):
    clipart, fetch = tools
    rng = np.random.default_rng(0)
    made = []
    for number in range(120):
        letters = "".join("abcdefghij"[int(digit)] for digit in f"{number // 3:02d}")
        name = f"thing{letters} {('red', 'blue', 'left')[number % 3]} {number}"
        said = clipart.named([card(clipart, f"a/{name}.svg", name)], Counter())[0]
        made.append(fetch.Drawing(said.card, said, b"", rng.uniform(0, 255, (8, 8, 3)).astype(np.float32)))
    assert made[0].said.key == made[1].said.key
    made[119] = fetch.Drawing(made[119].card, made[119].said, b"", made[0].thumb + 1)
    sides = fetch.sides(made)
    assert all(len(set(sides[at : at + 3])) == 1 for at in range(0, 120, 3))
    assert sides[119] == sides[0]
    assert 0.05 < sides.count("val") / len(sides) < 0.5
