"""A dense network on visible cells only: what SparK promises of its encoder, and errors by name."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from mmask.api import RecipeError
from mmask_image.spark.adapter import SparseNet
from mmask_image.spark.cells import Cells
from mmask_image.spark.rules import Rule


def wide(visible: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    side = like.shape[2] // visible.shape[1]
    return visible.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, None].expand_as(like)


def dense_maps(net: nn.Module, paths: tuple[str, ...], image: torch.Tensor) -> list[torch.Tensor]:
    """The outputs of the modules at ``paths`` in the network's own forward pass."""
    found: dict[str, torch.Tensor] = {}
    hooks = [
        net.get_submodule(path).register_forward_hook(lambda m, a, out, path=path: found.update({path: out}))
        for path in paths
    ]
    net(image)
    for hook in hooks:
        hook.remove()
    return [found[path] for path in paths]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("form", ["tiles", "dense"])
def test_with_nothing_hidden_it_is_the_dense_network(net, image, form, training):
    for module in net.modules():  # two passes draw differently
        if hasattr(module, "drop_prob") or type(module).__name__ == "StochasticDepth":
            vars(module).update(drop_prob=0.0, p=0.0)
    net.train(training)
    sparse = SparseNet(net, form=form)
    before = copy.deepcopy(net.state_dict())
    want = dense_maps(net, sparse.maps, image)
    dense_buffers = {name: b.clone() for name, b in net.named_buffers()}
    net.load_state_dict(before)
    got = sparse(image, Cells.where(torch.ones(3, 3, 2, dtype=torch.bool)))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    for name, b in net.named_buffers():
        torch.testing.assert_close(b, dense_buffers[name], rtol=1e-9, atol=1e-9)
    net.load_state_dict(before)
    for a, b in zip(sparse(image), want, strict=True):
        assert torch.equal(a, b)


def test_the_control_is_the_dense_network_on_a_zeroed_picture(net, image, cells, visible):
    sparse = SparseNet(net, form="zeros").eval()
    blanked = torch.where(wide(visible, image), image, torch.zeros_like(image))
    got = sparse(image, cells)
    assert all(torch.equal(a, b) for a, b in zip(got, sparse(blanked), strict=True))
    assert bool((got[-1].abs().sum(1)[~visible] > 0).any())  # unlike SparK, holes get values of their own


@pytest.mark.parametrize("form", ["tiles", "dense"])
def test_hidden_positions_are_exactly_zero_at_every_scale(net, image, cells, visible, form):
    maps = SparseNet(net, form=form).train()(image, cells)
    assert [m.shape[1] for m in maps] == list(SparseNet(net).channels)
    for made in maps:
        assert torch.all(made[~wide(visible, made)] == 0)
        assert torch.any(made[wide(visible, made)] != 0)


@pytest.mark.parametrize("form", ["tiles", "dense"])
def test_hidden_pixels_change_no_value_not_even_a_bit(net, image, cells, visible, form):
    sparse = SparseNet(net, form=form).eval()
    other = torch.where(wide(visible, image), image, 1e3 * torch.randn_like(image))
    other[~wide(visible, image)] += float("nan")
    for a, b in zip(sparse(image, cells), sparse(other, cells), strict=True):
        assert torch.equal(a, b)


def test_tiles_agree_with_the_plain_twin(net, image, cells):
    """Values, gradients and running statistics, with the same draws of stochastic depth."""
    start, found = copy.deepcopy(net.state_dict()), []
    for form in ("tiles", "dense"):
        net.load_state_dict(start)
        net.zero_grad()
        torch.manual_seed(3)
        maps = SparseNet(net, form=form).train()(image, cells)
        slopes = [torch.linspace(-1, 1, m[0].numel(), dtype=m.dtype).view_as(m[0]) for m in maps]
        sum((m * slope).sum() for m, slope in zip(maps, slopes, strict=True)).backward()
        grads = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
        found.append((maps, grads, {name: b.clone() for name, b in net.named_buffers()}))
    (maps, grads, buffers), (plain_maps, plain_grads, plain_buffers) = found
    for a, b in zip(maps, plain_maps, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert grads.keys() == plain_grads.keys()
    assert len(grads) > 10
    for name, grad in grads.items():
        torch.testing.assert_close(grad, plain_grads[name], rtol=1e-7, atol=1e-9, msg=name)
    for name, buffer in buffers.items():
        torch.testing.assert_close(buffer, plain_buffers[name], rtol=1e-9, atol=1e-9)


def test_running_statistics_are_those_of_visible_positions_only(image, cells, visible):
    first = nn.Sequential(nn.Conv2d(3, 4, 2, stride=2, bias=False), nn.BatchNorm2d(4), nn.ReLU()).double()
    net = nn.Sequential(first, nn.Conv2d(4, 4, 2, stride=2, bias=False)).double()
    SparseNet(net, maps=("0", "1")).train()(image, cells)
    conv, norm = first[0], first[1]
    rows = conv(image).permute(0, 2, 3, 1)[visible.repeat_interleave(16, 1).repeat_interleave(16, 2)]
    torch.testing.assert_close(norm.running_mean, 0.1 * rows.mean(0))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * rows.var(0, correction=1))


def test_the_dense_network_is_left_as_it_is(net, image):
    """The same tensors under the same names, so a fresh network with them gives the same logits."""
    names = list(net.state_dict())
    before = net.eval()(image)
    sparse = SparseNet(net)
    assert sparse.net is net
    assert list(sparse.net.state_dict()) == names
    assert {name.removeprefix("net.") for name in sparse.state_dict()} == set(names)
    fresh = copy.deepcopy(net)
    for tensor in fresh.parameters():
        tensor.data.zero_()
    fresh.load_state_dict(sparse.net.state_dict())
    assert torch.equal(fresh.eval()(image), before)
    classifier = ("fc", "head", "classifier")
    assert set(sparse.idle()) == {n for n, _ in net.named_parameters() if n.startswith(classifier)}


