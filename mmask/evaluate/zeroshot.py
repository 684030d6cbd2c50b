"""zeroshot: classes told by their names, by how well what is said of a class belongs to a sample."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmask.errors import RecipeError, UsageError
from mmask.evaluate.matrix import Sides, device_of, joined, score_matrix, scorer_of
from mmask.evaluate.metrics import metric_values
from mmask.protocols import WholeModel
from mmask.types import Judged

if TYPE_CHECKING:
    from mmask.protocols.pairs import Half


class ZeroShot:
    """Every class is said in ``templates``, and a sample is of the class whose sentences score highest with it.

    Scores are those of the run's matching or contrastive objective (`mmask.api.PairScorer`), the mean over templates.
    The sentences are read as a sample's own text is, in the field ``told`` of its JSON part.

    templates: sentences, or one, with ``{}`` for the name. names: a file with a JSON list of names, in the order of
    class numbers; without it labels are the names. told: the field of texts. side: the stream that is said; the first
    one of the objective by default. objective: by name, where several score pairs. chunk: pairs scored at once.
    """

    wants = "model"

    def __init__(
        self, *, templates: str | Sequence[str] = ("{}",), names: str | None = None, told: str = "caption",
        side: str = "", objective: str = "", chunk: int = 512,
    ) -> None:
        made = [templates] if isinstance(templates, str) else list(templates)
        if not made or any("{}" not in one for one in made) or chunk < 1:
            raise RecipeError(f"zeroshot takes templates with {{}} for the name, and chunk >= 1; got {made}, {chunk}")
        self.templates, self.names, self.told, self.side = made, names, told, side
        self.objective, self.chunk = objective, chunk

    def __call__(self, whole: WholeModel, *, seed: int) -> Judged:
        """``top1``, ``top5`` with more than five classes, and ``balanced``."""
        model = whole.model
        name, scorer = scorer_of(model, self.objective)
        said = self.side or scorer.sides[0]
        if said not in scorer.sides:
            raise UsageError(f"objective '{name}' compares {scorer.sides}; there is no side '{said}'")
        other = scorer.sides[1 - scorer.sides.index(said)]
        classes = self._named(whole.classes())
        texts = said_of(classes, self.templates)
        sentences = _halves(model, scorer, said, whole.rewritten(self.told, texts))
        samples: list[Half] = []
        labels: list[Tensor] = []
        with torch.no_grad():
            for batch in whole.stored(len(whole)):
                samples.append({key: value.cpu() for key, value in scorer.side(model.scene(batch, {}), other).items()})
                labels.append(batch["label"].cpu())
        halves = (sentences, joined(samples)) if said == scorer.sides[0] else (joined(samples), sentences)
        truth = torch.cat(labels)
        shape = (len(texts), len(truth)) if said == scorer.sides[0] else (len(truth), len(texts))
        sides = Sides(halves, ([], []), torch.ones(shape, dtype=torch.bool))
        table = score_matrix(model, scorer, sides, chunk=self.chunk, device=device_of(model))
        table = table if said == scorer.sides[1] else table.T
        scores = table.reshape(len(truth), len(classes), len(self.templates)).mean(2)
        numbers = metric_values((), truth.numpy(), scores.double().numpy(), len(classes))
        return Judged(numbers, {"objective": name, "classes": list(classes), "templates": self.templates})

    def _named(self, classes: Sequence[str]) -> Sequence[str]:
        if self.names is None:
            if all(one.isdecimal() for one in classes):
                raise UsageError(f"classes are numbers ({', '.join(classes[:3])}), which say nothing in a sentence",
                                 hint="names=classes.json, the list that mmask data pack writes beside its shards")
            return classes
        try:
            table = json.loads(Path(self.names).read_text(encoding="utf-8"))
            return [str(table[int(one)]) for one in classes]
        except (OSError, ValueError, IndexError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self.names} gives the classes {', '.join(classes[:5])} no names: {error}",
                hint="it is a JSON list, the name of class 0 first",
            ) from error


def said_of(classes: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Every class in every template; other braces of a sentence stay as they are."""
    return [template.replace("{}", one) for one in classes for template in templates]


@torch.no_grad()
def _halves(model: Any, scorer: Any, stream: str, batches: Any) -> dict[str, Tensor]:
    parts = [scorer.side(model.scene(batch, {}), stream) for batch in batches]
    return joined([{name: value.cpu() for name, value in part.items()} for part in parts])
