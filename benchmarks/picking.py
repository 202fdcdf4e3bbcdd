"""How many grasps of a model pick their object out of its scene, and what each condition of the protocol is worth.

    python -m benchmarks.picking --store data/scenes1.h5 --grasps data/proposals.npz
    python -m benchmarks.picking --store data/scenes1.h5 --grasps data/proposals.npz --others 1 --conditions
    python -m benchmarks.picking --store data/scenes1.h5 --grasps data/proposals.npz --others 4 --lone

Samples for the first items of each split under each guidance, with a score for each grasp; the grasps are kept in
--grasps and read from there where they are. Tries the best of the samples by score, and some drawn at random ("all").
With --conditions the same grasps are tried under every variant of the protocol, one change at a time, paired with the
protocol as it is. With --lone only objects without neighbors are tried, by dgb-tabletop, too.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from omegaconf import OmegaConf

from benchmarks.common import command_line, table, write
from sceneleapultra.datasets import GraspStore
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.model import ModelMethod
from sceneleapultra.evaluation.metrics import success_rate
from sceneleapultra.evaluation.provenance import file_hash
from sceneleapultra.evaluation.stored import chosen_items
from sceneleapultra.hands import Hand
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.checkpoints.zoo import find_checkpoint
from sceneleapultra.simulation.protocols import HandModel, Protocol, evaluate_many
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.core.parallel import LocalExecutor
from sceneleapultra.utils.records import Grasps, Outcome
from sceneleapultra.utils.verdicts import VerdictTable

SPLITS = ("test", "test_family")
COLUMNS = ("hand_pose", "pregrasp_qpos", "squeeze_qpos", "score")
# Changes of scene-lift, one at a time. First what DexGraspNet 2.0's evaluator lets pass, then other conditions.
CONDITIONS = {
    "objects frozen until the lift": ["trial.frozen_until_lift=true"],
    "objects pass through one another": ["trial.surroundings.object_contacts=false"],
    "any object counts": ["trial.pick.any_object=true"],
    "3 cm are enough": ["trial.pick.min_rise_m=0.03"],
    "nothing after the lift": ["trial.timing.stay_s=0.0"],
    "need not be touched": ["trial.pick.touched=false"],
    "forces and shoves do not count": [
        "trial.clean.max_force_n=null",
        "trial.clean.max_neighbor_shift_m=null",
    ],
    "lift back along the approach": ["trial.motion.max_tilt_deg=60.0"],
    "scene-lift-dgn2": [],
    "stays its whole second": ["trial.timing.still_m=0.0"],
    "stays 3 s": ["trial.timing.stay_s=3.0", "trial.timing.still_m=0.0"],
    "shaken by 1.5 cm": ["trial.motion.shake_m=0.015", "trial.motion.shake_s=1.0"],
    "friction 0.4": ["physics.friction=[0.4,0.02]"],
    "friction 1.0": ["physics.friction=[1.0,0.02]"],
    "0.5 kg": ["trial.weight.mass_kg=0.5"],
    "500 kg/m3": ["trial.weight.mass_kg=null", "trial.weight.density_kg_m3=500.0"],
    "arm of 1 kN/m": ["trial.surroundings.arm_solref=[0.06,1.0]"],
    "motors of 0.95 N m": ["trial.surroundings.max_torque_nm=0.95"],
    "motors of 0.21 N m": ["trial.surroundings.max_torque_nm=0.21"],
    "straight down": ["trial.approach.directions=[up]"],
    "along the palm": ["trial.approach.directions=[palm]"],
    "half the time step": ["physics.timestep_s=0.002"],
}


@dataclass(frozen=True)
class Trials:
    """Grasps of one item, and which of a method's rows they are."""

    method: str
    split: str
    item: Item
    grasps: Grasps


def variant(base: str, name: str) -> Protocol:
    """Return the protocol under a condition."""
    known = name if name.startswith(base) else base
    changes = OmegaConf.from_dotlist(CONDITIONS[name])
    built: Protocol = build(OmegaConf.merge(load_group("protocol", known), changes))
    return built


