"""Arrays in shards -> regions of a batch, and what hides or exchanges them."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mmask.api import Batch, Layout, MaskPlan, RecipeError, Sample, SampleError, SampleId, Scored, View, partners
from mmask_vl.hide_regions import HideRegions
from mmask_vl.region_decode import RegionDecoder
from mmask_vl.region_targets import RegionClasses
from mmask_vl.region_tokens import RegionTokenizer, box_code


def stored(count=5, *, dim=6, classes=4, **changed) -> Sample:
    rng = np.random.default_rng(count)
    corners = np.sort(rng.random((count, 2, 2)), 1).reshape(count, 4)
    arrays = {
        "features": rng.standard_normal((count, dim)).astype(np.float16), "boxes": corners.astype(np.float32),
        "classes": rng.dirichlet(np.ones(classes), count), "confidence": np.linspace(0.1, 0.9, count), **changed,
    }
    to = io.BytesIO()
    np.savez(to, **{name: value for name, value in arrays.items() if value is not None})
    return Sample(SampleId("s", "t.tar", "a"), {"npz": to.getvalue()})


def test_regions_come_surest_first_and_unsure_ones_go():
    made = RegionDecoder(threshold=0.4, least=1)(stored(5), None)  # 0.1 0.3 0.5 0.7 0.9
    assert made["regions.confidence"].tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert made["regions"].shape == (3, 6) and made["regions"].dtype == np.float32
    assert made["regions.box"].shape == (3, 4) and made["regions.class"].shape == (3, 4)
    assert len(RegionDecoder(threshold=0.95, least=2)(stored(5), None)["regions"]) == 2
    assert len(RegionDecoder(most=4)(stored(5), None)["regions"]) == 4


def test_the_picture_itself_is_read_for_figures_and_stretched_so_that_boxes_lie_right():
    to = io.BytesIO()
    picture = Image.new("RGB", (80, 20), (255, 255, 255))
    picture.paste((200, 0, 0), (40, 0, 80, 20))
    picture.save(to, "png")
    sample = stored(3)
    with pytest.raises(SampleError, match="no picture") as told:
        RegionDecoder(picture=16)(sample, None)
    assert "--keep-pictures" in told.value.hint
    made = RegionDecoder(picture=16)(Sample(sample.id, {**sample.parts, "png": to.getvalue()}), None)
    image = made["regions.image"]
    assert image.shape == (3, 16, 16) and image.dtype == np.uint8
    assert image[1, :, :6].min() > 240 and image[1, :, 10:].max() < 20
    batch = Batch({name: torch.as_tensor(value)[None] for name, value in made.items()},
                  np.zeros(1, np.uint64), np.zeros(1, np.int64))
    assert RegionTokenizer(dim=6).show(batch, 0, tile=16)[8, 12].tolist() == pytest.approx([200, 0, 0], abs=3)


def test_the_same_picture_has_the_same_number_and_another_another():
    decode = RegionDecoder()
    first, again, other = (decode(stored(n), None)["regions.picture"] for n in (5, 5, 4))
    assert first == again != other


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"features": None}, "no array 'features'"),
        ({"boxes": np.zeros((4, 4))}, "4 rows of 'boxes' to 5"),
        ({"boxes": np.full((5, 4), 30.0)}, "corners reach"),
        ({"features": np.full((5, 6), np.nan)}, "not finite"),
        ({"features": np.array([object()] * 5)}, "no arrays can be read"),
        ({"features": np.zeros((5, 6, 2))}, "not one row"),
    ],
)
def test_what_cannot_be_used_is_told(changed, said):
    with pytest.raises(SampleError, match=said):
        RegionDecoder()(stored(5, **changed), None)


def test_a_part_that_is_no_archive_or_too_large_is_refused():
    with pytest.raises(SampleError, match="no arrays can be read"):
        RegionDecoder()(Sample(SampleId("s", "t", "a"), {"npz": b"PK\x03\x04 not really"}), None)
    with pytest.raises(SampleError, match="max_bytes"):
        RegionDecoder(max_bytes=100)(stored(5), None)
    with pytest.raises(SampleError, match="has no part"):
        RegionDecoder(part="regions.npz")(stored(5), None)


def test_pixels_become_shares_where_the_size_is_stored():
    boxes = np.array([[0, 0, 50, 20], [10, 10, 100, 40]], np.float32)
    made = RegionDecoder(confidence="", classes="")(stored(2, boxes=boxes, size=np.array([100, 40])), None)
    np.testing.assert_allclose(made["regions.box"], [[0, 0, 0.5, 0.5], [0.1, 0.25, 1, 1]])
    assert "regions.confidence" not in made and "regions.class" not in made


def test_codes_of_boxes():
    boxes = torch.tensor([[0.1, 0.2, 0.5, 0.4]])
    torch.testing.assert_close(box_code(boxes, 7), torch.tensor([[0.1, 0.2, 0.5, 0.4, 0.4, 0.2, 0.08]]))
    torch.testing.assert_close(box_code(boxes, 5), torch.tensor([[0.1, 0.2, 0.5, 0.4, 0.08]]))
    seven = torch.rand(3, 7)
    assert box_code(seven, 7) is seven and torch.equal(box_code(seven, 4), seven[:, :4])
    with pytest.raises(RecipeError, match="code"):
        RegionTokenizer(code=6)


def batch_of(count=4, regions=5, dim=6, pictures=None) -> Batch:
    torch.manual_seed(0)
    fields = {
        "regions": torch.randn(count, regions, dim), "regions.box": torch.rand(count, regions, 4),
        "regions.length": torch.arange(count) % regions + 1,
    }
    if pictures is not None:
        fields["regions.picture"] = torch.tensor(pictures)
    return Batch(fields, np.arange(count, dtype=np.uint64), np.zeros(count, np.int64))


def test_hidden_regions_are_zero_and_their_boxes_stay():
    tokenizer = RegionTokenizer(dim=6)
    batch = batch_of()
    batch["regions"][3, 0, 0] = torch.nan
    tokens = tokenizer(batch)
    hidden = torch.zeros(4, 5, dtype=torch.bool)
    hidden[:, 0] = True
    plan = MaskPlan.of_hidden(tokens.layout, hidden)
    made = HideRegions(tokenizers={"regions": tokenizer})(View("v", {"regions": tokens}), "regions", plan, None)
    features, boxes = tokenizer.split(made.values)
    assert not features[hidden].any() and torch.equal(features[~hidden], tokenizer.split(tokens.values)[0][~hidden])
    assert torch.equal(boxes, tokenizer.split(tokens.values)[1])
    assert torch.equal(made.replaced, hidden)


def test_features_of_another_size_are_refused_with_the_key_to_set():
    with pytest.raises(RecipeError, match="takes"):
        RegionTokenizer(dim=7).layout(batch_of())


def test_partners_are_of_the_group_never_of_the_same_picture_and_as_many_as_asked():
    count = 4000
    batch = batch_of(8)
    pictures = torch.arange(count) // 2 * 2  # neighbours show the same
    many = Batch({}, np.arange(count, dtype=np.uint64), np.zeros(count, np.int64))
    found = partners(many.keys(3), pictures, group=4, share=0.5)
    here = torch.arange(count)
    swapped = found != here
    assert torch.equal(found // 4, here // 4)
    assert bool((pictures[found[swapped]] != pictures[swapped]).all())
    assert swapped.float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert torch.equal(found, partners(many.keys(3), pictures, group=4, share=0.5))
    alike = partners(batch.keys(3), torch.zeros(8, dtype=torch.int64), group=4, share=1.0)
    assert torch.equal(alike, torch.arange(8))


def test_a_last_smaller_group_pairs_inside_and_a_lone_sample_keeps_its_picture():
    batch = batch_of(7)
    found = partners(batch.keys(0), torch.arange(7), group=3, share=1.0)
    assert (found[:6] != torch.arange(6)).all() and found[6] == 6


def test_hard_classes_are_never_the_background_and_soft_ones_are_as_stored():
    shares = torch.tensor([[[0.9, 0.02, 0.08], [0.1, 0.6, 0.3]]])
    scene = SimpleNamespace(batch=Batch({"regions.class": shares}, np.zeros(1, np.uint64), np.zeros(1, np.int64)))
    scored = Scored(Layout(1, 2))
    assert RegionClasses(classes=3, kind="hard")(scene, scored).value.tolist() == [2, 1]
    assert RegionClasses(classes=3, kind="hard", background=None)(scene, scored).value.tolist() == [0, 1]
    assert torch.equal(RegionClasses(classes=3)(scene, scored).value, shares[0])
