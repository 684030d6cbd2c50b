"""Retrieval: ranks, recalls, equal sides, chunks and fine-tuning, on a pair of streams that anyone could write."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mmask.api import Batch, Layout, Losses, PairScorer, RecipeError, Term, Tokens, UsageError
from mmask.evaluate.gallery import draw_gallery
from mmask.evaluate.matrix import ranks, read_sides, recalls, score_matrix, scorer_of
from mmask.evaluate.retrieval import Retrieval, matrix_loss
from mmask.evaluate.zeroshot import ZeroShot, said_of
from mmask.train.model import MaskedModel
from mmask.train.pairs import Belongs, every_pair


class Rows:
    """A stream of rows of numbers, shown as text or as a picture."""

    def __init__(self, field: str, picture: bool) -> None:
        self.field, self.picture = field, picture

    def layout(self, batch: Batch) -> Layout:
        return Layout(*batch[self.field].shape[:2])

    def __call__(self, batch: Batch) -> Tokens:
        return Tokens(self.layout(batch), values=batch[self.field])

    def show(self, batch: Batch, row: int):
        value = float(batch[self.field][row, 0, 0])
        return np.full((8, 8, 3), round(value) % 256, np.uint8) if self.picture else f"number {value:.0f}"


class Nearness(nn.Module):
    """A third party's objective: minus the distance of two projected means."""

    coupling, sides = "none", ("left", "right")

    def __init__(self) -> None:
        super().__init__()
        self.name, self.turn = "near", nn.Linear(3, 3, bias=False)
        nn.init.eye_(self.turn.weight)

    def denominators(self, plans):
        return {"near": 1.0}

    def forward(self, scene):
        return Losses({"near": Term(self.turn.weight.sum() * 0, 1.0)})

    def side(self, scene, stream):
        states = scene.view("clean").tokens[stream].values
        return {"states": states, "valid": torch.ones(states.shape[:2], dtype=torch.bool)}

    def pair_scores(self, model, first, second):
        one, two = (self._mean(half) for half in (first, second))
        return -torch.cdist(self.turn(one), two)

    @staticmethod
    def _mean(half):
        kept = half["valid"][..., None]
        return (half["states"] * kept).sum(1) / kept.sum(1)


def model_of(**more) -> MaskedModel:
    return MaskedModel(
        tokenizers={"left": Rows("left", False), "right": Rows("right", True)}, maskers={}, views={},
        networks={"encoder": nn.Identity()}, objectives={"near": Nearness(), **more},
    )


class Given:
    """Samples whose right side is the left side with noise, in batches of unlike lengths."""

    def __init__(self, model, left, right, size=4):
        self.model, self.left, self.right, self.size, self.copies = model, left, right, size, 0

    def __len__(self):
        return len(self.left)

    def stored(self, count):
        for start in range(0, count, self.size):
            left, right = (x[start : start + self.size] for x in (self.left, self.right))
            left = torch.cat([left] * (2 if start else 1), 1)  # the mean is the same, the length is not
            ids = np.arange(start, start + len(left), dtype=np.uint64)
            yield Batch({"left": left, "right": right}, ids, np.zeros(len(left), np.int64))

    def fresh(self):
        self.copies += 1
        return model_of()

    def fitted(self):
        return len(self.left)

    def train(self, *, batch, epochs, seed):
        self.size = batch
        for _ in range(epochs):
            yield from self.stored(len(self))


def samples(count=10, noise=0.0, seed=0):
    left = torch.randn(count, 2, 3, generator=torch.Generator().manual_seed(seed)) * 10
    return left, left + noise * torch.randn(left.shape, generator=torch.Generator().manual_seed(seed + 1))


def test_what_belongs_is_found_and_the_gallery_is_drawn():
    model = model_of()
    assert isinstance(model.objectives["near"], PairScorer)
    judged = Retrieval(chunk=7, gallery=3, shown=4)(Given(model, *samples()), seed=0)
    assert judged.numbers == {
        "recall": 1.0, **{f"{side}_r{k}": 1.0 for side in ("left", "right") for k in (1, 5, 10)},
        "left_median": 1.0, "right_median": 1.0,
    }
    assert next(iter(judged.numbers)) == "recall" and judged.about["compared"] == {"left": 10, "right": 10}
    assert judged.about["chance"]["left_r5"] == pytest.approx(0.5)
    assert set(judged.pictures) == {"left", "right"}
    for image in judged.pictures.values():
        assert image.dtype == np.uint8 and image.ndim == 3 and image.std() > 0


@pytest.mark.filterwarnings("error")
def test_long_texts_in_a_gallery_are_cut_and_move_no_cell():
    picture = np.full((8, 8, 3), 200, np.uint8)
    drawn = [
        draw_gallery([text, picture], [[text, text], [picture, text]], [[False, True], [True, False]], [2, 1])
        for text in ("a bird", "WWWWWWWWWWWWWWWWWW and a very long text of many words, " * 20)
    ]
    assert drawn[0].shape == drawn[1].shape
    frames = [(one == np.array([44, 160, 44])).all(-1) for one in drawn]  # green, around right answers
    assert (frames[0] == frames[1]).mean() > 0.999
    assert frames[0].any()


