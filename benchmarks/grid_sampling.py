"""What grid-aware subsampling costs: one sort against a loop over the cells.

    python -m benchmarks.grid_sampling --output benchmarks/results/grid_sampling.json

Keeps 30-70 % of each cell of clouds spread over a surface. Milliseconds of processor time on one thread: the median of
`--repeats` calls; the loop is called once per cloud.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import command_line, write
from sceneleapultra.utils.geometry.grid_numpy import (
    cell_shares,
    cells_numpy,
    grid_subsample_numpy,
)
from sceneleapultra.utils.geometry.grid_sampling import cells, kept

CELL_M = 0.005
RATIO = (0.3, 0.7)
# Points, and the edge of the square that they are spread over (m): the number of cells follows.
CLOUDS = [(10_000, 0.27), (100_000, 1.15), (1_000_000, 2.3)]


def cloud(n: int, edge_m: float) -> np.ndarray:
    """Return points on a gently curved sheet."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0.0, edge_m, size=(2, n))
    return np.stack([x, y, 0.02 * np.sin(20 * x)], axis=-1).astype(np.float32)


def by_loop(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Do the same with a permutation per cell."""
    numbers = cells_numpy(points, CELL_M)
    by_cell = np.argsort(numbers, kind="stable")
    _, begins = np.unique(numbers[by_cell], return_index=True)
    chosen = []
    for group in np.split(by_cell, begins[1:]):
        count = max(1, int(np.ceil(rng.uniform(*RATIO) * len(group))))
        chosen.append(rng.permutation(group)[:count])
    return np.sort(np.concatenate(chosen))


def milliseconds(call: Callable[[], Any], repeats: int) -> float:
    """Return the median processor time of a call."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return round(1e3 * statistics.median(times), 3)


def measure(n: int, edge_m: float, repeats: int) -> dict[str, Any]:
    """Time every form on one cloud."""
    points = cloud(n, edge_m)
    rng = np.random.default_rng(1)
    batch = torch.from_numpy(points)[None]
    valid = torch.ones(1, n, dtype=torch.bool)
    shares = torch.tensor([cell_shares("half", RATIO)])
    generator = torch.Generator().manual_seed(1)

    def with_torch() -> torch.Tensor:
        order = torch.randperm(n, generator=generator)[None]
        uniform = torch.rand(1, n, generator=generator)
        return kept(cells(batch, CELL_M), valid, order, uniform, shares)

    def with_numpy() -> np.ndarray:
        return grid_subsample_numpy(points, scenario="half", cell_m=CELL_M, ratio=RATIO, rng=rng)

    row = {
        "points": n,
        "cells": len(np.unique(cells_numpy(points, CELL_M))),
        "kept_share": round(len(with_numpy()) / n, 4),
        "numpy_ms": milliseconds(with_numpy, repeats),
        "torch_ms": milliseconds(with_torch, repeats),
        "loop_ms": milliseconds(lambda: by_loop(points, rng), 1),
    }
    return row | {"loop_over_numpy": round(row["loop_ms"] / row["numpy_ms"], 1)}


def main() -> None:
    """Measure, print, and write where asked to."""
    parser = command_line(__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    document = {
        "what": "keep 30-70 % of each 5 mm cell; processor milliseconds on one thread",
        "numpy": np.__version__,
        "clouds": [measure(n, edge_m, arguments.repeats) for n, edge_m in CLOUDS],
    }
    write(document, arguments.output, seed=1, show=True)


if __name__ == "__main__":
    main()
