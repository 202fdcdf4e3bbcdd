"""What ``benchmarks/gpu.py`` measures itself: sampling 100 grasps from 10,000 points, and steps of training.

    python -m benchmarks.gpu_work sampler --device cuda --out sampler.json

What a device cannot do is a row that says so.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from benchmarks.common import command_line, write
from benchmarks.sampling_cost import scene
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.graphed import GraphedSampler
from sceneleapultra.models.memory.plan import Planned
from sceneleapultra.models.memory.step import averages_of, run_step
from sceneleapultra.utils.core.config import CONFIG_DIR

AIM_MS = 5.0  # 100 grasps on an H200
_STEPS = 8  # of the solver
_NOT_HERE = "not run: it needs a GPU"


def main() -> None:
    """Measure a part."""
    parser = command_line(__doc__)
    parser.add_argument("part", choices=("sampler", "training"))
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows: dict[str, Any] = {}

    def add(name: str, row: dict[str, Any]) -> None:
        rows[name] = row
        print(name, row, flush=True)
        write({"part": options.part, "rows": rows}, options.out, seed=0, device=options.device)

    (sampler if options.part == "sampler" else training)(options.device, add)


def sampler(device: str, add: Callable[[str, dict[str, Any]], None]) -> None:
    """Time the shipped model's sampling of one scene: as it is, in bfloat16, compiled, and as one CUDA graph."""
    on_gpu = device == "cuda"
    grasps, points, rounds = (100, 10_000, 30) if on_gpu else (4, 1_000, 2)
    generator = load_grasp_model("leap_table", device=device).generator
    batch, changes = scene(points, 0).to(device), {"steps": _STEPS, "guidance": "none"}

    def draw() -> Any:
        return generator.sample(batch, grasps, seeds=[0], sampling=changes)

    size = {"grasps": grasps, "points": points, "solver_steps": _STEPS, "aim_ms": AIM_MS}
    add("fp32", size | times_ms(draw, rounds, device))
    with autocast(device):
        add("bf16", size | times_ms(draw, rounds, device))
    if not on_gpu:
        for name in ("fp32 compiled", "bf16 compiled", "fp32 CUDA graph"):
            add(name, {"outcome": _NOT_HERE})
        return
    generator.compiled = True
    add("fp32 compiled", size | times_ms(draw, rounds, device))
    with autocast(device):
        add("bf16 compiled", size | times_ms(draw, rounds, device))
    generator.compiled = False
    graphed = GraphedSampler(generator, changes)
    try:  # last, because a capture that fails may leave the device unusable
        add(
            "fp32 CUDA graph",
            size | times_ms(lambda: graphed(batch, grasps, seeds=[0]), rounds, device),
        )
    except RuntimeError as error:
        add("fp32 CUDA graph", {"outcome": f"not captured: {str(error).splitlines()[0]}"})


def training(device: str, add: Callable[[str, dict[str, Any]], None]) -> None:
    """Time steps of training and measure their memory, beside what the plan says."""
    on_gpu = device == "cuda"
    overrides = ["hardware=cpu", "experiment=leap_table" if on_gpu else "experiment=quickstart"]
    scenes, rounds = (32, 20) if on_gpu else (2, 2)
    for precision in ("32-true", "bf16-mixed"):
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            cfg = compose("config", overrides=[*overrides, f"hardware.precision={precision}"])
        planned = Planned.of(cfg, device)
        for compiled in (False, True):
            name = f"{precision}{' compiled' if compiled else ''}"
            if compiled and not on_gpu:
                add(name, {"outcome": _NOT_HERE})
                continue
            torch.manual_seed(0)
            module = planned.make_module().train().to(device)
            generator: Any = module.generator
            generator.compiled = compiled
            optimizer, averages = module.configure_optimizers()["optimizer"], averages_of(module)
            batch = planned.batch(scenes).to(device)

            def step(made: Any = (module, optimizer, batch, averages, precision)) -> None:
                run_step(*made)

            step()  # makes the optimizer's state
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            row: dict[str, Any] = {"scenes": scenes} | times_ms(step, rounds, device)
            if on_gpu and not compiled:
                peak, foretold = torch.cuda.max_memory_allocated(), planned.trace(scenes).peak
                row |= {"peak_bytes": peak, "planned_bytes": foretold}
                row["plan_error_percent"] = round(100 * (foretold / peak - 1), 1)
            elif not on_gpu:
                row["memory"] = _NOT_HERE
            add(name, row)
            del module, generator, optimizer, averages, batch, step


def times_ms(run: Callable[[], object], rounds: int, device: str) -> dict[str, float]:
    """Return median and deciles of the wall time of a call, after three that are not counted."""
    spent = []
    for number in range(rounds + 3):
        _wait(device)
        start = time.perf_counter()
        run()
        _wait(device)
        if number >= 3:
            spent.append(1e3 * (time.perf_counter() - start))
    spent.sort()
    low, high = spent[len(spent) // 10], spent[-1 - len(spent) // 10]
    return {"ms": round(statistics.median(spent), 3), "low_ms": round(low, 3), "high_ms": round(high, 3)}


def autocast(device: str) -> AbstractContextManager[Any]:
    """Compute in bfloat16 where that is safe."""
    return torch.autocast(device, torch.bfloat16)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
