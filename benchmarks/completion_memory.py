"""What the autoencoder of completed scenes holds in memory: as a whole, recomputing, and decoded in tiles.

    python -m benchmarks.completion_memory --output benchmarks/results/completion_memory.json

One grid of each size. ``training`` is a forward and a backward pass, from distances to codes and back; ``decoding`` is
what a user's request costs. MiB are the most bytes of tensors beside the weights that live at one moment; what a kernel
keeps to itself while it runs is not counted. Milliseconds are processor time on one thread.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.common import command_line, table, write
from sceneleapultra.models.completion.vae import CELL, FieldVAE
from sceneleapultra.models.recomputing import recompute
from sceneleapultra.utils.core.config import load_group
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


def decoding(size: int, dim: int, channels: int, tile: int | None) -> Callable[[], None]:
    """Return the decoding of one grid, as a whole or in tiles."""
    vae = FieldVAE(dim=dim, channels=channels, reach_m=REACH_M, tile=tile)
    code = torch.randn(1, channels, *(size // CELL,) * 3)

    def decode() -> None:
        with torch.no_grad():
            vae.decode(code)

    return decode


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
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    channels = load_group("model/generator", "field_vae").channels
    rows: dict[str, dict[str, float]] = {}
    for size in options.sizes:
        sizes = size, options.dim, channels
        rows |= {
            f"training, {size}": cost(training(*sizes, [])),
            f"training, {size}, recomputed": cost(training(*sizes, ["encoder", "decoder"])),
            f"decoding, {size}": cost(decoding(*sizes, None)),
            f"decoding, {size}, tiles of {options.tile}": cost(decoding(*sizes, options.tile)),
        }
    lines = [[name, f"{row['mib']:.1f}", f"{row['ms']:.0f}"] for name, row in rows.items()]
    print(table(["grid", "MiB", "ms"], lines), flush=True)
    write({"rows": rows}, options.output, seed=0)


if __name__ == "__main__":
    main()