def sampled(options: Any, items: dict[str, list[Item]]) -> dict[str, np.ndarray]:
    """Return the samples of every guidance, split and item, best first; read where they were kept."""
    path: Path = options.grasps
    if path.is_file():
        with np.load(path) as kept:
            return dict(kept)
    model = load_grasp_model(find_checkpoint(options.checkpoint))
    found: dict[str, Any] = {}
    for guidance in options.guidance:
        changes = {"temperature": options.temperature, "guidance": guidance, "rank": "score"}
        method = ModelMethod(model=model, sampling=model.generator.sampling.changed(**changes), seed=0)
        for split, chosen in items.items():
            for number, proposal in enumerate(method.sample_items(chosen, options.samples)):
                grasps = proposal.grasps
                values = (grasps.hand_pose, grasps.pregrasp_qpos, grasps.squeeze_qpos, proposal.score)
                found |= {f"{guidance}/{split}/{number}/{c}": v for c, v in zip(COLUMNS, values, strict=True)}
            print(f"sampled {guidance}, {split}", file=sys.stderr, flush=True)
    np.savez_compressed(path, **found)
    return found


def trials(
    samples: dict[str, np.ndarray], items: dict[str, list[Item]], guidances: list[str], others: int
) -> Iterator[Trials]:
    """Yield the best grasp of each item, and some of all its samples."""
    for guidance in guidances:
        for split, chosen in items.items():
            for number, item in enumerate(chosen):
                columns = [samples[f"{guidance}/{split}/{number}/{name}"] for name in COLUMNS]
                grasps = Grasps(*columns[:3])
                order = np.argsort(-columns[3], kind="stable")
                drawn = np.random.default_rng([0, item.index]).choice(len(grasps), others, replace=False)
                yield Trials(f"{guidance}, best of {len(grasps)}", split, item, grasps[order[:1]])
                yield Trials(f"{guidance}, all", split, item, grasps[drawn])


def evaluate(hand: HandModel, protocol: Protocol, groups: list[Trials], workers: int) -> VerdictTable:
    """Try every grasp."""
    jobs = [(t.item.scene, t.item.target, t.grasps) for t in groups]
    return VerdictTable.concatenate(evaluate_many(hand, jobs, protocol, LocalExecutor(workers=workers)))


def rate(success: Bool[np.ndarray, "n"], objects: np.ndarray) -> dict[str, Any]:
    """Return a share in percent with its intervals over trials and over objects."""
    found = success_rate(success, list(objects), seed=0, resamples=2000)
    return {
        "percent": round(100 * found.value, 1),
        "successes": found.successes,
        "trials": found.trials,
        "wilson95": [round(100 * x, 1) for x in found.wilson],
        "by_object95": [round(100 * x, 1) for x in found.clustered],
    }


def summarized(verdicts: VerdictTable, rows: Bool[np.ndarray, "n"]) -> dict[str, Any]:
    """Return what a method did, split by split or in all."""
    some = verdicts.rows(rows & verdicts.ran)
    outcomes = {o.name.lower(): int((some["outcome"] == o).sum()) for o in Outcome}
    return {
        **{key: rate(some[key], some["object_name"]) for key in ("picked_cleanly", "picked")},
        "outcomes": {name: count for name, count in outcomes.items() if count},
    }


def compared(verdicts: VerdictTable, default: VerdictTable) -> dict[str, Any]:
    """Return the rates under a condition, and the verdicts gained and lost against the protocol as it is."""
    found: dict[str, Any] = {"protocol_hash": verdicts.protocol_hash}
    for key in ("picked_cleanly", "picked"):
        gained, lost = verdicts[key] & ~default[key], ~verdicts[key] & default[key]
        found[key] = rate(verdicts[key], verdicts["object_name"]) | {
            "gained": int(gained.sum()),
            "lost": int(lost.sum()),
        }
    return found


