"""The other process of `mmask.export.snippet`: run the snippet, then what it loaded, and write the outputs."""

from __future__ import annotations

import json
import runpy
import sys
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any


def main(order: dict[str, Any]) -> None:
    """order: ``target`` and ``options`` of the exporter, and the files ``inputs`` and ``outputs``."""
    from safetensors.torch import load_file, save_file

    names = runpy.run_path(str(Path.cwd() / "load.py"))
    module, _, path = order["target"].partition(":")
    exporter = reduce(getattr, path.split("."), import_module(module))(**order["options"])
    outputs = exporter.theirs(names, load_file(order["inputs"]))
    save_file({name: value.detach().contiguous() for name, value in outputs.items()}, order["outputs"])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
