"""Memory of a training step: what `sceneleap plan` says, beside the resident memory of processes that train.

    python -m benchmarks.plan --out benchmarks/results/plan.json

Each row is a process of its own: it builds the model after it measured itself, trains two steps on a CPU, and the most
it ever held in between is what is compared. Allocations of 64 KB and more go to the system and back (glibc's
MALLOC_MMAP_THRESHOLD_), so that resident memory is what the step holds and not what the allocator keeps.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import common

# Overrides, and scenes of a step.
CASES: dict[str, tuple[list[str], int]] = {
    "pointnet2, dit": (["experiment=leap_table"], 32),
    "pointnet2, unet": (["experiment=leap_table", "model/generator/decoder=unet"], 32),
    "pointnet2, dit, sets, 24 grasps": (["data.cloud.num_points=2048"], 16),
    "pointnet_lite, dit": (["experiment=leap_table", "model/generator/encoder=pointnet_lite"], 64),
    "ptv3_light, dit": (
        ["experiment=leap_table", "model/generator/encoder=ptv3_light", "data.cloud.num_points=2048"],
        8,
    ),
    "ptv3, unet, recomputed": (
        [
            "experiment=leap_table",
            "model/generator/encoder=ptv3",
            "model/generator/decoder=unet",
            "data.cloud.num_points=2048",
        ],
        4,
    ),
    "completion, 32 voxels": (["experiment=completion"], 8),
    "completion, 64 voxels": (["experiment=completion", "data.cloud.size=64"], 4),
    "completion, 96 voxels": (["experiment=completion", "data.cloud.size=96"], 2),
}
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}


def measure(overrides: list[str], scenes: int) -> int:
    """Return the bytes that two steps of training needed at most, above what the process held before the model."""
    environ = os.environ | _ALLOCATOR | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", json.dumps([overrides, scenes])]
    done = subprocess.run(command, cwd=common.ROOT, env=environ, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def _measured_here(overrides: list[str], scenes: int) -> int:
    from sceneleapultra.models.memory.plan import Planned
    from sceneleapultra.models.memory.step import averages_of, run_step

    small = [] if "experiment=completion" in overrides else _SMALL
    warm = Planned.of(_composed([*overrides, *small]), "cpu")
    _train(warm, 2, run_step, averages_of)
    del warm
    planned = Planned.of(_composed(overrides), "cpu")
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins again here
    _train(planned, scenes, run_step, averages_of)
    return _status("VmHWM") - before


# Of the model that is trained before, so that libraries are loaded.
_SMALL = [
    "model.generator.decoder.dim=16",
    "model.generator.decoder.heads=2",
    "model.generator.decoder.depth=1",
]


def _train(planned: Any, scenes: int, run_step: Any, averages_of: Any) -> None:
    module = planned.make_module().train()
    optimizer, averages = module.configure_optimizers()["optimizer"], averages_of(module)
    batch = planned.batch(scenes)
    for _ in range(2):
        run_step(module, optimizer, batch, averages, str(planned.cfg.trainer.precision))


def _composed(overrides: list[str]) -> Any:
    from hydra import compose, initialize_config_dir

    from sceneleapultra.utils.core.config import CONFIG_DIR

    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("config", overrides=["hardware=cpu", *overrides])


def _status(name: str) -> int:
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(name))
    return 1024 * int(line.split()[1])


def foretell(overrides: list[str], scenes: int) -> Any:
    """Return what the plan says of the same steps."""
    from sceneleapultra.models.memory.plan import Planned

    return Planned.of(_composed(overrides), "cpu").trace(scenes)


def main() -> None:
    """Print and write the table."""
    parser = common.command_line(__doc__)
    parser.add_argument("--case", choices=list(CASES), nargs="*", default=list(CASES))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", help="a row, for a process of its own")
    options = parser.parse_args()
    if options.measure:
        print(_measured_here(*json.loads(options.measure)))
        return
    rows = []
    for name in options.case:
        measured, plan = measure(*CASES[name]), foretell(*CASES[name])
        rows.append(
            {
                "case": name,
                "overrides": " ".join(CASES[name][0]),
                "scenes": CASES[name][1],
                "planned_bytes": plan.peak,
                "measured_bytes": measured,
                "error_percent": round(100 * (plan.peak / measured - 1), 1),
                "largest_part": next(iter(plan.by_part)),
            }
        )
        print(json.dumps(rows[-1]), plan, flush=True)
    common.write({"rows": rows}, options.out, seed=0)


if __name__ == "__main__":
    main()
