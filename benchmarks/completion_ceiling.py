"""What a field of the whole scene gains in picking over what one view shows: none, as predicted, and the truth.

    python -m benchmarks.completion_ceiling --sets "YCB=data/test_ycb.h5:test"
        "clutter of 6 to 12=data/test_clutter.h5:test" --guided "clutter of 6 to 12"
        --completions "predicted field=runs/completion/checkpoints/best.ckpt"
        "worst of 8 hypotheses=runs/completion_consistency/checkpoints/best.ckpt:8"
        --parts runs/completion_ceiling --output benchmarks/results/completion_ceiling.json --pages

A model draws --samples grasps of each item once, and each row tries one of them. ``rank``: the best by score, by score
and the clearance in the observed points (``sampling/rank/clearance.yaml``, what ships), by both and the clearance in
what a completion predicts, in the true field, and by score and the clearance of the hand's exact shape in the true
scene. ``approach``: the grasp of what ships, on the way that the points, or the points and a field, tell; elsewhere the
protocol chooses the way, by the true scene. ``guidance``: the best of grasps drawn again under physics_collision_free,
which pushes them out of points or a field, by the rank of what ships with that field. Every item is written to --parts
when it is done; a later call reads it from there, and tries what rows it lacks. With --minutes, no item is begun after
that; 0 writes the tables of what is known, each row with its own number of items. Milliseconds are processor time that
a row adds to the sampling of a cloud.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import json
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import binomtest

from benchmarks.common import command_line, put_into_pages, table, write
from benchmarks.picking import rate
from benchmarks.picking_table import read_sets
from sceneleapultra.datasets.completion.truth import TrueDistances
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.provenance import file_hash
from sceneleapultra.hands import Hand
from sceneleapultra.models import GraspModel, SampledGrasps, load_grasp_model
from sceneleapultra.models.approach import choose_approaches
from sceneleapultra.models.checkpoints.zoo import find_checkpoint
from sceneleapultra.models.clearance import field_clearance, neighbor_clearance
from sceneleapultra.models.completion.complete import Completes, load_completion
from sceneleapultra.models.ranking import ClearanceRank
from sceneleapultra.simulation.collision import scene_clearance
from sceneleapultra.simulation.protocols import HandModel, Protocol, evaluate_many
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.core.parallel import LocalExecutor
from sceneleapultra.utils.core.seeding import keyed_seed
from sceneleapultra.utils.geometry.voxels.field import SceneField
from sceneleapultra.utils.geometry.voxels.grid import Standpoint, VoxelGrid
from sceneleapultra.utils.records import Grasps
from sceneleapultra.utils.requests import GraspRequest

UP = np.array([0.0, 0.0, 1.0])
POINTS, TRUE, EXACT = "observed points", "true field", "true scene, exact hand"
SCORE, BASE = "rank: score", f"rank: {POINTS}"  # the second is what ships, with which rows are compared
TRUE_SIZE, TRUE_VOXEL_M, REACH_M = 56, 0.006, 0.03
OUTCOMES = ("stable", "collision_free", "picked", "picked_cleanly")


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
    """One grasp of one item, tried for one reason.

    Attributes:
        ms: processor time beside the sampling of grasps by the model as it is; None where no user could do so.
    """

    name: str
    grasp: Grasps
    ms: float | None


@dataclass(frozen=True)
class Chooser:
    """Draws grasps and chooses among them, by what is known of the scene."""

    model: GraspModel
    completions: dict[str, Completes]
    samples: int
    truth: TrueDistances
    rank: ClearanceRank

    def names(self, *, guided: bool) -> list[str]:
        """Name the rows of an item."""
        fields = [POINTS, *self.completions, TRUE]
        ranks = [SCORE, *(f"rank: {name}" for name in (*fields, EXACT))]
        ways = ["approach", "guidance"] if guided else ["approach"]
        return ranks + [f"{way}: {name}" for way in ways for name in fields]

    def rows(self, item: Item, *, guided: bool, known: Collection[str]) -> Iterator[Row]:
        """Yield the grasps of an item that are tried; what takes long and is known is left out."""
        hand = self.model.hand
        request = GraspRequest(
            points=item.view.points,
            object_mask=item.target_mask,
            viewpoint=item.view.T_world_cam[:3, 3],
            up=UP,
        )
        ways = ("rank", "approach", "guidance") if guided else ("rank", "approach")
        sources: dict[str, Completes] = {
            name: completes
            for name, completes in {**self.completions, TRUE: TrueScene(self.truth, item)}.items()
            if not {f"{way}: {name}" for way in ways} <= set(known)
        }
        made, sampling_ms = _timed(lambda: self._draw(request, item, None, guided=False))
        yield Row(SCORE, _best(made, made.score), 0.0)
        points_m, ms = _timed(lambda: neighbor_clearance(hand, made.hand_pose, request))
        score = self._with_clearance(made, points_m)
        shipped = _best(made, score)
        yield Row(BASE, shipped, ms)
        fields: dict[str, SceneField | None] = {POINTS: None}
        for name, completes in sources.items():
            fields[name], completion_ms = _timed(lambda completes=completes: completes.field(request))
            field_m, field_ms = _timed(
                lambda field=fields[name]: field_clearance(hand, made.hand_pose, field)
            )
            spent = None if name == TRUE else ms + completion_ms + field_ms
            score = self._with_clearance(made, np.minimum(points_m, field_m))
            yield Row(f"rank: {name}", _best(made, score), spent)
        if f"rank: {EXACT}" not in known:
            exact_m = scene_clearance(hand, item.scene, item.target, made.grasps)
            yield Row(f"rank: {EXACT}", _best(made, self._with_clearance(made, exact_m)), None)
        index = int(np.argmax(self._with_clearance(made, points_m)))
        first = replace(
            made,
            **{
                k: getattr(made, k)[index : index + 1] for k in ("hand_pose", "pregrasp_qpos", "squeeze_qpos")
            },
        )
        for name, field in fields.items():
            way, ms = _timed(lambda field=field: choose_approaches(hand, first, request, field))
            yield Row(f"approach: {name}", replace(shipped, approach=way.offset_m), ms)
        for name in fields if guided else ():
            if f"guidance: {name}" in known:
                continue
            drawn, ms = _timed(lambda name=name: self._draw(request, item, sources.get(name), guided=True))
            yield Row(
                f"guidance: {name}", _best(drawn, drawn.score), None if name == TRUE else ms - sampling_ms
            )

    def _with_clearance(
        self, made: SampledGrasps, clearance_m: Float[np.ndarray, "g"]
    ) -> Float[np.ndarray, "g"]:
        return self.rank.of_answer(made.score, lambda: clearance_m)

    def _draw(
        self, request: GraspRequest, item: Item, completion: Completes | None, *, guided: bool
    ) -> SampledGrasps:
        model = replace(self.model, completion=completion)
        sampling = self.model.generator.sampling.changed(rank="clearance" if guided else "score")
        if guided:
            physics = build(load_group("sampling/guidance", "physics_collision_free")).physics
            sampling = replace(sampling, guidance=replace(sampling.guidance, physics=physics))
        seed = keyed_seed(0, item.index)
        return model.sample_request(request, self.samples, seed=seed, sampling=sampling)


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    found = work()
    return found, 1e3 * (time.process_time() - start)


def _best(made: SampledGrasps, score: Float[np.ndarray, "g"]) -> Grasps:
    i = int(np.argmax(score))
    rows = slice(i, i + 1)
    return made.grasps[rows]


def try_once(hand: Hand, item: Item, rows: list[Row], protocol: Protocol, workers: int) -> dict[str, Any]:
    """Try every row of an item; rows that try the same grasp on the same way share its verdict."""
    place: dict[tuple[object, ...], int] = {}
    distinct: list[Grasps] = []
    index = {}
    for row in rows:
        way = row.grasp.approach
        key = (row.grasp.hand_pose.tobytes(), None if way is None else way.tobytes())
        if key not in place:
            place[key] = len(distinct)
            distinct.append(row.grasp)
        index[row.name] = place[key]
    jobs = [(item.scene, item.target, grasp) for grasp in distinct]
    verdicts = evaluate_many(HandModel.from_hand(hand), jobs, protocol, LocalExecutor(workers=workers))
    outcomes = [
        {name: bool(v[name][0]) for name in OUTCOMES if name in v.values}
        | {"collision_free": bool(scene_clearance(hand, *job)[0] >= 0.0)}
        for v, job in zip(verdicts, jobs, strict=True)
    ]
    return {row.name: outcomes[index[row.name]] | {"ms": row.ms} for row in rows}


def summary(parts: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Return the rates of each kind of row over the items that have it, with what it gains and loses against BASE."""
    found: dict[str, Any] = {}
    for name in names:
        having = [part for part in parts if name in part["rows"]]
        if not having:
            continue
        objects = np.array([part["object"] for part in having])
        columns = {key: np.array([part["rows"][name][key] for part in having]) for key in OUTCOMES}
        clean, before = (
            columns["picked_cleanly"],
            np.array([part["rows"][BASE]["picked_cleanly"] for part in having]),
        )
        gained, lost = int((clean & ~before).sum()), int((~clean & before).sum())
        ms = [part["rows"][name]["ms"] for part in having]
        found[name] = {key: rate(column, objects) for key, column in columns.items()} | {
            "gained": gained,
            "lost": lost,
            "sign_test_p": round(binomtest(gained, gained + lost).pvalue, 3) if gained + lost else 1.0,
            "ms": None if None in ms else round(float(np.mean(ms)), 1),
        }
    return found


