"""How often models pick their objects out of scenes, by set of objects, by height and width; and whether they know it.

    python -m benchmarks.picking_table --models leap_table --sets "unseen objects=data/test.h5:test"
        "unseen families=data/test.h5:test_family" "YCB=data/ycb.h5:test" --retrieval data/leap_pick.h5
        --generator data/leap_pick.h5 --output benchmarks/results/picking_table.json

Each item is one object of a scene under one view. A model draws --samples grasps by its own sampling; the best by its
score, the best --kept that differ (`SampledGrasps.best`), and as many drawn at random ("all") are tried. Calibration
compares the probability that a score stands for with what became of the grasps drawn at random. A target that
carries a neighbor moves it when raised by itself (`bare_lift`): rates without those targets stand beside. Retrieval
answers with grasps of the training view that looks most alike; what became of the generator's own tries is read from
its store.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from omegaconf import OmegaConf

from benchmarks.common import command_line, table, write
from benchmarks.picking import rate
from sceneleapultra.datasets import GraspStore
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.base import Method
from sceneleapultra.evaluation.methods.model import ModelMethod
from sceneleapultra.evaluation.methods.training_index import TrainingIndex
from sceneleapultra.evaluation.provenance import file_hash
from sceneleapultra.evaluation.stored import chosen_items, split_records
from sceneleapultra.evaluation.suite import build_baseline
from sceneleapultra.hands import Hand
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.apart import best_and_apart
from sceneleapultra.models.checkpoints.zoo import find_checkpoint
from sceneleapultra.models.metrics import BinaryPart
from sceneleapultra.simulation.protocols import HandModel, Protocol, bare_lift, evaluate_many
from sceneleapultra.simulation.protocols.trials import SceneLift
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.core.parallel import LocalExecutor
from sceneleapultra.utils.records import Grasps, ObjectRecord, Outcome
from sceneleapultra.utils.verdicts import VerdictTable

HEIGHTS_MM = (15, 25, 35, 60)
WIDTHS_MM = (15, 30, 60, 90)
APART = {"apart_m": 0.03, "apart_rad": 0.5}
ROLES = ("best", "kept", "all")


@dataclass(frozen=True)
class Attempted:
    """Grasps of one item that are tried for one reason."""

    model: str
    set_name: str
    role: str
    number: int  # of the item in its set
    item: Item
    grasps: Grasps
    score: np.ndarray
    free: bool  # the target can be raised without moving a neighbor


def size_mm(record: ObjectRecord, T: Float[np.ndarray, "4 4"]) -> tuple[float, float]:
    """Return how high an object at a pose lies, and how wide it is across its narrowest horizontal direction."""
    points = record.vertices @ T[:3, :3].T + T[:3, 3]
    angles = np.linspace(0.0, np.pi, 36, endpoint=False)
    along = points[:, :2] @ np.stack([np.cos(angles), np.sin(angles)])
    return 1e3 * float(points[:, 2].max()), 1e3 * float(np.ptp(along, axis=0).min())


def fits_hand(item: Item) -> bool:
    """Say whether the object has a smallest extent of 15 mm or more, a middle one to 110 mm, a largest to 220 mm."""
    low, middle, high = sorted(1e3 * np.ptp(item.object.vertices, axis=0))
    return low >= 15 and middle <= 110 and high <= 220


def methods(options: Any, hand: Hand) -> Iterator[tuple[str, str | None, Method]]:
    """Yield each method with its name and the hash of its file."""
    changes = {str(k): v for k, v in OmegaConf.from_dotlist(options.sampling).items()}
    for name in options.models:
        path = find_checkpoint(name)
        model = load_grasp_model(path)
        sampling = model.generator.sampling.changed(**changes)
        yield name, file_hash(path), ModelMethod(model=model, sampling=sampling, seed=0)
    if options.retrieval is not None:
        records = split_records(GraspStore(options.retrieval, hand), "train")
        retrieval = load_group("evaluation/method", "nearest_view")
        pool = TrainingIndex.from_records(records)
        yield "retrieval", None, build_baseline(retrieval, {"hand": hand, "pool": pool, "seed": 0})


def free_targets(items: dict[str, list[Item]], hand: HandModel, protocol: Protocol) -> dict[str, list[bool]]:
    """Return which targets can be raised by themselves without moving a neighbor by more than a clean pick may."""
    if not isinstance(protocol.trial, SceneLift):
        raise SystemExit(
            f"--protocol={protocol.name}: expected one that lifts out of the scene, as scene-lift does. What other "
            "protocols say of a model is measured by test_lightning.py protocol=..."
        )
    limit_m = protocol.trial.clean.max_neighbor_shift_m or np.inf
    return {
        name: [bare_lift(hand, item.scene, item.target, protocol) <= limit_m for item in chosen]
        for name, chosen in items.items()
    }


def propose(
    name: str, method: Method, items: dict[str, list[Item]], free: dict[str, list[bool]], options: Any
) -> Iterator[Attempted]:
    """Yield the grasps of a method that are tried; one without scores gives its best first."""
    for set_name, chosen in items.items():
        for number, item in enumerate(chosen):
            (proposal,) = method.sample_items([item], options.samples)
            order = np.argsort(-proposal.score, kind="stable")
            drawn = np.random.default_rng([0, item.index]).choice(len(order), options.kept, replace=False)
            rows_of = {"best": order[:1], "all": drawn}
            if options.any_of_kept:
                poses = proposal.grasps.hand_pose
                rows_of["kept"] = best_and_apart(
                    proposal.score, poses[:, :3], poses[:, -4:], options.kept, **APART
                )
            for role, rows in rows_of.items():
                grasps, score = proposal.grasps[rows], proposal.score[rows]
                yield Attempted(name, set_name, role, number, item, grasps, score, free[set_name][number])
        print(f"{name}: sampled {set_name}", file=sys.stderr, flush=True)


def bin_names(edges: Sequence[int]) -> list[str]:
    """Return what the bins between edges are called (mm)."""
    return [f"{low}-{high} mm" for low, high in pairwise([0, *edges])] + [f"> {edges[-1]} mm"]


def by_size(sizes: Float[np.ndarray, "n 2"], success: np.ndarray, names: np.ndarray) -> dict[str, Any]:
    """Return rates by height, by width, and by both (mm)."""
    height, width = (
        np.array(bin_names(edges))[np.digitize(values, edges)]
        for values, edges in zip(sizes.T, (HEIGHTS_MM, WIDTHS_MM), strict=True)
    )
    both = np.char.add(np.char.add(height, " high, "), np.char.add(width, " wide"))
    return {
        f"by_{key}": {str(b): rate(success[bins == b], names[bins == b]) for b in np.unique(bins)}
        for key, bins in (("height", height), ("width", width), ("height_and_width", both))
    }


def tries_by_size(store: GraspStore) -> dict[str, Any]:
    """Return what became of a generator's own tries, by the size of their objects: share of clean picks."""
    sizes, success, names = [], [], []
    for record in map(store.record, range(store.num_scenes)):
        for i, (labeled, T) in enumerate(zip(record.labeled, record.scene.T_world_object, strict=True)):
            sizes += [size_mm(record.scene.objects[i], T)] * len(labeled.grasps)
            names += [record.scene.objects[i].name] * len(labeled.grasps)
            success.append(labeled.success)
    clean = np.concatenate(success)
    return {"all": rate(clean, np.array(names)), **by_size(np.array(sizes), clean, np.array(names))}


