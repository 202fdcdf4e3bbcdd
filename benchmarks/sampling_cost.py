"""What sampling costs beside a reference-like baseline of the same network: 100 ancestral steps, the scene encoded anew
for each, float32, not compiled.

    python -m benchmarks.sampling_cost --store data/test_all.h5 --output benchmarks/results/sampling_cost.json

Prints and writes JSON: processor milliseconds per grasp, and the ratio, and with a store the success in simulation. All
ways draw the same number of grasps for the same random cloud, in turn, in one process, without guidance but where it is
named. Recomputing the context changes no grasp, so the reference is judged by 100 ancestral steps.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import command_line, write
from sceneleapultra.evaluation.provenance import file_hash
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.process import Diffusion
from sceneleapultra.models.ranking import Unranked
from sceneleapultra.models.sampling import SampleRandom, choose_anchors
from sceneleapultra.utils.batch import GraspBatch


def scene(num_points: int, seed: int) -> GraspBatch:
    """Return one cloud: the near half of a can on a table."""
    rng = np.random.default_rng(seed)
    count = int(0.6 * num_points)
    angle, height = rng.uniform(-1.5, 1.5, count), rng.uniform(0.0, 0.1, count)
    can = np.stack([0.035 * np.cos(angle), 0.035 * np.sin(angle), height], axis=1)
    flat = rng.uniform(-0.2, 0.2, (num_points - count, 2))
    points = np.concatenate([can, np.concatenate([flat, np.zeros((len(flat), 1))], axis=1)])
    return GraspBatch(
        scene_pc=torch.from_numpy(points.astype(np.float32))[None],
        point_valid=torch.ones(1, num_points, dtype=torch.bool),
        object_mask=(torch.arange(num_points) < count)[None],
        viewpoint=torch.tensor([[0.5, 0.0, 0.5]]),
        up=torch.tensor([[0.0, 0.0, 1.0]]),
        T_world_frame=torch.eye(4)[None],
    )


def reference(generator: GraspGenerator, batch: GraspBatch, k: int) -> None:
    """Sample 100 ancestral steps, each encoding the scene and projecting keys and values again."""
    config = generator.sampling.changed(solver="ddpm", steps=100)
    rng, cloud = SampleRandom([0], generator.device), Cloud.of(batch)
    with torch.no_grad():
        index = choose_anchors(generator.encode(cloud), k, config.anchor_temperature, rng)

        def denoise(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            anchored = generator.anchor(generator.encode(cloud), index, torch.zeros_like(index))
            return generator.predict_x0(x_t, t, anchored)

        noise = rng(torch.empty(1, k, generator.dim_input))
        samples = generator.process.solve(config.solver, denoise, noise, rng, trajectory=False)
        anchored = generator.anchor(generator.encode(cloud), index, torch.zeros_like(index))
        config.rank.score(Unranked(generator, anchored, generator.decode(samples.x0, anchored), rng, None))


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("model_zoo/leap_table/model.ckpt"))
    parser.add_argument("--store", type=Path, help="whose unseen objects the grasps are judged on")
    parser.add_argument("--items", type=int, default=120, help="views judged, of as many objects")
    parser.add_argument("--samples", type=int, default=8, help="grasps judged for each")
    parser.add_argument("--temperature", type=float, default=0.2)
    parser.add_argument("--grasps", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load_grasp_model(options.checkpoint)
    generator = loaded.generator
    if not isinstance(generator.process, Diffusion):
        raise SystemExit(f"{options.checkpoint} is no diffusion model: the reference takes 100 steps.")
    batch = scene(loaded.cloud_settings["num_points"], 0)

    def ours(steps: int, guidance: str = "none") -> Callable[[int], Any]:
        changes = {"steps": steps, "guidance": guidance}
        return lambda k: generator.sample(batch, k, seeds=[0], sampling=changes)

    ways: dict[str, Callable[[int], Any]] = {
        "reference": lambda k: reference(generator, batch, k),
        "ddim 20": ours(20),
        "ddim 8": ours(8),
        "ddim 6": ours(6),
        "ddim 4": ours(4),
        "ddim 20, physics": ours(20, "physics"),
    }
    measured: dict[str, Any] = {}
    for k in options.grasps:
        spent = {name: 0.0 for name in ways}
        for name in ("ddim 4", "ddim 20, physics"):
            ways[name](k)  # first calls cost more
        for _ in range(options.rounds):
            for name, way in ways.items():
                start = time.process_time()
                way(k)
                spent[name] += time.process_time() - start
        measured[f"{k} grasps"] = {
            name: {
                "cpu_ms_per_grasp": round(1e3 * s / options.rounds / k, 2),
                "ratio": round(spent["reference"] / s, 1),
            }
            for name, s in spent.items()
        }
    facts = {
        "checkpoint": f"{options.checkpoint} ({file_hash(options.checkpoint)})",
        "parameters": sum(p.numel() for p in generator.parameters()),
        "threads": 1,
    }
    success = {} if options.store is None else labeled(options)
    write({**facts, "cost": measured, **success}, options.output, seed=0, show=True)


def labeled(options: argparse.Namespace) -> dict[str, Any]:
    """Put the grasps of each way into simulation: the same views, no ranking."""
    from sceneleapultra.datasets import GraspStore
    from sceneleapultra.evaluation.evaluate import evaluate_method
    from sceneleapultra.evaluation.methods.model import ModelMethod
    from sceneleapultra.evaluation.stored import chosen_items
    from sceneleapultra.simulation.protocols import get_protocol
    from sceneleapultra.utils.core.parallel import LocalExecutor

    model = load_grasp_model(options.checkpoint)
    hand = model.hand
    store = GraspStore(options.store, hand)
    items = chosen_items(store, "test", max_items=options.items, per_object=1, min_points=100, seed=0)
    settings: dict[str, Any] = {
        "hand": hand,
        "protocol": get_protocol("dgb-fc-quick"),
        "executor": LocalExecutor(workers=1),
    }
    rows = {}
    for sampler, steps in (("ddpm", 100), ("ddim", 20), ("ddim", 8), ("ddim", 6), ("ddim", 4)):
        changes = {"solver": sampler, "steps": steps, "guidance": "none", "rank": "none"}
        changes["temperature"] = options.temperature
        method = ModelMethod(model, model.generator.sampling.changed(**changes), 0)
        found = evaluate_method(method, items, options.samples, min_clearance_m=0.0, **settings).summary()
        rows[f"{sampler} {steps}"] = {k: found[k] for k in ("stable", "num_grasps", "num_objects")}
        print(f"{sampler} {steps}: {json.dumps(rows[f'{sampler} {steps}'])}", file=sys.stderr, flush=True)
    return {"data_hash": store.content_hash, "temperature": options.temperature, "labeled": rows}


if __name__ == "__main__":
    main()