def tables(document: dict[str, Any]) -> str:
    """Write the rows of every set."""
    lines = []
    for name, of_set in document["sets"].items():
        for row, r in of_set["rows"].items():
            low, high = r["picked_cleanly"]["wilson95"]
            lines.append(
                [
                    name if row == SCORE else "",
                    f"{row} (ships)" if row == BASE else row,
                    str(r["picked_cleanly"]["trials"]),
                    *(f"{r[key]['percent']:.1f}" for key in ("collision_free", "picked")),
                    f"{r['picked_cleanly']['percent']:.1f} [{low:.1f}, {high:.1f}]",
                    "" if row == BASE else f"+{r['gained']} -{r['lost']}",
                    "" if r["ms"] is None else f"{r['ms']:.0f}",
                ]
            )
    head = [
        "set",
        "one grasp of each item, by",
        "items",
        "clear, %",
        "picked, %",
        "picked cleanly, %",
        "items gained, lost",
        "ms",
    ]
    return table(head, lines)


def read_completions(words: list[str]) -> tuple[dict[str, Completes], dict[str, str]]:
    """Return completions and the hashes of their files, from ``name=checkpoint`` or ``name=checkpoint:hypotheses``."""
    found: dict[str, Completes] = {}
    hashes = {}
    for word in words:
        name, _, where = word.partition("=")
        path, _, number = where.partition(":")
        found[name] = load_completion(path, hypotheses=int(number or 1))
        hashes[name] = file_hash(Path(path))
    return found, hashes


