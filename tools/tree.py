"""Write the map of the source tree into README.md, from the first line of every docstring.

    python tools/tree.py            # rewrites the map
    python tools/tree.py --check    # exits 1 when the map is out of date
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- map -->", "<!-- end of map -->"


def first_line(path: Path) -> str:
    """The first line of a module's docstring."""
    doc = ast.get_docstring(ast.parse(path.read_text())) or ""
    return doc.split("\n")[0].rstrip(".")


def lines(package: Path, title: str) -> list[str]:
    """One line for a package, one for each of its modules and sub-packages."""
    rows = [(title, first_line(package / "__init__.py"))]
    modules = sorted(p for p in package.glob("*.py") if p.stem not in ("__init__", "__main__"))
    for path in modules:
        rows.append((f"  {path.name}", first_line(path)))
    for folder in sorted(p.parent for p in package.glob("*/__init__.py")):
        rows.append((f"  {folder.name}/", first_line(folder / "__init__.py")))
        stems = [p.stem for p in sorted(folder.glob("*.py")) if p.stem != "__init__"]
        if stems:
            rows.append(("", "· " + " ".join(stems)))
    return [f"{name:<18} {text}".rstrip() for name, text in rows]


def tree() -> str:
    """The whole map."""
    parts = lines(ROOT / "mmask", "mmask/")
    for plugin in sorted((ROOT / "plugins").glob("mmask-*")):
        package = next(plugin.glob("mmask_*"))
        parts += ["", *lines(package, f"plugins/{plugin.name}/{package.name}/")]
    parts += [
        "",
        "configs/           run files to copy: a recipe, data, a few overrides",
        "tests/             unit/ mirrors mmask/; law/ flow/ agree/ golden/",
        "tools/             scripts for maintainers: benchmarks, sample shards, data sets",
        "docs/              quickstart, design, one page for each kind of component, benchmarks",
    ]
    return "\n".join(parts)


def main() -> None:
    """Rewrite or check README.md."""
    readme = ROOT / "README.md"
    text = readme.read_text()
    head, rest = text.split(BEGIN, 1)
    _, tail = rest.split(END, 1)
    new = f"{head}{BEGIN}\n```text\n{tree()}\n```\n{END}{tail}"
    if "--check" in sys.argv:
        sys.exit(0 if new == text else "README.md's map is out of date: run python tools/tree.py")
    readme.write_text(new)


if __name__ == "__main__":
    main()
