"""The conformance kit, and the laws every masker keeps."""

from __future__ import annotations

from mmask_example.gap import GapMasker

from mmask.testing import MaskerLaws, check_plugin


def test_the_plugin_conforms():
    check_plugin("example")


class TestGapMasker(MaskerLaws):
    def make(self) -> GapMasker:
        return GapMasker(ratio=0.5)

    def test_the_gap_is_one_run(self):
        plan = self.make().plan(self.layout(), self.keys())
        for row in plan.hidden:
            places = row.nonzero().flatten().tolist()
            assert places == list(range(places[0], places[-1] + 1))