def agreement(picked: VerdictTable, tabletop: VerdictTable) -> dict[str, Any]:
    """Return how often two protocols say the same of the same grasps."""
    a, b = picked["picked"], tabletop["stable"]
    return {
        "lifts": len(a),
        "percent": round(100 * float((a == b).mean()), 1),
        "both": int((a & b).sum()),
        "neither": int((~a & ~b).sum()),
        "only_picked": int((a & ~b).sum()),
        "only_dgb_tabletop": int((~a & b).sum()),
    }


def main() -> None:
    """Measure, print and write."""
    parser = command_line(__doc__)
    parser.add_argument("--checkpoint", default="leap_table")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--grasps", type=Path, required=True)
    parser.add_argument("--guidance", nargs="*", default=["none", "score"])
    parser.add_argument("--temperature", type=float, default=0.2)
    parser.add_argument("--items", type=int, default=31, help="of each split")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--others", type=int, default=8, help="samples of each item tried beside the best")
    parser.add_argument("--protocol", default="scene-lift")
    parser.add_argument("--conditions", nargs="*", default=None, help="none named: all of them")
    parser.add_argument("--lone", action="store_true", help="objects without neighbors only")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()

    checkpoint = find_checkpoint(options.checkpoint)
    description = load_grasp_model(checkpoint).hand.description
    store = GraspStore(options.store, Hand(description))
    # Chosen of 64 as a test chooses them: the first of them are the same whatever the number.
    items = {
        split: chosen_items(store, split, max_items=64, per_object=1, min_points=100, seed=0)[: options.items]
        for split in SPLITS
    }
    hand = HandModel.from_hand(Hand(description))
    samples = sampled(options, items)
    groups = [
        group
        for group in trials(samples, items, options.guidance, options.others)
        if not options.lone or len(group.item.scene.objects) == 1
    ]
    protocol: Protocol = build(load_group("protocol", options.protocol))
    start = time.process_time()
    verdicts = evaluate(hand, protocol, groups, options.workers)
    seconds = time.process_time() - start

    count = [len(t.grasps) for t in groups]
    method, split = (np.repeat([getattr(t, name) for t in groups], count) for name in ("method", "split"))
    methods = {
        name: {
            each: summarized(verdicts, (method == name) & np.isin(split, chosen))
            for each, chosen in (*((s, [s]) for s in SPLITS), ("together", SPLITS))
        }
        for name in dict.fromkeys(method)
    }
    document: dict[str, Any] = {
        "checkpoint": f"{options.checkpoint} ({file_hash(checkpoint)})",
        "data": store.content_hash,
        "items": {name: len(chosen) for name, chosen in items.items()},
        "temperature": options.temperature,
        "protocol": f"{protocol.name} ({protocol.hash})",
        "lifts": len(verdicts),
        "not_run": int((~verdicts.ran).sum()),
        "lifts_per_cpu_second": round(len(verdicts) / seconds, 2) if not options.workers else None,
        "methods": methods,
    }
    rows = [
        [name, each, *(f"{s[k]['percent']} {s[k]['wilson95']}" for k in ("picked_cleanly", "picked"))]
        for name, of_split in methods.items()
        for each, s in of_split.items()
    ]
    print(table(["method", "split", "picked cleanly, %", "picked, %"], rows), flush=True)
    if options.lone:
        tabletop: Protocol = build(load_group("protocol", "dgb-tabletop"))
        document["dgb_tabletop"] = agreement(verdicts, evaluate(hand, tabletop, groups, options.workers))
    write(document, options.output, seed=0)
    if options.conditions is not None:
        document["conditions"] = {}
        for name in options.conditions or CONDITIONS:
            found = evaluate(hand, variant(options.protocol, name), groups, options.workers)
            document["conditions"][name] = compared(found, verdicts)
            print(f"{name}: {json.dumps(document['conditions'][name])}", file=sys.stderr, flush=True)
            write(document, options.output, seed=0)


if __name__ == "__main__":
    main()
