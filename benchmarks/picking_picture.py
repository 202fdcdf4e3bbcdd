"""A picture of benchmarks/picking_table.py: how often objects are picked, over their height and width.

    python -m benchmarks.picking_picture benchmarks/results/picking_table.json docs/pictures/picking.png

A panel for the best grasp of each model, one for all of its grasps, one for the generator's own tries, over all sets
of the table. A cell says percent and number of tries.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from benchmarks.picking_table import HEIGHTS_MM, WIDTHS_MM, bin_names

Cells = dict[str, Any]


def joined(sets: dict[str, Any], role: str) -> Cells:
    """Return successes and trials of each cell over all sets."""
    successes, trials = Counter[str](), Counter[str]()
    for found in sets.values():
        for cell, rate in found[role]["by_height_and_width"].items():
            successes[cell] += rate["successes"]
            trials[cell] += rate["trials"]
    return {cell: {"successes": successes[cell], "trials": trials[cell]} for cell in trials}


def draw(axes: Any, cells: Cells, title: str) -> None:
    """Draw a panel."""
    heights, widths = bin_names(HEIGHTS_MM), bin_names(WIDTHS_MM)
    share = np.full((len(heights), len(widths)), np.nan)
    for i, height in enumerate(heights):
        for j, width in enumerate(widths):
            cell = cells.get(f"{height} high, {width} wide")
            if cell is not None:
                share[i, j] = 100 * cell["successes"] / cell["trials"]
                dark = share[i, j] < 35 or share[i, j] > 85
                label = f"{share[i, j]:.0f} %\n{cell['trials']}"
                axes.text(
                    j, i, label, ha="center", va="center", color="white" if dark else "black", fontsize=8
                )
    axes.imshow(share, vmin=0, vmax=100, cmap="RdYlGn", origin="lower", aspect="auto")
    axes.set_xticks(range(len(widths)), [w.removesuffix(" mm") for w in widths])
    axes.set_yticks(range(len(heights)), [h.removesuffix(" mm") for h in heights])
    axes.set(title=title, xlabel="narrowest width (mm)", ylabel="height as it lies (mm)")


def main() -> None:
    """Read, draw and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    document = json.loads(options.table.read_text())
    panels = [
        (f"{name}, {role}", joined(model["sets"], key))
        for name, model in document["models"].items()
        for key, role in (("best", "best grasp"), ("all", "all grasps"))
    ]
    if "generator" in document:
        panels.append(("generator, its tries", document["generator"]["by_height_and_width"]))
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.2 * columns, 3.6 * rows), squeeze=False)
    for place in axes.flat[len(panels) :]:
        place.set_visible(False)
    for place, (title, cells) in zip(axes.flat, panels, strict=False):
        draw(place, cells, title)
    figure.tight_layout()
    figure.savefig(options.picture, dpi=110)
    # A palette of 64 colors is a quarter of the size, and looks the same.
    Image.open(options.picture).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(options.picture)


if __name__ == "__main__":
    main()