def main() -> None:
    """Measure, print and write."""
    parser = command_line(__doc__)
    parser.add_argument("--model", default="leap_table", help="a checkpoint, or the name of a shipped model")
    parser.add_argument(
        "--completions", nargs="*", default=[], help="name=checkpoint or name=checkpoint:hypotheses"
    )
    parser.add_argument("--sets", nargs="+", required=True, help="name=store:split")
    parser.add_argument(
        "--guided", nargs="*", default=[], help="names of sets where guidance is tried, which takes longest"
    )
    parser.add_argument("--items", type=int, default=120, help="of each set")
    parser.add_argument("--per-object", type=int, default=4, help="items of one object at most")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--protocol", default="scene-lift")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--parts", type=Path, required=True, help="folder of what is known of each item")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which no item is begun")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--pages", action="store_true", help="put the table into docs/completion")
    options = parser.parse_args()

    path = find_checkpoint(options.model)
    model = load_grasp_model(path)
    hand = Hand(model.hand.description)
    completions, hashes = read_completions(options.completions)
    protocol: Protocol = build(load_group("protocol", options.protocol))
    truth = TrueDistances(reach_m=REACH_M, step_m=0.004)
    rank = build(load_group("sampling/rank", "clearance"))
    chooser = Chooser(model, completions, options.samples, truth, rank)
    document: dict[str, Any] = {
        "model": f"{options.model} ({file_hash(path)})",
        "completions": hashes,
        "protocol": f"{protocol.name} ({protocol.hash})",
        "sets": {},
    }
    end = time.monotonic() + 60.0 * options.minutes
    for name, items in read_sets(options, hand).items():
        parts, names = [], chooser.names(guided=name in options.guided)
        for number, item in enumerate(items):
            kept = options.parts / name / f"{item.index}.json"
            part: dict[str, Any] = {"object": item.object.name, "rows": {}}
            if kept.is_file():
                part = json.loads(kept.read_text())
            if not set(names) <= set(part["rows"]) and time.monotonic() <= end:
                rows = chooser.rows(item, guided=name in options.guided, known=part["rows"])
                new = [row for row in rows if row.name not in part["rows"]]
                part["rows"] |= try_once(hand, item, new, protocol, options.workers)
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(part))
            if part["rows"]:
                parts.append(part)
            if number % 10 == 9:
                print(f"{name}: {number + 1} items", file=sys.stderr, flush=True)
        if not parts:
            continue
        document["sets"][name] = {"rows": summary(parts, chooser.names(guided=True))}
        write(document, options.output, seed=0)
    print(tables(document), flush=True)
    if options.pages:
        put_into_pages("completion", "python -m benchmarks.completion_ceiling", tables(document))


if __name__ == "__main__":
    main()
