"""Laws as test classes: inherit, say how the component is made, and pytest runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mmask.keyed import Keys, fold

if TYPE_CHECKING:
    from mmask.types import Layout, MaskPlan


class MaskerLaws:
    """What every masker keeps, whatever it hides.

    ``make`` returns the masker. ``layout`` may be overridden where a masker needs a grid or groups; its
    batch has 6 samples and, for ``padded``, one row of padding in each but the first.
    """

    samples = 6

    def make(self) -> Any:
        """The masker to be tested."""
        raise NotImplementedError("return your masker")

    def layout(self, *, padded: bool = False) -> Layout:
        """16 places on a line; ``padded`` leaves sample i with 16 - i of them, the first one special."""
        import torch

        from mmask.types import Layout

        if not padded:
            return Layout(self.samples, 16, grid=(16,))
        place = torch.arange(16).expand(self.samples, -1)
        valid = place < 16 - torch.arange(self.samples)[:, None]
        return Layout(self.samples, 16, valid=valid, special=place == 0)

    def keys(self, *, seed: int = 0, visit: int = 0) -> Keys:
        """Keys of six samples."""
        ids = np.array([fold("sample", i) for i in range(self.samples)], np.uint64)
        return Keys(seed, ids, np.full(self.samples, visit, np.int64))

    def test_kept_and_hidden_partition_the_valid_places(self) -> None:
        """Every valid place is kept once or hidden, and no padding is either."""
        for padded in (False, True):
            layout = self._layout(padded)
            if layout is None:
                continue
            plan = self.make().plan(layout, self.keys())
            valid = layout.maskable() if layout.special is None else layout.maskable() | layout.special
            for row in range(layout.batch):
                count = plan.keep_idx.shape[1] if plan.keep_count is None else int(plan.keep_count[row])
                kept = plan.keep_idx[row, :count].tolist()
                hidden = plan.hidden[row].nonzero().flatten().tolist()
                assert len(set(kept)) == len(kept), f"sample {row} keeps a place twice"
                assert sorted(kept + hidden) == valid[row].nonzero().flatten().tolist(), f"sample {row}"

    def test_padding_and_special_places_are_never_hidden(self) -> None:
        """Only places of ``layout.maskable()`` are hidden."""
        layout = self._layout(True)
        if layout is not None:
            assert not bool((self.make().plan(layout, self.keys()).hidden & ~layout.maskable()).any())

    def test_the_same_key_gives_the_same_plan(self) -> None:
        """Two maskers of the same options agree, and calls leave no trace."""
        masker = self.make()
        first = masker.plan(self.layout(), self.keys())
        masker.plan(self.layout(), self.keys(seed=1))
        _same(first, masker.plan(self.layout(), self.keys()))
        _same(first, self.make().plan(self.layout(), self.keys()))

    def test_another_seed_or_visit_gives_another_plan(self) -> None:
        """Draws depend on the seed and on the visit."""
        masker, layout = self.make(), self.layout()
        first = masker.plan(layout, self.keys()).hidden
        assert not bool((masker.plan(layout, self.keys(seed=1)).hidden == first).all())
        assert not bool((masker.plan(layout, self.keys(visit=1)).hidden == first).all())

    def test_a_sample_has_the_same_plan_in_any_batch(self) -> None:
        """The plan of a batch is the plans of its samples."""
        masker, layout, keys = self.make(), self.layout(), self.keys()
        whole = masker.plan(layout, keys).hidden
        for row in range(self.samples):
            one = Keys(keys.seed, keys.ids[row : row + 1], keys.visits[row : row + 1])
            alone = masker.plan(layout.rows(row, row + 1), one).hidden
            assert bool((alone[0] == whole[row]).all()), f"sample {row} depends on its neighbours"

    def test_global_generators_are_left_alone(self) -> None:
        """A masker draws from keys only."""
        import random

        import torch

        before = random.getstate(), _numpy_state(), torch.random.get_rng_state()
        self.make().plan(self.layout(), self.keys())
        assert random.getstate() == before[0]
        assert _numpy_state() == before[1]
        assert torch.equal(torch.random.get_rng_state(), before[2])

    def _layout(self, padded: bool) -> Layout | None:
        """A layout, or None where an override knows no padded one."""
        try:
            return self.layout(padded=padded)
        except TypeError:
            return None if padded else self.layout()


def _numpy_state() -> tuple[list[int], int]:
    """The words of the generator and the place in them, which is all that a few draws move."""
    state = np.random.get_state(legacy=False)["state"]
    return state["key"].tolist(), int(state["pos"])


def _same(one: MaskPlan, other: MaskPlan) -> None:
    assert bool((one.hidden == other.hidden).all())
    assert bool((one.keep_idx == other.keep_idx).all())
