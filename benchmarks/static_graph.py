"""Does DDP's ``static_graph`` pay? Steps of two processes with and without it, in turn, in the same processes.

    python -m benchmarks.static_graph

Ratios are of the processor time and of the wall time of one step with it and the step without it beside it; both start
from the same weights, and the largest difference between their weights after the last step is written.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.common import RESULTS, command_line, table, write
from sceneleapultra.models.memory.plan import Planned
from sceneleapultra.models.module import GraspModule
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.config import CONFIG_DIR

CASES = {"all at once": [], "decoder recomputed": ["decoder"]}
_SCENES = 12  # of each process, as `make quickstart` trains


class Loss(nn.Module):
    """What DDP wraps: a module whose forward pass is the loss of a training step."""

    def __init__(self, module: GraspModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: GraspBatch, step: int) -> Tensor:
        """Return the loss."""
        context = self.module.objective.context(self.module.generator, batch, step=step, training=True)
        return self.module.objective.total(self.module.objective.losses(context, training=True), step)


def main() -> None:
    """Measure and write."""
    parser = command_line(__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS / "static_graph.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, (folder, options.rounds), nprocs=2)
        rows = torch.load(Path(folder, "rows.pt"))
    write(
        {"processes": 2, "scenes": 2 * _SCENES, "rounds": options.rounds, "rows": rows}, options.out, seed=0
    )
    header = ["step", "processor time", "wall time", "largest difference of weights"]
    lines = [
        [name, f"{r['processor_ratio']:.3f}", f"{r['wall_ratio']:.3f}", f"{r['difference']:.1e}"]
        for name, r in rows.items()
    ]
    print(table(header, lines))


def work(rank: int, folder: str, rounds: int) -> None:
    """Be one of the two processes."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        planned = Planned.of(compose("config", overrides=["experiment=quickstart"]), "cpu")
    whole = planned.batch(2 * _SCENES)
    assert isinstance(whole, GraspBatch)
    batch = whole.scenes(_SCENES * rank, _SCENES * (rank + 1))
    rows = {name: compare(planned, recomputed, batch, rounds) for name, recomputed in CASES.items()}
    if rank == 0:
        torch.save(rows, Path(folder, "rows.pt"))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def compare(planned: Planned, recomputed: list[str], batch: GraspBatch, rounds: int) -> dict[str, float]:
    """Train two models in turn, one with a static graph."""
    sides: dict[bool, tuple[DistributedDataParallel, Any]] = {}
    for static in (False, True):
        torch.manual_seed(0)
        module = planned.make_module(recomputed).train()
        wrapped = DistributedDataParallel(Loss(module), static_graph=static)
        sides[static] = (wrapped, module.configure_optimizers()["optimizer"])
    ratios: list[tuple[float, float]] = []
    for number in range(rounds + 3):
        spent: dict[bool, tuple[float, float]] = {}
        for static in (False, True) if number % 2 else (True, False):
            torch.distributed.barrier()
            begun = time.process_time(), time.perf_counter()
            wrapped, optimizer = sides[static]
            optimizer.zero_grad()
            wrapped(batch, number).backward()
            optimizer.step()
            spent[static] = time.process_time() - begun[0], time.perf_counter() - begun[1]
        if number >= 3:  # buckets are built in the first steps
            ratios.append((spent[True][0] / spent[False][0], spent[True][1] / spent[False][1]))
    pairs = zip(sides[True][0].parameters(), sides[False][0].parameters(), strict=True)
    processor, wall = (round(statistics.median(column), 4) for column in zip(*ratios, strict=True))
    difference = max(float((a - b).detach().abs().max()) for a, b in pairs)
    return {"processor_ratio": processor, "wall_ratio": wall, "difference": difference}


if __name__ == "__main__":
    main()
