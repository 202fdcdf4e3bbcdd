"""Judge one trained model at growing numbers of evaluations by each sampler, and by each way of ranking its grasps.

    python -m benchmarks.samplers_and_ranks model_zoo/leap_table/model.ckpt data/quick.h5

All samplers answer the same views with the same noise, without guidance. Writes what is done so far to
benchmarks/results/samplers_and_ranks.json after every row.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import argparse
import time
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, command_line, write

STAGES = {"ddim": 1, "dpmpp_2m": 1, "heun": 2, "edm_heun": 2, "rk4": 4}  # evaluations of a step
KEPT = ("stable", "stable_and_collision_free", "penetration_mm", "num_grasps", "num_objects")


def main() -> None:
    """Judge, print and write."""
    parser = command_line(__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--items", type=int, default=16, help="views judged")
    parser.add_argument("--samples", type=int, default=8, help="grasps judged for each view by each sampler")
    parser.add_argument("--evaluations", type=int, nargs="*", default=(1, 2, 4, 8, 16, 32, 100))
    parser.add_argument("--candidates", type=int, default=100, help="grasps of which the best ten are judged")
    parser.add_argument("--temperature", type=float, default=0.2)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    measure(options)


def measure(options: argparse.Namespace) -> None:
    """Judge every way of sampling on the same views."""
    from sceneleapultra.datasets import GraspStore
    from sceneleapultra.evaluation.evaluate import evaluate_method
    from sceneleapultra.evaluation.methods.model import ModelMethod
    from sceneleapultra.evaluation.stored import chosen_items
    from sceneleapultra.hands import load_hand
    from sceneleapultra.models import load_grasp_model
    from sceneleapultra.simulation.protocols import get_protocol
    from sceneleapultra.utils.core.parallel import LocalExecutor

    model = load_grasp_model(options.checkpoint)
    hand = load_hand(model.hand.name)
    store = GraspStore(options.store, hand)
    items = chosen_items(store, "test", max_items=options.items, per_object=1, min_points=100, seed=0)
    settings: dict[str, Any] = {
        "hand": hand,
        "protocol": get_protocol("dgb-fc-quick"),
        "executor": LocalExecutor(workers=options.workers),
    }
    rows = []
    for rank, sampler, steps, k, keep in ways(options):
        changes = {"solver": sampler, "steps": steps, "temperature": options.temperature}
        changes |= {"guidance": "none", "rank": rank}
        method = ModelMethod(model, model.generator.sampling.changed(**changes), 0)
        start = time.process_time()
        method.sample_items(items[:1], k)
        spent = 1e3 * (time.process_time() - start) / k
        found = evaluate_method(method, items, k, keep=keep, min_clearance_m=0.0, **settings).summary()
        row = {
            "rank": rank,
            "sampler": sampler,
            "steps": steps,
            "samples": k,
            "keep": keep,
            "ms_per_sample": spent,
        }
        rows.append(row | {key: found[key] for key in KEPT})
        write({"rows": rows}, RESULTS / "samplers_and_ranks.json", seed=0)
        rate, (low, high) = 100 * found["stable"]["value"], found["stable"]["by_object95"]
        what = f"{sampler} {steps}" if keep is None else f"{sampler} {steps}, best {keep} of {k} by {rank}"
        print(
            f"{what:44s} {rate:5.1f} % [{100 * low:.0f}, {100 * high:.0f}], {spent:.1f} ms per sample",
            flush=True,
        )


def ways(options: argparse.Namespace) -> list[tuple[str, str, int, int, int | None]]:
    """Return (rank, sampler, steps, samples, kept) of every row; ten unranked grasps stand for no rank."""
    ranks = [(rank, "ddim", 10, options.candidates, 10) for rank in ("score", "log_prob")]
    steps = [
        ("none", name, (count - 1) // stages + 1, options.samples, None)
        for count in options.evaluations
        for name, stages in STAGES.items()
        if count > stages or name == "ddim"  # with fewer, every method is the one jump that ddim is
    ]
    return [("none", "ddim", 10, 10, None), *ranks, *steps]


if __name__ == "__main__":
    main()