def test_chunks_and_batches_change_no_score():
    model, given = model_of(), samples(noise=5.0)
    scorer, device = model.objectives["near"], torch.device("cpu")
    whole = score_matrix(
        model, scorer, read_sides(model, scorer, Given(model, *given).stored(10)), chunk=1000, device=device
    )
    for size, chunk in ((3, 1), (10, 7), (4, 30)):
        sides = read_sides(model, scorer, Given(model, *given, size=size).stored(10))
        torch.testing.assert_close(score_matrix(model, scorer, sides, chunk=chunk, device=device), whole)


def test_equal_sides_are_one_and_every_right_answer_counts():
    left, right = samples(6)
    left[3] = left[1]  # the same caption for two pictures
    right[5] = right[4]  # two captions of one picture
    model = model_of()
    sides = read_sides(model, model.objectives["near"], Given(model, left, right, size=8).stored(6))
    assert sides.belongs.shape == (5, 5) and int(sides.belongs.sum()) == 6
    assert sides.belongs[1].sum() == 2 and sides.belongs[:, 4].sum() == 2
    assert sides.rows == ([0, 1, 2, 4, 5], [0, 1, 2, 3, 4])


def test_ranks_count_ties_half_and_take_the_best_right_one():
    scores = torch.tensor([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [5.0, 4.0, 9.0]])
    belongs = torch.tensor([[False, True, False], [True, False, False], [True, True, False]])
    assert ranks(scores, belongs).tolist() == [2.0, 2.0, 2.0]
    assert recalls(torch.tensor([1.0, 3.0, 11.0, 2.0]), "q", (1, 5, 10)) == {
        "q_r1": 0.25, "q_r5": 0.75, "q_r10": 0.75, "q_median": 2.0,
    }


def test_scores_that_say_nothing_are_worth_what_chance_is_worth():
    class Silent(Nearness):
        def pair_scores(self, model, first, second):
            return torch.zeros(len(first["states"]), len(second["states"]))

    model = model_of()
    model.objectives["near"] = Silent()
    judged = Retrieval(gallery=0)(Given(model, *samples(40)), seed=0)
    assert judged.numbers["left_r1"] == 0 and judged.numbers["left_median"] == 20.5 and not judged.pictures


def test_fine_tuning_starts_afresh_for_every_seed_and_learns_what_belongs():
    left, right = samples(24)
    right = right[..., [1, 2, 0]]  # what the start does not know
    judge, given = Retrieval(epochs=30, batch=8, lr=0.05, gallery=0), Given(model_of(), left, right)
    before = Retrieval(gallery=0)(given, seed=0).numbers["recall"]
    first, second, third = (judge(given, seed=seed) for seed in (0, 0, 1))
    assert before < 0.6 < first.numbers["recall"]
    assert given.copies == 3 and first.numbers == second.numbers
    assert torch.equal(given.model.objectives["near"].turn.weight, torch.eye(3))
    assert third.about["last_loss"] < 1.0


def test_other_right_answers_of_a_batch_are_no_wrong_ones():
    model = model_of()
    left, right = samples(4)
    left[1], right[1] = left[0], right[0]
    batch = next(Given(model, left, right).stored(4))
    assert matrix_loss(model, model.objectives["near"], batch) < 1e-3


def test_who_scores_pairs_is_named():
    model = model_of(far=Nearness())
    with pytest.raises(UsageError, match="near"):
        scorer_of(model)
    assert scorer_of(model, "far")[0] == "far"
    with pytest.raises(UsageError, match="did you mean 'far'"):
        scorer_of(model, "fat")
    with pytest.raises(UsageError, match="learn what belongs"):
        scorer_of(SimpleNamespace(objectives={"a": nn.Identity()}))
    with pytest.raises(RecipeError, match="chunk"):
        Retrieval(chunk=0)


def test_belonging_needs_a_network_that_can_be_stopped_between():
    section = SimpleNamespace(network="encoder", view="clean", weight=1.0, taps=[])
    with pytest.raises(RecipeError, match="each side alone"):
        Belongs(name="b", section=section, networks={"encoder": nn.Identity()}, head=None, target=None, loss=None)


def test_every_pair_is_the_second_fastest():
    one, two = every_pair({"a": torch.arange(2)}, {"b": torch.arange(6).view(3, 2)})
    assert one["a"].tolist() == [0, 0, 0, 1, 1, 1] and two["b"][:, 0].tolist() == [0, 2, 4, 0, 2, 4]


def test_numbers_are_no_names_of_classes() -> None:
    with pytest.raises(UsageError, match="classes are numbers") as told:
        ZeroShot()._named(["0", "1", "10"])
    assert "classes.json" in told.value.hint
    assert list(ZeroShot()._named(["0", "seven"])) == ["0", "seven"]


def test_every_class_is_said_in_every_template_whatever_braces_it_has() -> None:
    assert said_of(["cat", "{dog}"], ["a {}", "{} {x} {}"]) == ["a cat", "cat {x} cat", "a {dog}", "{dog} {x} {dog}"]


def test_long_texts_stay_in_their_cell_of_a_gallery() -> None:
    white = np.full((8, 8, 3), 255, np.uint8)
    short, long = (draw_gallery([text], [[white]], [[True]], [1.0]) for text in ("one two", "word " * 300))
    assert short.shape == long.shape
    assert (long[-4:] == 255).all() and (long[:2] == 255).all()
