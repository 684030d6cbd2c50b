"""Plans that a caller made: in which forms they may come, and that they fit the batch they come with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mmask.errors import PlanError
from mmask.types import Layout, MaskPlan


def by_name(plans: Any) -> Iterable[tuple[str, Any]]:
    """The entries of a table of plans. Raises PlanError for what is none."""
    if not isinstance(plans, Mapping):
        raise PlanError(
            f"plans are {type(plans).__name__}",
            hint="give a MaskPlan, {name: MaskPlan}, or what model.draw(batch) made",
        )
    return plans.items()


def check_given(name: str, plans: Mapping[str, Any], layouts: Mapping[str, Layout]) -> None:
    """Raises PlanError unless a caller's plans are over the layouts of the batch they come with."""
    for stream, plan in plans.items():
        if stream not in layouts:
            raise PlanError(f"plan '{name}' is for stream '{stream}'; there are {sorted(layouts)}")
        if not isinstance(plan, MaskPlan):
            what = f"plan '{name}' of '{stream}' is {type(plan).__name__}"
            raise PlanError(what, hint="make it with MaskPlan.of_hidden")
        layout, own = layouts[stream], plan.layout
        if (own.batch, own.length) != (layout.batch, layout.length):
            raise PlanError(
                f"plan '{name}' is for {own.batch} samples of {own.length} places; "
                f"the batch has {layout.batch} of {layout.length}"
            )
