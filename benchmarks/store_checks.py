"""What the checksums of a store cost: to open it, to read all views for the first time, and again.

    python -m benchmarks.store_checks data/quick.h5 --output benchmarks/results/store_checks.json

The same store with and without checksums, in turn, in one process: medians of the rounds' processor times, and of their
differences, since the machine changes its pace from round to round.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import h5py

from benchmarks.common import command_line, write
from sceneleapultra.datasets.store.blocks import CHECKSUMS
from sceneleapultra.datasets.store.layout import repack
from sceneleapultra.datasets.store.shard import Shard
from sceneleapultra.datasets.store.store import GraspStore


def cpu_ms(work: Callable[[], object]) -> float:
    """Return the processor time of something."""
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def read_views(store: GraspStore) -> int:
    """Read every view."""
    views = [view for scene in range(store.num_scenes) for view in store.scene_views(scene)]
    for view in views:
        store.view(view)
    return len(views)


def paired(off: Callable[[], object], on: Callable[[], object], rounds: int) -> dict[str, float]:
    """Return the median of the first in ms, and the median of what the second takes longer than the first beside it."""
    pairs = [(cpu_ms(off), cpu_ms(on)) for _ in range(rounds)]
    without = median(a for a, _ in pairs)
    more = median(b - a for a, b in pairs)
    return {"off_ms": round(without, 2), "more_ms": round(more, 2), "share": round(more / without, 4)}


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        off, on = Path(name) / "off.h5", Path(name) / "on.h5"
        shard = Shard(arguments.store)
        with h5py.File(arguments.store) as source:
            repack(source, off, shard.attributes)
            repack(source, on, shard.attributes)
        with h5py.File(off, "r+") as file:
            del file[CHECKSUMS], file.attrs["schema_minor"]
        GraspStore(off), GraspStore(on)  # what is done once in a process
        rows = {"open": paired(lambda: GraspStore(off), lambda: GraspStore(on), arguments.rounds)}
        first = [(GraspStore(off), GraspStore(on)) for _ in range(arguments.rounds)]
        stores = iter([s for pair in first for s in pair])
        rows["all views, first"] = paired(
            lambda: read_views(next(stores)), lambda: read_views(next(stores)), arguments.rounds
        )
        one, other = first[0]
        rows["all views, again"] = paired(
            lambda: read_views(one), lambda: read_views(other), arguments.rounds
        )
        result = {
            "bytes": arguments.store.stat().st_size,
            "views": read_views(one),
            "rounds": arguments.rounds,
            "rows": rows,
        }
    write(result, arguments.output, seed=None, show=True)


if __name__ == "__main__":
    main()
