"""Plans and Scene: one batch's plans, and one forward pass in which everything is made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from mmask.errors import PlanError, did_you_mean
from mmask.types import Encoded, Layout, MaskPlan, Prediction, Tokens, View

if TYPE_CHECKING:
    from mmask.keyed import Keys
    from mmask.train.model import MaskedModel
    from mmask.types import Batch


@dataclass(frozen=True)
class BatchPlans:
    """The layouts and plans of one batch: all of an objective that is known before the forward pass.

    layouts: stream -> clean layout. plans: plan name -> stream -> plan. step: the step they belong to. chance: False
    where the batch is only to be encoded as it is, and tokenizers leave out what they draw.
    """

    batch: Batch
    layouts: Mapping[str, Layout]
    plans: Mapping[str, Mapping[str, MaskPlan]]
    step: int = 0
    chance: bool = True

    def plan(self, name: str, stream: str | None = None) -> MaskPlan:
        """One plan; ``stream`` may be left out when the plan covers a single one."""
        if name not in self.plans:
            near = did_you_mean(name, self.plans)
            raise PlanError(f"no plan '{name}'{near}; there are {sorted(self.plans)}")
        return pick(self.plans[name], stream, f"plan '{name}'")

    def layout(self, stream: str | None = None) -> Layout:
        """The clean layout of a stream."""
        return pick(self.layouts, stream, "the batch")

    def rows(self, start: int, stop: int) -> BatchPlans:
        """The plans of samples ``start:stop``, for micro-batches."""
        return BatchPlans(
            self.batch.rows(start, stop),
            {name: layout.rows(start, stop) for name, layout in self.layouts.items()},
            {name: {s: p.rows(start, stop) for s, p in plans.items()} for name, plans in self.plans.items()},
            self.step, self.chance,
        )

    def tokens(self) -> int:
        """Valid places of the ragged streams; 0 where no stream is ragged."""
        fields = self.batch.fields
        ragged = (
            layout for name, layout in self.layouts.items() if layout.valid is not None or f"{name}.length" in fields
        )
        return sum(int(layout.lengths().sum()) for layout in ragged)

    def ratios(self) -> dict[str, float]:
        """The realised mask ratio of each plan, by ``plan`` or ``plan.stream``."""
        return {
            name if len(plans) == 1 else f"{name}.{stream}": plan.ratio()
            for name, plans in self.plans.items()
            for stream, plan in plans.items()
        }


def pick(table: Mapping[str, Any], name: str | None, what: str) -> Any:
    """The entry ``name``, or the only one when no name is given."""
    if name is None and len(table) == 1:
        return next(iter(table.values()))
    if name is None or name not in table:
        raise PlanError(f"{what} has no stream '{name}'; it has {sorted(table)}")
    return table[name]


class ModelScene:
    """The `mmask.protocols.Scene` of one forward pass of a `MaskedModel`.

    taps: (network, view) -> internal states that the active objectives will read.
    """

    def __init__(
        self, model: MaskedModel, plans: BatchPlans, keys: Keys,
        taps: Mapping[tuple[str, str], Sequence[str]] | None = None,
    ) -> None:
        self.model, self.plans, self.keys = model, plans, keys
        self.batch = plans.batch
        self.step, self.training = keys.step, model.training
        self.predictions: dict[str, Prediction] = {}
        self._views: dict[str, View] = {}
        self._taps = {key: tuple(names) for key, names in (taps or {}).items()}
        self._encoded: dict[tuple[str, str, bool], Encoded] = {}

    def plan(self, name: str, stream: str | None = None) -> MaskPlan:
        """One plan."""
        return self.plans.plan(name, stream)

    def layout(self, stream: str | None = None) -> Layout:
        """The clean layout of a stream."""
        return self.plans.layout(stream)

    def network(self, name: str) -> torch.nn.Module:
        """A network by name."""
        return self.model.network(name)

    def retokenize(self, stream: str, batch: Batch) -> Tokens:
        """A stream's tokens of a changed batch."""
        return self.model.tokenizers[stream](batch)

    def view(self, name: str) -> View:
        """A view by name, made on first use."""
        if name not in self._views:
            self._views[name] = self._clean() if name == "clean" else self._make(name)
        return self._views[name]

    def encode(self, network: str, view: str, *, taps: Sequence[str] = (), grad: bool = True) -> Encoded:
        """A network's output for a view, run once with every tap that an objective declared."""
        grad = grad and network not in self.model.frozen
        known = self._encoded.get((network, view, grad))
        if known is None:
            wanted = tuple(dict.fromkeys((*self._taps.get((network, view), ()), *taps)))
            with torch.set_grad_enabled(grad and torch.is_grad_enabled()):
                known = self.model.network(network)(self._seen(network, view), taps=wanted)
            self._encoded[network, view, grad] = known
        late = [tap for tap in taps if tap not in known.taps]
        if late:
            raise PlanError(
                f"network '{network}' has already encoded view '{view}' without its state '{late[0]}'",
                hint="list it in the objective's taps, so that one pass serves every objective",
            )
        return known

    def _seen(self, network: str, view: str) -> View:
        """The view as a network is shown it."""
        stream = self.model.sees.get(network)
        return self.view(view) if stream is None else self.view(view).narrowed(stream)

    def predict(self, objective: str) -> Prediction:
        """An objective's prediction, made when first asked for, in whatever order objectives run."""
        if objective not in self.predictions:
            known = self.model.objectives
            if objective not in known:
                near = did_you_mean(objective, known)
                raise PlanError(f"no objective '{objective}'{near}; there are {sorted(known)}")
            self.predictions[objective] = known[objective].predict(self)  # type: ignore[operator]  # it holds objectives
        return self.predictions[objective]

    def _clean(self) -> View:
        makers = self.model.tokenizers_of(chance=self.plans.chance)
        return View("clean", {name: tokenizer(self.batch) for name, tokenizer in makers.items()})

    def _make(self, name: str) -> View:
        made = self.model.view_makers.get(name)
        if made is None:
            known = ["clean", *self.model.view_makers]
            raise PlanError(f"no view '{name}'{did_you_mean(name, known)}; there are {known}")
        source = self.view(made.of)
        view = replace(source, name=name)
        if made.plan is None and made.corrupt is None:
            return view
        for stream, drawn in self._plans(name, made.plan, source).items():
            if made.streams is not None and stream not in made.streams:
                continue
            plan = drawn.complement() if made.complement else drawn
            view = replace(view, plans={**view.plans, stream: plan})
            if made.corrupt is not None:
                out = made.corrupt(view, stream, plan, self)
                view = out if isinstance(out, View) else replace(view, tokens={**view.tokens, stream: out})
        return view

    def _plans(self, view: str, plan: str | None, source: View) -> Mapping[str, MaskPlan]:
        """Stream -> plan of a view; with no plan, nothing is hidden and the corruption alone decides."""
        if plan is None:
            return {stream: MaskPlan.nothing(tokens.layout) for stream, tokens in source.tokens.items()}
        if plan not in self.plans.plans:
            raise PlanError(f"view '{view}' needs plan '{plan}'; there are {sorted(self.plans.plans)}")
        return self.plans.plans[plan]