def test_calls_share_no_state(net, image, visible):
    """Two models and two choices of cells, interleaved, give what each gives alone."""
    one, two = SparseNet(net).eval(), SparseNet(copy.deepcopy(net), form="dense").eval()
    a, b = Cells.where(visible), Cells.where(visible.flip(0))
    want = [one(image, a), two(image, b), one(image, b)]
    seen = {}
    def nested(module, inputs):
        seen.setdefault("inner", two(image, b))  # a call inside a call

    first = next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d | nn.LayerNorm))
    hook = first.register_forward_pre_hook(nested)
    got = [one(image, a), two(image, b), one(image, b)]
    hook.remove()
    assert "inner" in seen
    for x, y in zip([*got, seen["inner"]], [*want, want[1]], strict=True):
        assert all(torch.equal(m, n) for m, n in zip(x, y, strict=True))


def test_it_compiles_in_one_graph(image, cells):
    torch.manual_seed(0)
    net = timm.create_model("resnet18", num_classes=0, layers=(1, 1, 1, 1), channels=(4, 4, 4, 4)).double()
    sparse = SparseNet(net).eval()
    want = sparse(image, cells)
    got = torch.compile(sparse, backend="eager", fullgraph=True)(image, cells)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize(
    ("name", "options", "place", "kind"),
    [
        ("legacy_seresnet18", {}, "layer1.0.se_module", "SEModule"),
        ("resnet18", {"norm_layer": "groupnorm"}, "bn1", "GroupNorm"),
        ("convnextv2_atto", {}, "stages.0.blocks.0.mlp", "GlobalResponseNormMlp"),
        ("ecaresnet26t", {}, "layer1.0.se", "EcaModule"),
    ],
)
def test_a_layer_that_mixes_cells_is_refused_by_path_type_and_way_out(name, options, place, kind):
    with torch.device("meta"):
        net = timm.create_model(name, pretrained=False, num_classes=0, **options)
    with pytest.raises(RecipeError) as caught:
        SparseNet(net)
    assert f"'{place}' ({kind})" in str(caught.value)
    assert f"rules={{{kind}:" in caught.value.hint


class Pooling(nn.Module):
    def forward(self, x):
        return x * x.mean((2, 3), keepdim=True)


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Position(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(1, 4, 128, 128))

    def forward(self, x):
        return x + self.table


@pytest.mark.parametrize(
    ("layer", "match"),
    [
        (Pooling(), r"'1' \(Pooling\).*'mean'"),
        (Branching(), r"'1' \(Branching\).*cannot be read"),
        (Position(), r"'1.table' \(constant\).*differs between samples or positions"),
        (nn.AdaptiveAvgPool2d(1), r"'1' \(AdaptiveAvgPool2d\).*global pooling"),
        (nn.Conv2d(4, 4, 3), r"'1' \(Conv2d\).*would not become n / 1"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "padding_mode"),
        (nn.MaxPool2d(2, 2, return_indices=True), "return_indices"),
        (nn.LocalResponseNorm(2), r"'1' \(LocalResponseNorm\).*not known"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_is_not_known_to_keep_cells_apart_is_refused(layer, match):
    net = nn.Sequential(nn.Conv2d(3, 4, 2, stride=2), layer, nn.Conv2d(4, 4, 2, stride=2))
    with pytest.raises(RecipeError, match=match):
        SparseNet(net, maps=("0", "2"))


def test_a_rule_of_ones_own_makes_a_layer_known(image, cells, visible):
    class Doubling(nn.Module):
        def forward(self, x):
            return x.reshape(-1).mul(2).reshape(x.shape)

    net = nn.Sequential(nn.Conv2d(3, 4, 2, stride=2), Doubling(), nn.Conv2d(4, 4, 2, stride=2)).double()
    with pytest.raises(RecipeError, match="Doubling"):
        SparseNet(net, maps=("0", "2"))
    rule = Rule(lambda m, x, c, last: m(x), lambda m, x, c, last: m(x))
    nets = [SparseNet(net, maps=("0", "2"), rules={Doubling: rule}, form=form) for form in ("tiles", "dense")]
    fast, plain = (made(image, cells) for made in nets)
    assert all(torch.allclose(a, b) for a, b in zip(fast, plain, strict=True))


def test_pooling_never_sees_holes(image, cells):
    """Max pooling of negative values ignores hidden zeros; the mean divides by what is visible."""
    inside = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
    for pool in (nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1), inside):
        net = nn.Sequential(nn.Conv2d(3, 4, 2, stride=2), pool).double()
        outs = [SparseNet(net, maps=("0", "1"), form=f)(image - 50, cells)[1] for f in ("tiles", "dense")]
        torch.testing.assert_close(outs[0], outs[1])
    inside = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    mean = nn.Sequential(nn.Conv2d(3, 3, 2, stride=2), inside).double()
    nn.init.zeros_(mean[0].weight)
    nn.init.ones_(mean[0].bias)
    flat = SparseNet(mean, maps=("1",))(image, cells)[0]
    torch.testing.assert_close(flat, cells.dense(cells.tiles(torch.ones_like(flat))))


def test_a_network_whose_maps_are_not_known_asks_for_them():
    with pytest.raises(RecipeError, match="maps=") as caught:
        SparseNet(nn.Sequential(nn.Conv2d(3, 4, 2, stride=2)))
    assert "fine to coarse" in str(caught.value)
    with pytest.raises(RecipeError, match="no module 'nowhere'"):
        SparseNet(nn.Sequential(nn.Conv2d(3, 4, 2, stride=2)), maps=("nowhere",))
