"""``mmask data pack``: a folder or a manifest of files -> shuffled, verified shards with their indices."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmask.cli.session import Session, pass_session
from mmask.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from mmask.data.pack import ShardDone
    from mmask.data.rows import Row

FAILED = "pack-failed.jsonl"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("source", type=click.Path(path_type=Path), metavar="FOLDER|MANIFEST|FILE")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True,
              help="Where the shards go.")
@click.option("--shard-size", default="256MB", show_default=True, metavar="SIZE",
              help="Bytes (100MB, 1GiB) or a count of samples (5000) of a shard.")
@click.option("--val-fraction", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True,
              help="Share that goes to val-*.tar; a sample's side never changes when the set grows.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order and of the split.")
@click.option("--jobs", "-j", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--packer", default=None, metavar="NAME",
              help="How files become samples; by default the packer that takes most of the files.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[--OPTION VALUE]...")
@pass_session
def command(
    session: Session, source: Path, out: Path, shard_size: str, val_fraction: float, seed: int, jobs: int,
    packer: str | None, options: Sequence[str],
) -> None:
    """Write a folder, a manifest of files, or a file of many samples into shuffled shards.

    In a folder of folders, the first level names the classes. A MANIFEST is a .csv, .tsv or .jsonl with a
    column 'path' (relative to it), and if you like 'key', 'label', 'caption', 'split' and 'group'; other
    columns are stored as JSON. A FILE holds many samples, which its packer finds. Further options go to the
    packer (images: --resize 256 --quality 90).

    The order is drawn from --seed; what was written is read back and compared; the same command again goes
    on where it was stopped. Files that cannot be read are listed in OUT/pack-failed.jsonl.
    """
    from mmask.data.pack import pack, plan_shards
    from mmask.data.rows import class_names, read_rows, with_splits

    made, extensions = _packer(session, packer, source, options)
    rows = with_splits(read_rows(source, extensions, getattr(made, "records", None)), val_fraction, seed)
    size, count = shard_size_of(shard_size)
    plans = plan_shards(rows, made, seed=seed, shard_bytes=size, shard_count=count)
    session.notify(f"packing {len(rows):,} samples into {len(plans)} shards in {out}")
    with click.progressbar(length=len(plans), label="shards", file=sys.stderr) as bar:
        done = pack(plans, made, out, classes=class_names(rows), jobs=jobs, done=lambda shard: bar.update(1))
    _report(done, rows, out, jobs, getattr(made, "columns", ()))


def _packer(session: Session, name: str | None, source: Path, options: Sequence[str]) -> tuple[Any, tuple[str, ...]]:
    from mmask.recipe.schema import Spec

    chosen = name or best_packer(session, source)
    spec = Spec.model_validate({"use": chosen, **packer_options(options)})
    made = session.host.build("packer", spec)
    return made, tuple(made.extensions)


def best_packer(session: Session, source: Path) -> str:
    """The packer whose extensions are the most frequent ones; clear when there is one packer anyway."""
    from mmask.data.rows import is_manifest, named_files

    claims = session.host.claims("packer")
    if not claims:
        raise UsageError("no packer is installed", hint="plugins bring them: pip install mmask-image")
    if len(claims) == 1:
        return claims[0].qualified
    if not source.exists():
        raise UsageError(f"'{source}' does not exist")
    targets = {claim.qualified: session.host.target("packer", claim.qualified) for claim in claims}
    if source.is_file() and not is_manifest(source):  # a file of many samples, not of others' names
        targets = {name: target for name, target in targets.items() if hasattr(target, "records")}
    seen = Counter(path.suffix.lower().lstrip(".") for path in named_files(source) if path.suffix)
    takes = {name: sum(seen[one] for one in target.extensions) for name, target in targets.items()} or {"": 0}
    best = max(takes, key=lambda one: takes[one])
    known = ", ".join(claim.qualified for claim in claims)
    if not takes[best]:
        raise UsageError(f"no packer takes the files of '{source}'", hint=f"say which --packer to use: {known}")
    alike = [name for name, count in takes.items() if count == takes[best]]
    if len(alike) > 1:
        what = f"{' and '.join(alike)} each take {takes[best]:,} of the files of '{source}'"
        raise UsageError(what, hint=f"say which: --packer {alike[0]}")
    return best


def packer_options(words: Sequence[str]) -> dict[str, Any]:
    """``--resize 256 --quality=90 format=webp`` -> names and TOML-typed values. Raises UsageError."""
    from mmask.recipe.override import parse_value

    found: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not equals:
            if not word.startswith("--") or not rest:
                known = [option for one in command.params for option in one.opts if option.startswith("--")]
                raise UsageError(f"'{word}' has no value{did_you_mean(word, known)}", hint="write --option value")
            value = rest.pop(0)
        found[name.replace("-", "_")] = parse_value(value)
    return found


def shard_size_of(text: str) -> tuple[int, int | None]:
    """``256MB`` -> (bytes, None); ``5000`` -> (any, 5000 samples). Raises UsageError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmg]i?)?b)?\s*", text.lower())
    if not found or float(found[1]) <= 0:
        raise UsageError(f"--shard-size '{text}' is not a size", hint="write 100MB, 1GiB, or 5000 for samples")
    if "b" not in text.lower():
        return 1, int(float(found[1]))
    return max(1, int(float(found[1]) * _UNITS[found[2] or ""])), None


def _report(
    done: Sequence[ShardDone], rows: Sequence[Row], out: Path, jobs: int, columns: Sequence[str]
) -> None:
    from mmask.data.columns import Column
    from mmask.data.sidecar import build_index

    written = [shard for shard in done if shard.samples]
    build_index([str(out / shard.name) for shard in written], jobs, [Column.parse(text) for text in columns])
    for split in sorted({row.split for row in rows}):
        mine = [shard for shard in done if shard.name.startswith(f"{split}-")]
        samples, size = sum(shard.samples for shard in mine), sum(shard.size for shard in mine)
        click.echo(f"{split}: {samples:,} samples in {len(mine)} shards, {size / 1e6:.1f} MB")
    failed = [failure for shard in done for failure in shard.failed]
    report = out / FAILED
    report.unlink(missing_ok=True)
    if failed:
        lines = [json.dumps({"key": key, "path": path, "reason": why}) for key, path, why in failed]
        report.write_text("\n".join(lines) + "\n", encoding="utf-8")
        click.echo(f"not packed: {len(failed)} of {len(rows)} samples, listed in {report}")
        click.echo(f"  the first: {failed[0][1]}: {failed[0][2]}")
    if len(failed) == len(rows):
        raise DataError("not one sample could be packed", hint=f"see {report}")