def knowledge(score: np.ndarray, success: np.ndarray, item: np.ndarray) -> dict[str, Any]:
    """Return calibration error and AUROC over all grasps, and the share of ordered pairs within an item."""
    logit, true = (torch.from_numpy(np.asarray(x, np.float32)) for x in (score, success))
    found: dict[str, Any] = dict(BinaryPart(logit, true, 1.0 - true).figures())
    right = pairs = 0.0
    for number in np.unique(item):
        won, lost = (score[(item == number) & (success == s)] for s in (True, False))
        difference = won[:, None] - lost[None]
        right += float((difference > 0).sum() + 0.5 * (difference == 0).sum())
        pairs += difference.size
    return {k: round(v, 3) for k, v in found.items()} | {
        "auroc_within_item": round(right / pairs, 3) if pairs else None,
        "pairs": int(pairs),
    }


def summary(groups: list[Attempted], verdicts: list[VerdictTable]) -> dict[str, Any]:
    """Return all that is said of one model and set."""
    found: dict[str, Any] = {}
    for role in ROLES:
        chosen = [(g, v) for g, v in zip(groups, verdicts, strict=True) if g.role == role]
        if not chosen:
            continue
        joined = VerdictTable.concatenate([v for _, v in chosen])
        repeats = [len(v) for _, v in chosen]
        sizes = np.repeat([size_mm(g.item.object, g.item.T_world_object) for g, _ in chosen], repeats, axis=0)
        number = np.repeat([g.number for g, _ in chosen], repeats)
        names, clean = joined["object_name"], joined["picked_cleanly"]
        if role == "kept":
            some = {k: np.array([v[k].any() for _, v in chosen]) for k in ("picked_cleanly", "picked")}
            objects = np.array([g.item.object.name for g, _ in chosen])
            found["any of the kept"] = {k: rate(s, objects) for k, s in some.items()}
            continue
        outcomes = {o.name.lower(): int((joined["outcome"] == o).sum()) for o in Outcome}
        found[role] = {
            **{k: rate(joined[k], names) for k in ("picked_cleanly", "picked")},
            "outcomes": {name: count for name, count in outcomes.items() if count},
            **by_size(sizes, clean, names),
        }
        fits, free = (
            np.repeat(values, repeats)
            for values in ([fits_hand(g.item) for g, _ in chosen], [g.free for g, _ in chosen])
        )
        parts = {"fits_the_hand": fits, "carries_nothing": free, "fits_and_carries_nothing": fits & free}
        found[role] |= {key: rate(clean[rows], names[rows]) for key, rows in parts.items()}
        score = np.concatenate([g.score for g, _ in chosen])
        if role == "all" and np.isfinite(score).all():
            found["knowledge"] = knowledge(score, clean, number)
    return found


