"""Checkpoints: a folder of safetensors and JSON, written aside, synced, renamed. Nothing is unpickled.

    checkpoints/step-00001000/
        model.safetensors  ema.safetensors  optimizer.safetensors  state.json
        model/  ema/  optimizer/   instead of or beside them, what is sharded (`mmask.train.parts`)
        manifest.json      file -> [bytes, BLAKE2b]; written last

A crash while writing leaves only a ``.step-...`` folder, which the next save removes. A folder whose files
do not match its manifest is torn: it is passed over with a message, and the one before it is used.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from mmask.errors import CheckpointError
from mmask.train.parts import Tensors, read_parts


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is stored. tensors: file stem (``model``, ``ema``, ``optimizer``) -> name -> tensor.

    state: everything else, as JSON: step, position, epoch, fingerprint, optimizer scalars, versions. parts: where
    sharded tensors lie that were not read with the others.
    """

    step: int
    tensors: Mapping[str, Tensors]
    state: Mapping[str, Any] = field(default_factory=dict)
    parts: Path | None = None

    def table(self, stem: str, like: Mapping[str, torch.Tensor]) -> Tensors | None:
        """The tensors of one stem, sharded ones cut as those of ``like``; None when there are none."""
        found = dict(self.tensors.get(stem, {}))
        if self.parts is not None and (self.parts / stem).is_dir():
            found |= read_parts(self.parts / stem, like)
            _tie(found, stem, self.state)
        return found or None


