"""Draws docs/packages.svg: the packages of gdispy in their layers, and which imports which.

    python docs/packages.py [--check]

The layers are those of the contracts in pyproject.toml, the arrows the imports of the source, imports for types
included. An arrow that follows from others is left out. With `--check` nothing is written; the exit code is 1 where
the picture is not what the source says.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gdispy"
PICTURE = ROOT / "docs" / "packages.svg"

#: Pixels: of a box, and between boxes and layers.
WIDTH, HEIGHT, GAP, STEP = 128, 30, 24, 66
MARGIN = 20


def layers() -> list[list[str]]:
    """The packages and modules of each layer, the highest first; the entry points of dispy's names are left out."""
    text = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"^layers = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    found = [re.split(r"\s*[|:]\s*", line) for line in re.findall(r'"([^"]+)"', block[1])]
    return [names for names in found if "__main__" not in names]


def owner(module: str) -> str:
    """The package right below `gdispy` that a module is in."""
    return module.split(".")[1] if "." in module else ""


def imported(path: Path) -> set[str]:
    """The packages that a module imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "gdispy":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gdispy."):
            found.add(owner(node.module or ""))
        elif isinstance(node, ast.Import):
            found |= {owner(alias.name) for alias in node.names if alias.name.startswith("gdispy.")}
    return found


def arrows(names: set[str]) -> dict[str, set[str]]:
    """Which package imports which."""
    graph: dict[str, set[str]] = defaultdict(set)
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if name in names:
            graph[name] |= (imported(path) & names) - {name}
    return graph


def reduced(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The arrows without those that follow from others."""

    def below(name: str) -> set[str]:
        return {each for direct in graph[name] for each in {direct, *below(direct)}}

    edges = []
    for name in sorted(graph):
        for goal in sorted(graph[name]):
            if not any(goal in below(other) for other in graph[name] - {goal}):
                edges.append((name, goal))
    return edges


def svg() -> str:
    """The picture."""
    rows = layers()
    width = max(len(row) for row in rows) * (WIDTH + GAP) - GAP + 2 * MARGIN
    height = len(rows) * STEP - STEP + HEIGHT + 2 * MARGIN
    place = {}
    for number, row in enumerate(rows):
        left = (width - len(row) * (WIDTH + GAP) + GAP) / 2
        for index, name in enumerate(row):
            place[name] = left + index * (WIDTH + GAP), MARGIN + number * STEP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="13" role="img" aria-label="Packages of gdispy and their imports">',
        '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,1 L7,4 L0,7 z" fill="#7a8794"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for name, goal in reduced(arrows(set(place))):
        (x, y), (to_x, to_y) = place[name], place[goal]
        start, end = f"{x + WIDTH / 2:g},{y + HEIGHT}", f"{to_x + WIDTH / 2:g},{to_y}"
        bend = (to_y - y - HEIGHT) / 2
        curve = f"C{x + WIDTH / 2:g},{y + HEIGHT + bend:g} {to_x + WIDTH / 2:g},{to_y - bend:g}"
        lines.append(f'<path d="M{start} {curve} {end}" fill="none" stroke="#7a8794" marker-end="url(#head)"/>')
    for name, (x, y) in place.items():
        fill = "#e8f0f8" if (PACKAGE / name).is_dir() else "#f6f0e0"
        lines.append(
            f'<rect x="{x:g}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="4" fill="{fill}" stroke="#48545f"/>'
        )
        lines.append(f'<text x="{x + WIDTH / 2:g}" y="{y + 20}" text-anchor="middle" fill="#1c2630">{name}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> int:
    """The exit code."""
    if "--check" not in sys.argv[1:]:
        PICTURE.write_text(svg())
        return 0
    return int(not PICTURE.exists() or PICTURE.read_text() != svg())


if __name__ == "__main__":
    sys.exit(main())
