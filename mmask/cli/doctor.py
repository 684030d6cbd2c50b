"""``mmask doctor``: this machine, the versions, and every plugin down to its last component."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass

import click

from mmask.cli.session import Session, pass_session
from mmask.errors import MmaskError
from mmask.plugin.build import load_target
from mmask.plugin.component import FORMATS
from mmask.plugin.host import Host


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: ok, or what to do."""

    topic: str
    ok: bool
    text: str


@click.command()
@pass_session
def command(session: Session) -> None:
    """Check this installation and every plugin; exits with 1 when something is wrong."""
    session.quiet = True  # broken plugins are findings here
    wrong = 0
    for finding in _examine(session.host):
        wrong += not finding.ok
        click.echo(f"{'ok   ' if finding.ok else 'WRONG'}  {finding.topic}: {finding.text}")
    click.echo("all is well" if not wrong else f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong")
    if wrong:
        click.get_current_context().exit(1)


def _examine(host: Host) -> Iterator[Finding]:
    yield from _machine()
    host.load_all(tolerant=True)
    for plugin in host.plugins:
        text = f"{plugin.state}" + (f", {plugin.reason}" if plugin.reason else "")
        if plugin.state == "ready":
            text += f", {len(plugin.components)} components, manifest in {plugin.seconds * 1000:.0f} ms"
        yield Finding(f"plugin {plugin.label}", plugin.state != "broken", text)
    yield from _clashes(host)
    yield from _targets(host)
    for check in host.hooks.checks():
        yield Finding(f"plugin {check.plugin}, {check.name}", check.ok, check.advice)


def _machine() -> Iterator[Finding]:
    from mmask.recipe.freeze import versions

    yield Finding("python", True, f"{platform.python_version()} on {platform.platform()}")
    yield Finding("packages", True, ", ".join(f"{n} {v}" for n, v in versions().items() if n != "python"))
    try:
        import torch
    except Exception as error:
        yield Finding("torch", False, f"cannot be imported: {type(error).__name__}: {error}")
        return
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    yield Finding("devices", True, ", ".join(devices))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    advice = "" if threads <= cores else f"; more threads than cores: set OMP_NUM_THREADS={cores}"
    yield Finding("threads", threads <= cores, f"torch uses {threads} of {cores} cores{advice}")


def _clashes(host: Host) -> Iterator[Finding]:
    seen: dict[tuple[str, str], list[str]] = {}
    for claim in host.claims(tolerant=True):
        seen.setdefault((claim.component.kind, claim.component.name), []).append(claim.qualified)
    for (kind, name), owners in seen.items():
        if len(owners) > 1 and kind not in FORMATS:  # a format is that of the network's own plugin
            yield Finding(f"{kind} '{name}'", True, f"claimed twice, so write {' or '.join(owners)}")


def _targets(host: Host) -> Iterator[Finding]:
    """Every component's class or function can be imported."""
    for plugin in host.plugins:
        if plugin.state != "ready" or not plugin.components:
            continue
        fine = 0
        for claim in host.claims(tolerant=True):
            if claim.plugin is not plugin:
                continue
            try:
                load_target(claim)
                fine += 1
            except MmaskError as error:
                yield Finding(f"{claim.component.kind} {claim.qualified}", False, error.message)
        yield Finding(f"components of {plugin.name}", fine > 0, f"{fine} of {len(plugin.components)} can be imported")