def read_sets(options: Any, hand: Hand) -> dict[str, list[Item]]:
    """Return the items of each set, chosen as a test chooses them."""
    items = {}
    for text in options.sets:
        name, _, where = text.partition("=")
        path, _, split = where.rpartition(":")
        store = GraspStore(Path(path), hand)
        items[name] = chosen_items(
            store, split, max_items=options.items, per_object=options.per_object, min_points=100, seed=0
        )
    return items


def main() -> None:
    """Measure, print and write."""
    parser = command_line(__doc__)
    parser.add_argument(
        "--models", nargs="+", default=["leap_table"], help="checkpoints, or names of shipped models"
    )
    parser.add_argument("--retrieval", type=Path, help="store whose training views are looked up")
    parser.add_argument("--generator", type=Path, help="store with tries of a generator")
    parser.add_argument("--sampling", nargs="*", default=[], help="changes of their own sampling, name=value")
    parser.add_argument("--sets", nargs="+", required=True, help="name=store:split")
    parser.add_argument("--items", type=int, default=120, help="of each set")
    parser.add_argument("--per-object", type=int, default=4, help="items of one object at most")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--kept", type=int, default=8)
    parser.add_argument("--any-of-kept", action="store_true", help="try the best --kept, too")
    parser.add_argument("--protocol", default="scene-lift")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()

    description = load_grasp_model(find_checkpoint(options.models[0])).hand.description
    items = read_sets(options, Hand(description))
    hand, protocol = HandModel.from_hand(Hand(description)), build(load_group("protocol", options.protocol))
    assert isinstance(protocol, Protocol)
    free = free_targets(items, hand, protocol)
    document: dict[str, Any] = {
        "protocol": f"{protocol.name} ({protocol.hash})",
        "sampling": options.sampling,
        "items": {name: len(chosen) for name, chosen in items.items()},
        "targets_that_carry_a_neighbor": {name: len(found) - sum(found) for name, found in free.items()},
        "sets": list(options.sets),
        "models": {},
    }
    if options.generator is not None:
        document["generator"] = tries_by_size(GraspStore(options.generator, Hand(description)))
    rows = []
    for name, hashed, method in methods(options, Hand(description)):
        groups = list(propose(name, method, items, free, options))
        jobs = [(g.item.scene, g.item.target, g.grasps) for g in groups]
        verdicts = evaluate_many(hand, jobs, protocol, LocalExecutor(workers=options.workers))
        found = {}
        for set_name in items:
            chosen = [(g, v) for g, v in zip(groups, verdicts, strict=True) if g.set_name == set_name]
            found[set_name] = summary([g for g, _ in chosen], [v for _, v in chosen])
            for role in ("best", "all"):
                cells = (
                    f"{s['percent']} {s['wilson95']}"
                    for s in (found[set_name][role][k] for k in ("picked_cleanly", "picked"))
                )
                rows.append([name, set_name, role, *cells])
        document["models"][name] = {"file": hashed, "sets": found}
        write(document, options.output, seed=0)
    print(table(["model", "set", "samples", "picked cleanly, %", "picked, %"], rows), flush=True)


if __name__ == "__main__":
    main()
