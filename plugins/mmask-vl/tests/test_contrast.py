"""The contrast objective: who is compared with whom, alone and over ranks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import distributed as dist

from mmask.api import Encoded, Layout, RecipeError
from mmask.testing import on_ranks
from mmask_vl.contrast import Contrast, ContrastLoss, pooled


def scene_of(**sides):
    count = len(next(iter(sides.values())).pooled)
    return SimpleNamespace(batch=range(count), encode=lambda network, view: sides[network])


def state(rows):
    return Encoded(Layout(len(rows), 1), pooled=rows)


SECTION = SimpleNamespace(network="left", view="clean", weight=2.0)
NETWORKS = {"left": SimpleNamespace(width=6), "right": SimpleNamespace(width=4)}


def test_the_term_counts_pairs_and_both_sides_get_gradients():
    made = Contrast(name="c", section=SECTION, networks=NETWORKS, second={"network": "right"}, dim=3)
    left, right = torch.randn(5, 6, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    losses = made(scene_of(left=state(left), right=state(right)))
    term = losses.terms["c"]
    assert term.count == 5 and term.weight == 2.0 and made.coupling == "global"
    losses.total().backward()
    assert left.grad.abs().sum() > 0 and right.grad.abs().sum() > 0 and made.loss.scale.grad is not None


def test_a_scale_at_its_bound_can_come_back():
    loss = ContrastLoss(scale=9.0)
    vectors = torch.eye(3, 4)
    loss(vectors, vectors.roll(1, 0))[0].backward()  # all wrong: a smaller scale is better
    assert loss.factor().item() == pytest.approx(100.0, rel=1e-5) and loss.scale.grad.item() > 0
    frozen = ContrastLoss(scale=9.0).eval()
    frozen(vectors, vectors)
    assert frozen.scale.item() == 9.0


def test_equal_sides_are_told_apart_and_the_scale_stays_below_its_bound():
    loss = ContrastLoss(scale=9.0)
    assert loss.factor().item() == pytest.approx(100.0)
    total, right = loss(torch.eye(4), torch.eye(4))
    assert right == 4 and total.item() == pytest.approx(0.0, abs=1e-6)
    torch.testing.assert_close(ContrastLoss().factor(), torch.tensor([1 / 0.07]))


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_who_finds_all_equally_near_has_the_trivial_loss(kind):
    made = Contrast(name="c", section=SECTION, networks=NETWORKS, second={"network": "right"}, dim=3, kind=kind)
    told = made.trivial(SimpleNamespace(batch=range(8))).terms["c"]
    same = torch.ones(8, 3)
    losses = []
    for bias in torch.linspace(-6, 6, 1201).tolist() if kind == "sigmoid" else [0.0]:
        loss = ContrastLoss(kind=kind, scale=-30.0, bias=bias)
        losses.append(loss(same, same)[0].item() / 8)
    assert told.mean().item() == pytest.approx(min(losses), rel=1e-4) and told.count == 8


def test_sides_that_are_the_same_or_unknown_or_do_not_meet_are_refused():
    for options, said in (({}, "with itself"), ({"second": {"network": "none"}}, "a side is"),
                          ({"second": {"network": "right"}, "dim": None}, "need a dim")):
        with pytest.raises(RecipeError, match=said):
            Contrast(name="c", section=SECTION, networks=NETWORKS, **options)


def test_a_network_that_pools_nothing_gives_the_mean_of_its_valid_places():
    states = torch.tensor([[[1.0], [3.0], [100.0]]])
    layout = Layout(1, 3, valid=torch.tensor([[True, True, False]]))
    assert pooled(Encoded(layout, states)).item() == 2.0


def _rank(rank, kind, data, out):
    loss = ContrastLoss(kind=kind).double()
    rows = slice(rank * 3, rank * 3 + 3)
    first, second = (x[rows].clone().requires_grad_() for x in data)
    total, _ = loss(first, second)
    total.backward()
    dist.all_reduce(total.data)
    dist.all_reduce(loss.scale.grad)
    torch.save([total.detach(), first.grad, second.grad, loss.scale.grad], f"{out}.{rank}")


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_two_ranks_have_the_loss_and_the_gradients_of_one(tmp_path, kind):
    torch.manual_seed(0)
    data = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    whole = ContrastLoss(kind=kind).double()
    first, second = (x.clone().requires_grad_() for x in data)
    total, _ = whole(first, second)
    total.backward()
    on_ranks(_rank, kind, data, str(tmp_path / "out"))
    parts = [torch.load(f"{tmp_path / 'out'}.{rank}", weights_only=True) for rank in (0, 1)]
    torch.testing.assert_close(parts[0][0], total.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.cat([p[1] for p in parts]), first.grad, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(torch.cat([p[2] for p in parts]), second.grad, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(parts[0][3], whole.scale.grad, rtol=1e-10, atol=1e-14)
