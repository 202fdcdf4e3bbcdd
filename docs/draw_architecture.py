"""Draws docs/pictures/architecture.svg from the code: python docs/draw_architecture.py.

Floors come from the import contract in pyproject.toml, boxes from the folders, arrows from the imports in the files.
"""

import ast
import subprocess
import tomllib
from collections import Counter
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "pictures" / "architecture.svg"
ENTRIES = "train_lightning.py, test_lightning.py"
WIDTH, MARGIN, GAP, FLOOR_GAP = 1120, 24, 40, 72
TITLE, LINE, PADDING = 22, 17, 14
WIDE = 500  # pixels from which a box names its subfolders in one line
COLORS = ("#eef2f8", "#e4ecf7", "#dbe7f5", "#e4f1ea", "#f4efe2")
STYLE = """
  text { font: 13px Helvetica, Arial, "DejaVu Sans", sans-serif; fill: #24303f }
  .name { font-size: 16px; font-weight: bold }
  .size { fill: #5b6b7d }
  .count { font-size: 10.5px; fill: #5b6b7d }
  .box { stroke: #8fa3b8 }
  .arrow { fill: none; stroke: #6d8299; stroke-opacity: 0.65; marker-end: url(#head) }
"""


@dataclass(frozen=True)
class Box:
    """A root folder, or the entry points together, and where it stands (pixels)."""

    name: str
    texts: tuple[str, ...]
    x: int
    y: int
    width: int
    height: int


def floors() -> list[list[str]]:
    """Return the floors of the import contract, top first; the entry points are one box."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    rows = [[name.strip() for name in layer.split("|")] for layer in settings["contracts"][0]["layers"]]
    return [list(dict.fromkeys(ENTRIES if "_lightning" in name else name for name in row)) for row in rows]


def files_of(name: str) -> list[Path]:
    """List a package's Python files, those that git keeps."""
    paths = name.split(", ") if name == ENTRIES else [f"{name}/*.py"]
    listed = subprocess.run(["git", "ls-files", *paths], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def describe(name: str, wide: bool) -> tuple[str, ...]:
    """Return a box's lines of text: files and lines of the package, files of its subfolders."""
    files = files_of(name)
    inner = Counter(p.relative_to(ROOT).parts[1] for p in files if len(p.relative_to(ROOT).parts) > 2)
    rooms = [f"{room} {n}" for room, n in inner.most_common()]
    lines = sum(len(path.read_text().splitlines()) for path in files)
    size = f"{len(files)} files, {lines:,} lines"
    return (f"{size}: {', '.join(rooms)}" if rooms and wide else size, *(() if wide else rooms))


def imports(names: list[str]) -> Counter[tuple[str, str]]:
    """Count the import statements from one package into another."""
    found: Counter[tuple[str, str]] = Counter()
    for name in names:
        for node in (node for path in files_of(name) for node in ast.walk(ast.parse(path.read_text()))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sceneleapultra."):
                target = str(node.module).split(".")[1]
                if target in names and target != name:
                    found[name, target] += 1
    return found


def place(rows: list[list[str]]) -> dict[str, Box]:
    """Place the boxes; a floor is as tall as its tallest box."""
    boxes, y = {}, MARGIN
    for row in rows:
        width = (WIDTH - 2 * MARGIN - GAP * (len(row) - 1)) // len(row)
        texts = [describe(name, width >= WIDE) for name in row]
        height = 2 * PADDING + TITLE - 6 + LINE * max(map(len, texts))
        for i, name in enumerate(row):
            boxes[name] = Box(name, texts[i], MARGIN + i * (width + GAP), y, width, height)
        y += height + FLOOR_GAP
    return boxes


def draw_box(box: Box, color: str) -> list[str]:
    """Draw a box with its name and its lines of text."""
    shape = f'x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="8"'
    parts = [f'<rect class="box" data-package="{escape(box.name)}" {shape} fill="{color}"/>']
    for i, text in enumerate((box.name, *box.texts)):
        kind = "name" if i == 0 else "size"
        y = box.y + PADDING + 12 + (TITLE - LINE if i else 0) + LINE * i
        parts.append(f'<text class="{kind}" x="{box.x + PADDING}" y="{y}">{escape(text)}</text>')
    return parts


def draw_arrow(
    boxes: dict[str, Box], pairs: list[tuple[str, str]], pair: tuple[str, str], n: int
) -> list[str]:
    """Draw an arrow from the lower edge of the importer to the upper edge of what it imports, and say how many."""

    def port(end: int) -> tuple[int, int]:
        """Return x and rank among the arrows at one edge, which are in the order of where they lead."""
        box = boxes[pair[end]]
        others = [p for p in pairs if p[end] == pair[end]]
        others.sort(key=lambda p: (boxes[p[1 - end]].x + boxes[p[1 - end]].width // 2, boxes[p[1 - end]].y))
        return box.x + box.width * (others.index(pair) + 1) // (len(others) + 1), others.index(pair)

    (x0, rank), (x1, _) = port(0), port(1)
    y0, y1 = boxes[pair[0]].y + boxes[pair[0]].height, boxes[pair[1]].y - 6
    bend = FLOOR_GAP // 2
    names = f'data-from="{escape(pair[0])}" data-to="{escape(pair[1])}"'
    path = f"M {x0} {y0} C {x0} {y0 + bend} {x1} {y1 - bend} {x1} {y1}"
    return [
        f'<path class="arrow" {names} stroke-width="{1 + min(n, 40) / 10:.1f}" d="{path}"/>',
        f'<text class="count" x="{x0 + 5}" y="{y0 + 12 + 13 * (rank % 2)}">{escape(pair[1])} {n}</text>',
    ]


def draw() -> str:
    """Return the picture."""
    rows = floors()
    boxes = place(rows)
    counted = imports(list(boxes))
    parts = [
        part for pair, n in sorted(counted.items()) for part in draw_arrow(boxes, list(counted), pair, n)
    ]
    for color, row in zip(COLORS, rows, strict=True):
        parts += [part for name in row for part in draw_box(boxes[name], color)]
    height = max(box.y + box.height for box in boxes.values()) + MARGIN
    head = 'viewBox="0 0 8 8" refX="6" refY="4" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse"'
    size = f'width="{WIDTH}" height="{height}"'
    start = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {WIDTH} {height}">',
        "<title>Packages of SceneLeapUltra: arrows lead to what a package imports, with the number of imports</title>",
        f"<style>{STYLE}</style>",
        f'<marker id="head" {head} orient="auto"><path d="M 0 0 L 8 4 L 0 8 z" fill="#6d8299"/></marker>',
        f'<rect {size} fill="white"/>',
    ]
    return "\n".join([*start, *parts, "</svg>\n"])


if __name__ == "__main__":
    PICTURE.write_text(draw())
