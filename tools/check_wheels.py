"""Build the wheels, install them in a new environment, and train there, away from the source tree.

    python tools/check_wheels.py            # dependencies are borrowed from the running environment
    python tools/check_wheels.py --full     # everything is installed from the registries (minutes, gigabytes)
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = sorted((ROOT / "plugins").glob("mmask-*"))
PROJECTS = (ROOT, *PLUGINS)


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """The command's output; its whole output is shown when it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)} exited {done.returncode}:\n{done.stdout}")
    return done.stdout


def build(out: Path) -> list[Path]:
    """One wheel for each project, built without isolation (hatchling is a test dependency)."""
    for project in PROJECTS:
        run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", out, project, cwd=out)
    wheels = sorted(out.glob("*.whl"))
    if len(wheels) != len(PROJECTS):
        raise SystemExit(f"expected {len(PROJECTS)} wheels, built {[w.name for w in wheels]}")
    return wheels


def environment(where: Path, wheels: list[Path], *, full: bool) -> Path:
    """A new virtual environment with the wheels; its ``bin`` folder."""
    venv.create(where, with_pip=True)
    bin_dir = where / ("Scripts" if os.name == "nt" else "bin")
    deps = [] if full else ["--no-deps"]
    run(bin_dir / "python", "-m", "pip", "install", "--quiet", *deps, *wheels, cwd=where)
    if not full:  # a path entry lends packages without processing the lender's own .pth files
        site = next(where.glob("lib/python*/site-packages"), where / "Lib" / "site-packages")
        (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return bin_dir


def check(bin_dir: Path, work: Path) -> None:
    """What a user does first, from the installed wheels alone."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("MMASK_")}
    mmask = bin_dir / "mmask"
    names = ", ".join(["mmask", *(plugin.name.replace("-", "_") for plugin in PLUGINS)])
    show = f"import {names}; print(*(module.__file__ for module in ({names})))"
    where = run(bin_dir / "python", "-c", show, cwd=work, env=env)
    if str(ROOT) in where.replace(str(bin_dir.parent), ""):
        raise SystemExit(f"the source tree was imported instead of the wheels: {where}")
    for words in (["--help"], ["plugins"], ["recipes"], ["doctor"]):
        run(mmask, *words, cwd=work, env=env)
    run(mmask, "certify", "tera-tiny", cwd=work, env=env)
    out = work / "run"
    run(mmask, "train", "--recipe", "mae-vit-tiny", "--steps", "3", "--batch-size", "8", "--out", out,
        "--workers", "0", cwd=work, env=env)
    missing = [name for name in ("recipe.toml", "metrics.jsonl", "report.html") if not (out / name).is_file()]
    if missing:
        raise SystemExit(f"the run from wheels left no {', '.join(missing)}")


def main() -> None:
    """Build, install, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="install every dependency too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mmask-wheels-") as folder:
        work = Path(folder)
        (work / "dist").mkdir()
        wheels = build(work / "dist")
        check(environment(work / "env", wheels, full=options.full), work)
        print("wheels work:", *(f"{w.name} ({w.stat().st_size / 1e6:.2f} MB)" for w in wheels))


if __name__ == "__main__":
    main()
