"""Running an export's own load snippet: in a fresh process, in the exported folder, on given inputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmask.errors import ExportError

SNIPPET = "load.py"
SECONDS = 900


@dataclass(frozen=True)
class Heard:
    """What a snippet's process gave back. outputs: name -> tensor. printed: its own lines."""

    outputs: Mapping[str, torch.Tensor]
    printed: str


def run_snippet(
    folder: Path, target: str, options: Mapping[str, Any], inputs: Mapping[str, torch.Tensor]
) -> Heard:
    """Execute ``folder/load.py`` there, and the exporter's ``theirs`` on the names it defined.

    target, options: how the exporter is made again in that process. Raises ExportError with the last lines
    of the process when the snippet fails.
    """
    from safetensors.torch import load_file, save_file

    with tempfile.TemporaryDirectory(prefix="mmask-export-") as made:
        given, got = Path(made, "inputs.safetensors"), Path(made, "outputs.safetensors")
        save_file({name: value.contiguous() for name, value in inputs.items()}, given)
        order = json.dumps({"target": target, "options": dict(options), "inputs": str(given), "outputs": str(got)})
        done = subprocess.run(
            [sys.executable, "-m", "mmask.export.probe", order], cwd=folder, capture_output=True, text=True,
            env=_environment(), timeout=SECONDS, check=False,
        )
        if done.returncode or not got.is_file():
            last = "\n  ".join(done.stderr.strip().splitlines()[-6:])
            raise ExportError("the load snippet of the export fails", hint=last or f"exit code {done.returncode}")
        return Heard(load_file(got), done.stdout.strip())


def _environment() -> dict[str, str]:
    """This process's, with the folders it imports from made absolute, since the snippet runs elsewhere."""
    paths = [str(Path(path or ".").resolve()) for path in sys.path]
    return {
        **os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "OMP_NUM_THREADS": str(torch.get_num_threads()), "HF_HUB_OFFLINE": "1",
    }
