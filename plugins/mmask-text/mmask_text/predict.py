"""``mmask predict``: the words that a run puts in place of ``[MASK]``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmask.api import UsageError, load_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmask_text.words import WordModel


@dataclass(frozen=True)
class Guess:
    """One candidate. token: as the vocabulary writes it. text: the whole input with it in place, as read."""

    token: str
    probability: float
    id: int
    text: str


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Candidates for each [MASK].")
@click.option("--objective", default="", metavar="NAME", help="Where a recipe has several word heads [the first].")
@click.option("--device", default="cpu", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def predict(run: Path, texts: Sequence[str], top: int, objective: str, device: str, as_json: bool) -> None:
    """The likeliest words for every [MASK] of each TEXT, with their probabilities.

    \b
    mmask predict RUN "Paris is the [MASK] of France."
    mmask predict RUN "The [MASK] of the [MASK]." --top 3 --json

    Several masks are filled independently of each other, in one pass. ELECTRA answers with its generator.
    """
    from mmask_text.words import WordModel

    model = load_run(run).to(device)
    answers = fill(WordModel(model, objective), texts, top)
    if as_json:
        rows = [
            {"text": text, "masks": [[asdict(guess) for guess in mask] for mask in masks]}
            for text, masks in zip(texts, answers, strict=True)
        ]
        click.echo(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    for text, masks in zip(texts, answers, strict=True):
        click.echo(text)
        for number, mask in enumerate(masks):
            if len(masks) > 1:
                click.echo(f"  [MASK] {number + 1}")
            for guess in mask:
                whole = guess.text if len(masks) == 1 else ""
                click.echo(f"  {guess.probability:7.2%}  {guess.token:<16} {whole}".rstrip())


def fill(words: WordModel, texts: Sequence[str], top: int = 5) -> list[list[list[Guess]]]:
    """For each text, for each mask in it, the ``top`` likeliest pieces. Raises UsageError for a text without a mask,
    or one longer than the network's table of positions."""
    import torch

    vocabulary = words.vocabulary
    ids = [vocabulary.frame(vocabulary.encode(text, special=True))[0] for text in texts]
    for text, one in zip(texts, ids, strict=True):
        if not (one == vocabulary.mask_id).any():
            name = vocabulary.token(vocabulary.mask_id)
            other = f" (or {name})" if name != "[MASK]" else ""
            raise UsageError(f"'{text}' has no [MASK]", hint=f"write [MASK]{other}")
        if words.longest is not None and len(one) > words.longest:
            raise UsageError(f"a text of {len(one)} pieces is longer than the {words.longest} places of this network")
    answers = []
    for one in ids:  # one by one: a shell's texts are few, and padding would change float sums
        tokens = words.tokenizer(words.batch([one]))
        places = torch.as_tensor((one == vocabulary.mask_id).nonzero()[0], device=words.device)
        found = words.logits(tokens, places).softmax(-1).topk(min(top, vocabulary.size))
        answers.append([
            [_guess(words, one, place, int(id), float(share)) for share, id in zip(*pair, strict=True)]
            for place, pair in zip(places.tolist(), zip(*(value.cpu() for value in found), strict=True), strict=True)
        ])
    return answers


def _guess(words: WordModel, ids: object, place: int, id: int, share: float) -> Guess:
    import numpy as np

    vocabulary = words.vocabulary
    filled = np.array(ids)
    filled[place] = id
    framing = [one for one in (vocabulary.cls_id, vocabulary.sep_id) if one is not None]
    kept = [int(one) for at, one in enumerate(filled) if one not in framing or at == place]
    return Guess(vocabulary.token(id), share, id, vocabulary.decode(kept, special=True))
