"""The laws of every recipe: its size, its plans and denominators, two steps that resume, and an export.

    from mmask.testing import check_certificate, check_course, check_denominators, check_size

    check_size("acme/gap-b", 86_000_000)           # trained parameters, built without memory for weights
    check_denominators("acme/gap-tiny")            # on samples of the recipe's own data set, with its demo profile
    check_units("acme/gap-tiny")                   # blocks computed again on the way back give the same gradients
    check_course("acme/gap-tiny", tmp_path, formats=["safetensors"])
    check_certificate("acme/gap-tiny")             # the shipped first steps, taken again

Each raises AssertionError that says what does not hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmask.testing.kit import check_recipe
from mmask.testing.runs import build, export_run, mmask, recipe

if TYPE_CHECKING:
    from torch import Tensor

    from mmask.recipe.schema import Recipe
    from mmask.train.model import MaskedModel
    from mmask.train.scene import BatchPlans
    from mmask.types import Batch

ROWS = 4
SMALL = ("--batch-size", ROWS, "--workers", 0, "--device", "cpu")
QUICK = ("schedule.warmup_steps=1", "train.val_samples=4", "train.trackers=[]", "train.health_every=1000")
TIMES = ("samples_per_s", "tokens_per_s", "data_wait", "time", "seconds", "peak_memory")


def check_size(name: str, trained: int) -> None:
    """The recipe builds at full size, on the ``meta`` device, and trains so many parameters."""
    model = check_recipe(name)
    assert all(p.is_meta for p in model.parameters()), f"{name} makes tensors of its own device while it is built"
    found = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert found == trained, f"{name} trains {found:,} parameters, the table says {trained:,}"


def check_denominators(name: str, overrides: Sequence[str] = ()) -> None:
    """Plans hide what may be hidden and belong to samples; what terms are divided by adds up over parts of a batch."""
    import torch

    def read(rows: int) -> Recipe:
        return recipe(name, [*overrides, f"data.batch_size={rows}", "data.workers=0"], profile=_profile(name))

    model = build(read(ROWS)).eval()
    made = read(max(ROWS, 2 * model.group))  # both halves have whole groups
    batch = _batch(made, model)
    plans = model.draw(batch)
    _check_plans(name, model, batch, plans)
    with torch.no_grad():
        whole = model(batch, plans)
        counts = model.denominators(plans)
        assert set(counts) == set(whole), f"{name} declares denominators of {sorted(counts)}, has {sorted(whole)}"
        for term, value in whole.terms.items():
            assert value.count == counts[term], f"{name}: '{term}' counts {value.count}, declares {counts[term]}"
            assert bool(torch.isfinite(value.total)), f"{name}: '{term}' is {float(value.total)}"
            assert value.count > 0, f"{name}: '{term}' scores nothing of {ROWS} samples of the sample data"
        if any(objective.coupling == "global" for objective in model.objectives.values()):
            return  # such a batch is not cut
        half = max(1, len(batch) // 2 // model.group) * model.group
        cuts = [(start, stop) for start, stop in ((0, half), (half, len(batch))) if start < stop]  # one group: one part
        parts = [model(part.batch, part) for part in (plans.rows(*cut) for cut in cuts)]
    for term, value in whole.terms.items():
        count = sum(part.terms[term].count for part in parts)
        assert abs(count - value.count) < 1e-6 * value.count, f"{name}: '{term}' counts {count} in parts, {value.count}"
        total = sum(float(part.terms[term].total) for part in parts)
        assert abs(total - float(value.total)) <= 1e-4 * abs(float(value.total)) + 1e-6, (
            f"{name}: '{term}' sums to {total} in parts and to {float(value.total)} in one: a sample's loss depends on "
            "its neighbours; declare the objective's coupling"
        )


def check_units(name: str, overrides: Sequence[str] = ()) -> int:
    """Blocks that are computed again on the way back give the same gradients, dropout and drop path included, and are
    called as modules (`mmask.train.units`). -> how many there are."""
    from mmask.train.units import checkpoint_units, units_of

    made = recipe(name, [*overrides, f"data.batch_size={ROWS}", "data.workers=0"], profile=_profile(name))
    model = build(made).train()
    rows = max(ROWS, model.group)
    batch = _batch(made.model_copy(update={"data": made.data.model_copy(update={"batch_size": rows})}), model)
    called: set[int] = set()
    for unit in units_of(model):
        unit.register_forward_hook(lambda one, given, out: called.add(id(one)))
    before = _gradients(model, batch)
    silent = [type(unit).__name__ for unit in units_of(model) if id(unit) not in called]
    assert not silent, f"{name}: a unit, {silent[0]}, is run without being called as a module"
    count = checkpoint_units(model)
    for label, after in _gradients(model, batch).items():
        apart = float((after - before[label]).abs().max())
        assert apart <= 1e-5 * float(before[label].abs().max()), f"{name}: the gradient of {label} is {apart:g} apart"
    return count


def _gradients(model: MaskedModel, batch: Batch) -> dict[str, Tensor]:
    from mmask.train.seed import seed_model

    model.zero_grad()
    seed_model(0, 0, 0, 0)
    model(batch, model.draw(batch)).total().backward()
    return {label: p.grad.clone() for label, p in model.named_parameters() if p.grad is not None}


def check_course(
    name: str, folder: Path, overrides: Sequence[str] = (), *, formats: Sequence[str] = ("safetensors",)
) -> None:
    """Two steps on the sample data; stopping after the first and going on changes no bit; the run exports."""
    whole, parted = folder / "whole", folder / "parted"
    words = [
        "train", "--recipe", name, "--steps", 2, "--save-every", 1, "--log-every", 1, *SMALL,
        "--profile", _profile(name), *QUICK, *overrides,
    ]
    for out, more in ((whole, ()), (parted, ("--stop-after", 1)), (parted, ())):
        assert mmask(*map(str, words), "--out", out, *map(str, more)) == 0, f"{name}: mmask train failed"
    one, other = _rows(whole), _rows(parted)
    assert one == other, f"{name}: after a resume the rows are\n{other}\nand without one\n{one}"
    assert any(row.get("step") == 2 for row in one)
    _same_tensors(name, whole, parted)
    for form in formats:
        made = export_run(whole, form, folder / form)
        assert made.differences and made.files, f"{name}: nothing was compared in the export to {form}"


def check_certificate(name: str) -> None:
    """The certificate that is shipped with the recipe holds on this machine (`mmask certify`)."""
    from mmask.library import plugins
    from mmask.train.certify import Certificate, compare, place

    path = place(name, plugins())
    assert path.is_file(), f"{name} ships no {path}: mmask certify {name} --write {path}"
    found = compare(Certificate.read(path), plugins())
    assert not found.other_samples, f"{name}: step {found.other_samples} has other samples or plans than {path} says"
    assert found.holds, f"{name}: losses {found.found.losses}, {path} says {found.given.losses}"


def _profile(name: str) -> str:
    from mmask.library import plugins
    from mmask.recipe.load import from_plugin

    return "demo" if "demo" in from_plugin(plugins(), name)[0].profiles else "none"


def _batch(made: Recipe, model: MaskedModel) -> Batch:
    from mmask.library import plugins
    from mmask.train.ranks import Ranks
    from mmask.train.source import StreamReader

    reader = StreamReader(made, plugins(), Ranks(), group=model.group)
    try:
        return next(reader.train(0))
    finally:
        reader.close()


def _check_plans(name: str, model: MaskedModel, batch: Batch, plans: BatchPlans) -> None:
    import torch

    again = model.draw(batch)
    for label, plan, other in _plans(plans, again):
        assert not bool((plan.hidden & ~plan.layout.maskable()).any()), f"{name}: {label} hides a protected place"
        assert torch.equal(plan.hidden, other.hidden), f"{name}: {label} is another one when it is drawn again"
    if model.group > 1 or len(batch) < 2:
        return
    alone = model.draw(batch.rows(1, 2))
    for label, plan, other in _plans(plans.rows(1, 2), alone):
        width = min(plan.hidden.shape[1], other.hidden.shape[1])  # a batch of one may be padded to less
        assert torch.equal(plan.hidden[:, :width], other.hidden[:, :width]), f"{name}: {label} depends on its batch"


def _plans(one: BatchPlans, other: BatchPlans) -> Iterator[tuple[str, Any, Any]]:
    for plan, streams in one.plans.items():
        for stream, value in streams.items():
            yield f"plan '{plan}' of '{stream}'", value, other.plans[plan][stream]


def _rows(run: Path) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl without what clocks say."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def _same_tensors(name: str, one: Path, other: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from mmask.train.checkpoint import newest

    found = [newest(run / "checkpoints") for run in (one, other)]
    assert found[0] is not None and found[1] is not None and found[0].name == found[1].name
    for file in sorted(found[0].glob("*.safetensors")):
        mine, theirs = load_file(file), load_file(found[1] / file.name)
        apart = [key for key in mine if not torch.equal(mine[key], theirs[key])]
        assert mine.keys() == theirs.keys() and not apart, f"{name}: {file.name} differs after a resume: {apart[:3]}"
