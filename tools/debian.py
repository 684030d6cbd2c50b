"""Files of Debian packages that are not installed: fetched with ``apt-get download``, unpacked with ``dpkg``."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path


def unpack(package: str, folder: Path, sha256: str = "") -> Path:
    """The root of the unpacked package under ``folder``. sha256: of the archive; "" accepts any version."""
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(folder.glob(f"{package.partition('=')[0]}_*.deb"))
    if not found:
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True, stderr=subprocess.DEVNULL)
        found = sorted(folder.glob(f"{package.partition('=')[0]}_*.deb"))
    if sha256 and hashlib.sha256(found[-1].read_bytes()).hexdigest() != sha256:
        raise SystemExit(f"{found[-1].name} is not the pinned one: its sha256 is not {sha256}")
    root = folder / f"{found[-1].name}.root"
    if not root.exists():
        subprocess.run(["dpkg", "-x", str(found[-1]), str(root)], check=True)
    return root


def copyright_of(root: Path) -> str:
    """The package's copyright file."""
    return next(root.glob("usr/share/doc/*/copyright")).read_text(encoding="utf-8")


def paragraphs(text: str) -> list[dict[str, str]]:
    """A machine-readable copyright file: one mapping of field to text a paragraph."""
    made = []
    for block in re.split(r"\n\s*\n", text):
        fields = re.split(r"^([A-Za-z-]+):", block, flags=re.M)[1:]
        made.append({name: value.strip() for name, value in zip(fields[::2], fields[1::2], strict=True)})
    return made
