"""Peers: the same network, weights, batch and plans as another library trains them, for ``mmask bench --vs``."""

from __future__ import annotations

from pathlib import Path

from mmask.errors import ExportError, UsageError
from mmask.export.claim import check_needs
from mmask.plugin.host import Host
from mmask.plugin.options import options_of
from mmask.recipe.schema import use
from mmask.train.bench import Bench, Peer

TOLERANCE = {"fp32": 1e-4, "fp64": 1e-9, "bf16": 2e-2}
"""How far the two losses of the same batch may be apart, relative: rounding of sums over millions of numbers."""


def make_peer(name: str, beside: Bench, host: Host, folder: Path) -> Peer:
    """The peer that exporter ``name`` offers of the model of ``beside``, written into ``folder`` and read from there.

    Raises UsageError for an exporter that offers none, ExportError for a model that the library has no equal of, or
    when the two losses of the first batch differ.
    """
    recipe = beside.recipe
    precision = recipe.train.precision
    if precision not in TOLERANCE:
        raise UsageError(f"a peer is timed in {', '.join(TOLERANCE)}, not in {precision}", hint="add --precision bf16")
    spec = use(host.format_of("exporter", name, recipe.networks[recipe.exports].use))
    whole = {"whole": True} if "whole" in options_of(host.target("exporter", spec.use)) else {}
    exporter = host.build("exporter", use(spec.use, **whole))
    if not hasattr(exporter, "peer"):
        raise UsageError(f"exporter '{spec.use}' offers no peer to be timed", hint="name another recipe instead")
    check_needs(name, exporter)
    folder.mkdir(parents=True)
    exporter.write(beside.model, recipe, folder)
    module, loss = exporter.peer(beside.model, beside.plans, folder)
    made = Peer(f"{name}: {type(module).__name__}", beside, module.to(beside.device), loss)
    made.losses = ours, theirs = beside.loss(), made.loss()
    if not abs(ours - theirs) <= TOLERANCE[precision] * abs(ours):
        raise ExportError(
            f"{made.name} has loss {theirs:.6f}, {recipe.name} {ours:.6f}, on the same weights, batch and plan",
            hint="the two do not compute the same thing, so their times say nothing",
        )
    return made
