"""Labelled files (JSONL, tables) in place of shards: packed once into the run's folder, under a name made of what
they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmask.data.pack import pack, plan_shards
from mmask.data.rows import read_rows, with_splits
from mmask.data.sidecar import build_index
from mmask.errors import DataError, UsageError
from mmask.plugin.options import options_of
from mmask.recipe.schema import Spec

if TYPE_CHECKING:
    from mmask.plugin.host import Host


def as_shards(url: str, host: Host, folder: Path, shared: Mapping[str, Any]) -> str:
    """``url`` as it is, unless it names a local file that a packer takes apart: then the shards made of it, in
    ``folder``. Labels stay in the JSON, beside all other fields.

    shared: options of the recipe's decoders (``field``), handed to a packer that has an option of that name. Raises
    UsageError for a file that no packer takes, DataError where nothing of it can be packed.
    """
    path = Path(url)
    suffix = path.suffix.lower().lstrip(".")
    if "://" in url or suffix == "tar" or not path.is_file():
        return url
    takers = [
        claim.qualified for claim in host.claims("packer")
        if suffix in (target := host.target("packer", claim.qualified)).extensions and hasattr(target, "records")
    ]
    if len(takers) != 1:
        raise UsageError(
            f"'{url}' is no tar, and {'several packers take' if takers else 'no packer takes'} files of this kind",
            hint="make shards of it with mmask data pack, and name them here",
        )
    known = options_of(host.target("packer", takers[0]))
    given = {name: value for name, value in shared.items() if name in known}
    if "label" in known:
        given["label"] = ""  # no class names for a part of their own: they have to be the same for all sets
    stat = path.stat()
    told = [str(path.resolve()), stat.st_size, stat.st_mtime_ns, takers[0], given]
    key = blake2b(json.dumps(told, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()
    out = folder / f"{path.stem}-{key}"
    names = _packed(path, host.build("packer", Spec.model_validate({"use": takers[0], **given})), out)
    return f"{out}/{{{','.join(names)}}}" if len(names) > 1 else f"{out}/{names[0]}"


def _packed(path: Path, packer: Any, out: Path) -> Sequence[str]:
    """Shards of every sample, in stored order of keys -> their names. What was written is not written again."""
    rows = with_splits(read_rows(path, tuple(packer.extensions), packer.records), 0.0, 0)
    done = pack(plan_shards(rows, packer, seed=0, shard_bytes=1 << 28, shard_count=None), packer, out)
    names = [shard.name for shard in done if shard.samples]
    if not names:
        failed = next((shard.failed[0] for shard in done if shard.failed), None)
        raise DataError(f"not one sample of '{path}' could be read" + (f": {failed[2]}" if failed else ""))
    build_index([str(out / name) for name in names], 1, [])
    return names