def save(
    folder: Path, checkpoint: Checkpoint, *, keep: int = 2, beside: Callable[[Path], None] = lambda aside: None
) -> Path:
    """Write ``folder/step-XXXXXXXX`` and remove all but the newest ``keep``.

    beside: writes more into the folder that is being made, before it is signed.
    Raises CheckpointError when the disk is full or cannot be written; earlier checkpoints stay as they are.
    """
    final = folder / f"step-{checkpoint.step:08d}"
    aside = folder / f".{final.name}.{os.getpid()}"
    if stored(folder, checkpoint.step):
        return final
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".step-*"):
            shutil.rmtree(left, ignore_errors=True)
        aside.mkdir()
        beside(aside)
        _write(aside, checkpoint)
        if final.exists():
            shutil.rmtree(final)
        aside.rename(final)
        _sync(folder)
    except Exception as error:
        shutil.rmtree(aside, ignore_errors=True)
        if not isinstance(error, OSError) and type(error).__name__ != "SafetensorError":
            raise
        raise _write_failed(folder, checkpoint, error) from error
    for old in list_steps(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def stored(folder: Path, step: int) -> bool:
    """Whether the checkpoint of a step is there and whole: the same step of the same run is nothing new to store."""
    final = folder / f"step-{step:08d}"
    return final.exists() and not torn(final)


def _write(aside: Path, checkpoint: Checkpoint) -> None:
    manifest: dict[str, list[Any]] = {}
    tied: dict[str, dict[str, str]] = {stem: dict(names) for stem, names in checkpoint.state.get("tied", {}).items()}
    for stem, tensors in checkpoint.tensors.items():
        unique, second = _untie(tensors)
        tied[stem] = {**tied.get(stem, {}), **second}
        _put_tensors(aside / f"{stem}.safetensors", unique)
    state = {**checkpoint.state, "step": checkpoint.step, "tied": tied, "format": 1}
    (aside / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    for path in sorted(aside.rglob("*")):
        if path.is_file():
            manifest[path.relative_to(aside).as_posix()] = [path.stat().st_size, _digest(path)]
        _sync(path)
    (aside / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    _sync(aside / "manifest.json")
    _sync(aside)


def _put_tensors(path: Path, tensors: Tensors) -> None:
    from safetensors.torch import save_file

    save_file({name: value.detach().contiguous().cpu() for name, value in tensors.items()}, path)


def _untie(tensors: Tensors) -> tuple[Tensors, dict[str, str]]:
    """Tensors without second names for the same memory, and second name -> first name."""
    seen: dict[tuple[Any, ...], str] = {}
    unique: Tensors = {}
    tied: dict[str, str] = {}
    for name, value in tensors.items():
        key = (value.device, value.data_ptr(), tuple(value.shape), value.stride(), value.dtype)
        if value.numel() and key in seen:
            tied[name] = seen[key]
        else:
            seen[key] = name
            unique[name] = value
    return unique, tied


def list_steps(folder: Path) -> list[Path]:
    """Finished checkpoints, newest first; nothing is checked."""
    return sorted((path for path in folder.glob("step-*") if path.is_dir()), reverse=True)


def newest(folder: Path, *, tell: Callable[[str], None] = lambda line: None) -> Path | None:
    """The newest whole checkpoint, or None when there is none at all.

    Torn ones are passed over, each with a line to ``tell``. Raises CheckpointError when all are torn.
    """
    found = list_steps(folder)
    for path in found:
        fault = torn(path)
        if not fault:
            return path
        tell(f"checkpoint {path.name} is torn ({fault}); using the one before it")
    if found:
        raise CheckpointError(
            f"every checkpoint in {folder} is torn", hint="start a new run with another --out",
        )
    return None


def torn(path: Path) -> str:
    """What is wrong with a checkpoint's files; empty when they match the manifest."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        for name, (size, digest) in manifest.items():
            file = path / name
            if not file.exists():
                return f"{name} is missing"
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size} of {size} bytes"
            if _digest(file) != digest:
                return f"{name} does not match its hash"
    except (OSError, ValueError) as error:
        return f"manifest.json: {error}"
    return ""


def load(path: Path, device: torch.device | str = "cpu", *, parts: bool = True) -> Checkpoint:
    """Read a whole checkpoint. parts: False leaves sharded tensors for `Checkpoint.table`. Raises CheckpointError when
    it is torn."""
    fault = torn(path)
    if fault:
        raise CheckpointError(f"checkpoint {path} is torn: {fault}", hint="resume from an earlier one")
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    stems = {file.stem for file in path.glob("*.safetensors")}
    tensors = {stem: read_tensors(path, stem, state, device) for stem in stems}
    if not parts:
        return Checkpoint(int(state["step"]), tensors, state, path)
    for file in path.iterdir():
        if file.is_dir():
            tensors[file.name] = {**tensors.get(file.name, {}), **read_parts(file)}
            _tie(tensors[file.name], file.name, state)
    return Checkpoint(int(state["step"]), tensors, state)


def load_state(path: Path) -> dict[str, Any]:
    """The ``state.json`` of a checkpoint alone. Raises CheckpointError when it cannot be read."""
    try:
        return dict(json.loads((path / "state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}/state.json cannot be read: {error}") from error


def read_tensors(path: Path, stem: str, state: Mapping[str, Any], device: torch.device | str = "cpu") -> Tensors:
    """One file of a checkpoint, tied names restored."""
    from safetensors.torch import load_file

    tensors: Tensors = load_file(path / f"{stem}.safetensors", device=str(device))
    _tie(tensors, stem, state)
    return tensors


def _tie(tensors: Tensors, stem: str, state: Mapping[str, Any]) -> None:
    """Give tensors their second names again."""
    for second, first in state.get("tied", {}).get(stem, {}).items():
        if first in tensors:
            tensors[second] = tensors[first]


def _write_failed(folder: Path, checkpoint: Checkpoint, error: Exception) -> CheckpointError:
    need = sum(t.numel() * t.element_size() for table in checkpoint.tensors.values() for t in table.values())
    before = next((path.name for path in list_steps(folder)), None) if folder.exists() else None
    kept = f"the checkpoint before it ({before}) is intact" if before else "there is no earlier checkpoint"
    full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
    try:
        free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
    except OSError:
        free = 0
    what = "the disk is full" if full else f"writing failed: {error}"
    return CheckpointError(
        f"checkpoint of step {checkpoint.step} was not saved in {folder}: {what}. It needs "
        f"{need / 2**20:.1f} MiB, {free / 2**20:.1f} MiB are free; {kept}",
        hint="free some space, then run the same command again: it goes on from the last checkpoint",
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        state = blake2b(digest_size=16)
        while piece := file.read(1 << 22):
            state.update(piece)
    return state.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
