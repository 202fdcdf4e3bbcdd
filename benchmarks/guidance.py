"""What guidance does to a trained model's grasps, and what it costs: without and with, side by side.

    python -m benchmarks.guidance --store data/leap_table.h5
    python -m benchmarks.guidance --store data/leap_table.h5 --split val --rows none "hold scorer.iterations=3"

Prints JSON. The cost is processor time of whole calls of ``sample`` (encoding and scoring included), the two in turn.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from benchmarks.common import command_line, write
from sceneleapultra.datasets import GraspStore
from sceneleapultra.evaluation.evaluate import evaluate_method
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.base import Proposal
from sceneleapultra.evaluation.provenance import file_hash
from sceneleapultra.evaluation.stored import chosen_items
from sceneleapultra.hands import load_hand
from sceneleapultra.models import GraspModel, load_grasp_model
from sceneleapultra.models.guidance.guide import Guidance
from sceneleapultra.reporting.results import Role
from sceneleapultra.simulation.protocols import get_protocol
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.core.parallel import LocalExecutor
from sceneleapultra.utils.core.seeding import keyed_seed
from sceneleapultra.utils.core.stats import wilson_interval
from sceneleapultra.utils.records import Outcome
from sceneleapultra.utils.requests import GraspRequest


@dataclass
class Guided:
    """A model under one guidance, which counts the processor seconds it samples for."""

    model: GraspModel
    guidance: Guidance
    temperature: float
    name: str
    privileged_inputs: str = "none"
    role: Role = Role.MODEL
    cpu_s: float = field(default=0.0)

    def sample_items(self, items: Sequence[Item], k: int) -> list[Proposal]:
        """Sample ``k`` grasps for each item; the noise is keyed by the item."""
        return [self.sample(item, k) for item in items]

    def sample(self, item: Item, k: int) -> Proposal:
        """Sample for one item."""
        start = time.process_time()
        request = GraspRequest(
            points=item.view.points,
            object_mask=item.target_mask,
            viewpoint=item.view.T_world_cam[:3, 3],
            up=np.array([0.0, 0.0, 1.0]),
        )
        made = self.model.sample_request(
            request,
            k,
            seed=keyed_seed(0, item.index),
            sampling={"temperature": self.temperature, "guidance": self.guidance},
        )
        self.cpu_s += time.process_time() - start
        return Proposal(made.grasps, made.score)


def share(values: np.ndarray) -> dict[str, Any]:
    """Return a share of grasps with its interval."""
    low, high = wilson_interval(int(values.sum()), len(values))
    return {"value": round(float(values.mean()), 4), "low": round(low, 4), "high": round(high, 4)}


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("model_zoo/leap_table/model.ckpt"))
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=0.2)
    parser.add_argument("--protocol", default="dgb-fc-quick")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--rows",
        nargs="*",
        default=["none", "stable", "score", "physics", "physics_collision_free"],
        help="names of config/sampling/guidance, each with settings changed; costs are told by the first",
    )
    options = parser.parse_args()

    model = load_grasp_model(options.checkpoint)
    hand = load_hand(model.hand.name)
    store = GraspStore(options.store, hand)
    items = chosen_items(store, options.split, max_items=options.items, per_object=1, min_points=100, seed=0)
    methods = []
    for row in options.rows:
        name, *changes = row.split()
        guidance = OmegaConf.merge(load_group("sampling/guidance", name), OmegaConf.from_dotlist(changes))
        methods.append(Guided(model, build(guidance), options.temperature, row))
    for method in methods:  # first calls cost more
        method.sample(items[0], options.samples)
        method.cpu_s = 0.0
    measured: dict[str, Any] = {}
    for method in methods:
        result = evaluate_method(
            method,
            items,
            options.samples,
            hand=hand,
            protocol=get_protocol(options.protocol),
            executor=LocalExecutor(workers=options.workers),
            min_clearance_m=0.0,
        )
        table = result.table
        measured[method.name] = {
            "stable": share(table["stable"]),
            "collision_free": share(table["collision_free"]),
            "stable_and_collision_free": share(result.stable_and_collision_free),
            "penetration_mm": {
                "mean": round(1e3 * float(table["penetration_m"].mean()), 2),
                "median": round(1e3 * float(np.median(table["penetration_m"])), 2),
            },
            "outcomes": {o.name.lower(): int((table["outcome"] == o).sum()) for o in Outcome},
            "self_penetration_mm": round(1e3 * float(table["self_penetration_m"].mean()), 2),
            "cpu_ms_per_item": round(1e3 * method.cpu_s / len(items), 1),
            "cost_factor": round(method.cpu_s / methods[0].cpu_s, 2),
        }
        print(f"{method.name}: {json.dumps(measured[method.name])}", file=sys.stderr, flush=True)
    facts = {
        "checkpoint": f"{options.checkpoint} ({file_hash(options.checkpoint)})",
        "store": f"{options.store.name}, data hash {store.content_hash}",
        "split": options.split,
        "objects": len(items),
        "grasps": len(items) * options.samples,
        "protocol": options.protocol,
        "temperature": options.temperature,
    }
    write({**facts, "guidance": measured}, None, seed=0, show=True)


if __name__ == "__main__":
    main()
