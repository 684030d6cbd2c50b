"""Labels of embedded samples, from whatever parts they have."""

from __future__ import annotations

import pytest

from mmask.data.source import Parts
from mmask.train.embed import NO_LABEL, Labels
from mmask.types import Sample, SampleId


@pytest.mark.parametrize(("parts", "label"), [
    ({"cls": b"7"}, 7), ({"json": b'{"label": 3}'}, 3), ({"cls": b"cat"}, NO_LABEL), ({"json": b"{}"}, NO_LABEL),
    ({"npy": b"x"}, NO_LABEL), ({"json": b"[]"}, NO_LABEL),
])
def test_a_sample_without_a_label_is_embedded_all_the_same(parts, label):
    sample = Sample(SampleId("s", "shard", "key"), Parts(parts))
    assert Labels()(sample, None) == {"label": label}
