"""What the autoencoder of completed scenes holds in memory: as a whole, recomputing, decoded in tiles, and in some.

    python -m benchmarks.completion_memory --output benchmarks/results/completion_memory.json

One grid of each size. ``training`` is a forward and a backward pass, from distances to codes and back; ``decoding`` is
what a request costs; ``active`` leaves out the tiles in which rays passed everything within reach, in the mean of
--views of --store. MiB are the most bytes of tensors beside the weights that live at one moment; what a kernel
keeps to itself while it runs is not counted. Milliseconds are processor time on one thread.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional

from benchmarks.common import ROOT, command_line, table, write
from sceneleapultra.datasets import GraspStore
from sceneleapultra.evaluation.stored import chosen_items
from sceneleapultra.hands import load_hand
from sceneleapultra.models.completion.vae import CELL, FieldVAE, active_cells
from sceneleapultra.models.recomputing import recompute
from sceneleapultra.utils.core.config import load_group
from sceneleapultra.utils.geometry.voxels.grid import Standpoint
from sceneleapultra.utils.geometry.voxels.observe import observe
from sceneleapultra.utils.geometry.voxels.settings import VoxelSettings
from sceneleapultra.utils.training.memory_trace import MemoryTrace

_MIB = 1 << 20
REACH_M = 0.03


def training(size: int, dim: int, channels: int, parts: list[str]) -> Callable[[], None]:
    """Return a forward and a backward pass on one grid, with parts that recompute."""
    vae = FieldVAE(dim=dim, channels=channels, reach_m=REACH_M, tile=None)
    if parts:
        recompute(vae, parts)
    distance = torch.rand(1, 2, size, size, size)

    def step() -> None:
        vae.decode(vae.encode(distance)[0]).sum().backward()

    return step


def decoding(
    size: int, dim: int, channels: int, tile: int | None, active: Bool[Tensor, "1 u v w"] | None = None
) -> Callable[[], None]:
    """Return the decoding of one grid, as a whole or in tiles, all or those with active cells."""
    vae = FieldVAE(dim=dim, channels=channels, reach_m=REACH_M, tile=tile)
    code = torch.randn(1, channels, *(size // CELL,) * 3)

    def decode() -> None:
        with torch.no_grad():
            vae.decode(code, active)

    return decode


def views(path: Path, split: str, number: int, size: int) -> Iterator[Bool[Tensor, "1 u v w"]]:
    """Yield the active cells of views of a store, in grids of so many voxels along each side."""
    settings = VoxelSettings(size=32, voxel_m=(0.006, 0.008), extent_m=(0.07,), reach_m=REACH_M).coarser(size)
    store = GraspStore(path, load_hand("leap_right"))
    for item in chosen_items(store, split, max_items=number, per_object=1, min_points=100, seed=0):
        points, mask, viewpoint = item.view.points, item.target_mask, item.view.T_world_cam[:3, 3]
        grid = settings.grid(points[mask], Standpoint(viewpoint, np.array([0.0, 0.0, 1.0]), 0.0))
        observed = torch.from_numpy(observe(grid, points, mask, viewpoint))[None]
        yield active_cells(observed, grid.voxel_m, REACH_M)


def share(active: Bool[Tensor, "1 u v w"], tile: int) -> dict[str, float]:
    """Return how many percent of the tiles have an active cell."""
    tiles = functional.max_pool3d(active[:, None].float(), tile, ceil_mode=True)
    return {"tiles_percent": 100.0 * float(tiles.mean())}


def mean(costs: list[dict[str, float]]) -> dict[str, float]:
    """Return the means of what several cost."""
    return {key: round(sum(found[key] for found in costs) / len(costs), 2) for key in costs[0]}


def cost(work: Callable[[], None]) -> dict[str, float]:
    """Return the memory and the time of work that has run once before."""
    work()
    trace = MemoryTrace({}, "all")
    with trace:
        work()
    start = time.process_time()
    work()
    ms = 1e3 * (time.process_time() - start)
    return {"mib": round(trace.peak / _MIB, 2), "ms": round(ms, 1)}


def main() -> None:
    """Measure, print and write."""
    parser = command_line(__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 64, 96], help="voxels along each side")
    parser.add_argument("--dim", type=int, default=8, help="channels at half of the resolution")
    parser.add_argument("--tile", type=int, default=8, help="codes along each side that are decoded at once")
    parser.add_argument("--store", type=Path, default=ROOT / "data" / "quick.h5")
    parser.add_argument("--split", default="test")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    channels = load_group("model/generator", "field_vae").channels
    rows: dict[str, dict[str, float]] = {}
    for size in options.sizes:
        sizes = size, options.dim, channels
        tile, masks = options.tile, list(views(options.store, options.split, options.views, size))
        in_some = [cost(decoding(*sizes, tile, active)) | share(active, tile) for active in masks]
        rows |= {
            f"training, {size}": cost(training(*sizes, [])),
            f"training, {size}, recomputed": cost(training(*sizes, ["encoder", "decoder"])),
            f"decoding, {size}": cost(decoding(*sizes, None)),
            f"decoding, {size}, tiles of {tile}": cost(decoding(*sizes, tile)),
            f"decoding, {size}, tiles of {tile}, active": mean(in_some),
        }
    lines = [[name, f"{row['mib']:.1f}", f"{row['ms']:.0f}"] for name, row in rows.items()]
    print(table(["grid", "MiB", "ms"], lines), flush=True)
    write({"rows": rows}, options.output, seed=0)


if __name__ == "__main__":
    main()
