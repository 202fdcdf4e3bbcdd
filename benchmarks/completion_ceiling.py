"""What a field of the whole scene gains in picking over what one view shows: none, as predicted, and the truth.

    python -m benchmarks.completion_ceiling --sets "clutter of 6 to 12=data/test_clutter.h5:test" "YCB=data/ycb.h5:test"
        --completion runs/completion/checkpoints/best.ckpt --output benchmarks/results/completion_ceiling.json

A model draws --samples grasps of each item by its own sampling, and each row tries one of them. ``rank``: the best by
score, and by score and the hand's clearance in the observed points or in a field (``sampling/rank/clearance.yaml``);
the protocol chooses the approach, by the true scene. ``approach``: the best by score, on the way that the points, or
the points and a field, tell. ``guidance``, with --guided: the best by score of grasps drawn again under
physics_collision_free. With --attempted, so many grasps of each item are tried, the better half by score and others
drawn at random: how often does each order put a grasp that picks cleanly before one that does not?
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import command_line, table, write
from benchmarks.picking import rate
from benchmarks.picking_table import knowledge, read_sets
from sceneleapultra.datasets.completion.truth import TrueDistances
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.provenance import file_hash
from sceneleapultra.hands import Hand
from sceneleapultra.models import GraspModel, SampledGrasps, load_grasp_model
from sceneleapultra.models.approach import choose_approaches
from sceneleapultra.models.beside import collision_free_success
from sceneleapultra.models.checkpoints.zoo import find_checkpoint
from sceneleapultra.models.clearance import field_clearance, observed_clearance
from sceneleapultra.models.completion.complete import Completes, load_completion
from sceneleapultra.simulation.protocols import HandModel, Protocol, evaluate_many
from sceneleapultra.simulation.protocols.evaluate import Job
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.core.parallel import LocalExecutor
from sceneleapultra.utils.core.seeding import keyed_seed
from sceneleapultra.utils.geometry.voxels.field import SceneField
from sceneleapultra.utils.geometry.voxels.grid import Standpoint, VoxelGrid
from sceneleapultra.utils.records import Grasps
from sceneleapultra.utils.requests import GraspRequest
from sceneleapultra.utils.verdicts import VerdictTable

UP = np.array([0.0, 0.0, 1.0])
BASE = "rank: score"  # what rows are compared with
ATTEMPTED = "attempted"
TRUE_SIZE, TRUE_VOXEL_M, REACH_M = 56, 0.006, 0.03


@dataclass
class TrueScene:
    """Completes the scene of an item with its truth."""

    truth: TrueDistances
    item: Item

    def field(self, request: GraspRequest) -> SceneField:
        """Return the true field."""
        standpoint = Standpoint(request.viewpoint, UP, 0.0)
        grid = VoxelGrid.of(request.target_points, standpoint, size=TRUE_SIZE, voxel_m=TRUE_VOXEL_M)
        values = self.truth.field(self.item.scene, self.item.target, grid)
        return SceneField.of(grid, torch.from_numpy(values)[None], REACH_M)


@dataclass(frozen=True)
class Row:
    """One grasp of one item, tried for one reason."""

    name: str
    set_name: str
    number: int
    item: Item
    grasps: Grasps
    scores: dict[str, np.ndarray]  # of the grasps, where several are tried


@dataclass
class Chooser:
    """Draws grasps and chooses among them, by what is known of the scene.

    Attributes:
        seconds: processor time of completions.
    """

    model: GraspModel
    completion: Completes | None
    samples: int
    truth: TrueDistances
    guided: bool
    attempted: int
    seconds: float = 0.0

    def rows(self, set_name: str, number: int, item: Item) -> Iterator[Row]:
        """Yield the grasps of an item that are tried."""
        request = GraspRequest(
            points=item.view.points,
            object_mask=item.target_mask,
            viewpoint=item.view.T_world_cam[:3, 3],
            up=UP,
        )
        known: dict[str, Completes] = {"true": TrueScene(self.truth, item)}
        if self.completion is not None:
            known["predicted"] = self.completion
        start = time.process_time()
        fields = {"predicted": self.completion.field(request)} if self.completion is not None else {}
        self.seconds += time.process_time() - start
        fields["true"] = known["true"].field(request)
        made = self._draw(request, item, None)
        clearances = {"cloud": observed_clearance(self.model.hand, made.hand_pose, request)}
        clearances |= {n: field_clearance(self.model.hand, made.hand_pose, f) for n, f in fields.items()}
        scores = {BASE: made.score} | {
            f"rank: score and {name} clearance": _with_clearance(made.score, clearance)
            for name, clearance in clearances.items()
        }
        for name, score in scores.items():
            yield Row(name, set_name, number, item, _best(made, score), {})
        if self.attempted:
            order, half = np.argsort(-made.score, kind="stable"), self.attempted // 2
            rng = np.random.default_rng([0, item.index])
            some = [*order[:half], *rng.choice(order[half:], self.attempted - half, replace=False)]
            grasps = made.grasps[np.array(some)]
            yield Row(ATTEMPTED, set_name, number, item, grasps, {n: s[some] for n, s in scores.items()})
        first = made.best(1)
        for name, field in {"cloud": None, **fields}.items():
            offset = choose_approaches(self.model.hand, first, request, field).offset_m
            grasps = replace(_best(made, made.score), approach=offset)
            yield Row(f"approach: {name}", set_name, number, item, grasps, {})
        for name, completes in {"cloud": None, **known}.items() if self.guided else ():
            guided = self._draw(request, item, completes, guided=True)
            yield Row(f"guidance: {name}", set_name, number, item, _best(guided, guided.score), {})

    def _draw(
        self, request: GraspRequest, item: Item, completion: Completes | None, *, guided: bool = False
    ) -> SampledGrasps:
        model = replace(self.model, completion=completion)
        sampling = self.model.generator.sampling.changed(rank="score")
        if guided:
            physics = build(load_group("sampling/guidance", "physics_collision_free")).physics
            sampling = replace(sampling, guidance=replace(sampling.guidance, physics=physics))
        seed = keyed_seed(0, item.index)
        return model.sample_request(request, self.samples, seed=seed, sampling=sampling)


def _with_clearance(score: np.ndarray, clearance_m: np.ndarray) -> np.ndarray:
    rank = load_group("sampling/rank", "clearance")
    return collision_free_success(score, clearance_m, rank.margin_m, rank.softness_m)


def _best(made: SampledGrasps, score: np.ndarray) -> Grasps:
    i = int(np.argmax(score))
    rows = slice(i, i + 1)
    return made.grasps[rows]


def try_once(hand: HandModel, rows: list[Row], protocol: Protocol, workers: int) -> list[VerdictTable]:
    """Try every row; rows that try the same grasp on the same way share its verdict."""
    place: dict[tuple[object, ...], int] = {}
    jobs: list[Job] = []
    index: list[int] = []
    for row in rows:
        way = row.grasps.approach
        key = (
            row.set_name,
            row.number,
            row.grasps.hand_pose.tobytes(),
            None if way is None else way.tobytes(),
        )
        if key not in place:
            place[key] = len(jobs)
            jobs.append((row.item.scene, row.item.target, row.grasps))
        index.append(place[key])
    verdicts = evaluate_many(hand, jobs, protocol, LocalExecutor(workers=workers))
    return [verdicts[i] for i in index]


def summary(rows: list[Row], verdicts: list[VerdictTable]) -> dict[str, Any]:
    """Return the rates of each kind of row, and which items it gained and lost against the base."""
    found: dict[str, Any] = {}
    columns = {
        name: {
            row.number: (bool(v["picked_cleanly"][0]), bool(v["picked"][0]), row.item.object.name)
            for row, v in zip(rows, verdicts, strict=True)
            if row.name == name
        }
        for name in dict.fromkeys(row.name for row in rows if row.name != ATTEMPTED)
    }
    for name, of_item in columns.items():
        clean, picked = (np.array([of_item[i][k] for i in of_item]) for k in (0, 1))
        before = np.array([columns[BASE][i][0] for i in of_item])
        objects = np.array([of_item[i][2] for i in of_item])
        found[name] = {
            "picked_cleanly": rate(clean, objects),
            "picked": rate(picked, objects),
            "gained": int((clean & ~before).sum()),
            "lost": int((~clean & before).sum()),
        }
    return found


def orders(rows: list[Row], verdicts: list[VerdictTable]) -> dict[str, Any]:
    """Return how often each score puts a clean pick before another grasp of its item, and in how many items one is."""
    chosen = [
        (row, v["picked_cleanly"]) for row, v in zip(rows, verdicts, strict=True) if row.name == ATTEMPTED
    ]
    if not chosen:
        return {}
    clean = np.concatenate([v for _, v in chosen])
    item = np.repeat([row.number for row, _ in chosen], [len(v) for _, v in chosen])
    return {
        "attempted": len(clean),
        "clean_percent": round(100 * float(clean.mean()), 1),
        "items_with_a_clean_pick": int(sum(bool(v.any()) for _, v in chosen)),
        "auroc_within_item": {
            name: knowledge(np.concatenate([row.scores[name] for row, _ in chosen]), clean, item)[
                "auroc_within_item"
            ]
            for name in chosen[0][0].scores
        },
    }


def main() -> None:
    """Measure, print and write."""
    parser = command_line(__doc__)
    parser.add_argument("--model", default="leap_table", help="a checkpoint, or the name of a shipped model")
    parser.add_argument(
        "--completion", type=Path, help="checkpoint of experiment=completion; none: the truth only"
    )
    parser.add_argument("--sets", nargs="+", required=True, help="name=store:split")
    parser.add_argument("--items", type=int, default=40, help="of each set")
    parser.add_argument("--per-object", type=int, default=4, help="items of one object at most")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument(
        "--guided", action="store_true", help="draw again under guidance, which takes longest"
    )
    parser.add_argument(
        "--attempted", type=int, default=0, help="grasps of each item that are tried to compare orders"
    )
    parser.add_argument("--protocol", default="scene-lift")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()

    path = find_checkpoint(options.model)
    model = load_grasp_model(path)
    hand = Hand(model.hand.description)
    completion = None if options.completion is None else load_completion(options.completion)
    protocol: Protocol = build(load_group("protocol", options.protocol))
    truth = TrueDistances(reach_m=REACH_M, step_m=0.004)
    chooser = Chooser(model, completion, options.samples, truth, options.guided, options.attempted)
    document: dict[str, Any] = {
        "model": f"{options.model} ({file_hash(path)})",
        "completion": None if options.completion is None else file_hash(options.completion),
        "protocol": f"{protocol.name} ({protocol.hash})",
        "sets": {},
    }
    lines, items = [], read_sets(options, hand)
    for name, chosen in items.items():
        rows: list[Row] = []
        for number, item in enumerate(chosen):
            rows += chooser.rows(name, number, item)
            if number % 10 == 9:
                print(f"{name}: {number + 1} items", file=sys.stderr, flush=True)
        verdicts = try_once(HandModel.from_hand(hand), rows, protocol, options.workers)
        document["sets"][name] = {
            "items": len(chosen),
            "rows": summary(rows, verdicts),
            "orders": orders(rows, verdicts),
        }
        lines += [
            [
                name,
                row,
                f"{r['picked_cleanly']['percent']} {r['picked_cleanly']['wilson95']}",
                f"{r['picked']['percent']}",
                f"+{r['gained']} -{r['lost']}",
            ]
            for row, r in document["sets"][name]["rows"].items()
        ]
        document["completion_ms"] = round(1e3 * chooser.seconds / sum(map(len, items.values())), 1)
        write(document, options.output, seed=0)
    print(table(["set", "row", "picked cleanly, %", "picked, %", "items gained, lost"], lines), flush=True)


if __name__ == "__main__":
    main()
