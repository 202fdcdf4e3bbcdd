"""How often the generator's grasps lift their object, by the height of the object as it lies.

    python -m benchmarks.generation_by_height --objects 4 --real ../data/ycb ../data/contactdb_train --output <file>

One object a scene; every way of generating gets the same objects in the same poses and the same number of tries, none
stops early. ``free``: share of the tries asked for that give a grasp whose hand is in nothing; ``good``: share that the
protocol passes. Real objects are those of the folders that lie no higher than ``--below``. Meshes are decomposed once.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import command_line, table, write
from benchmarks.generation_rate import settings
from sceneleapultra.hands import Hand, load_hand
from sceneleapultra.simulation.generate import GenerateSettings
from sceneleapultra.simulation.objects import FAMILIES, FLAT_FAMILIES, load_objects, make_object
from sceneleapultra.simulation.scene import drop_scene
from sceneleapultra.simulation.synthesis import prepare, synthesize
from sceneleapultra.utils.core.parallel import LocalExecutor, map_ordered
from sceneleapultra.utils.records import ObjectRecord, Outcome, Scene

BINS_MM = (0.0, 15.0, 25.0, 35.0, 1000.0)
WAYS = {
    "closings, held afloat (0.2)": ["synthesis=sim_close", "grasps.protocol=dgb-fc-quick"],
    "closings, lifted": ["synthesis=sim_close", "grasps.protocol=scene-lift"],
    "fingertips, lifted": ["synthesis=fingertips", "grasps.protocol=scene-lift"],
    "mixed, lifted": ["synthesis=mixed", "grasps.protocol=scene-lift"],
}
BLOCKED = (
    Outcome.SCENE_COLLISION,
    Outcome.PREGRASP_PENETRATION,
    Outcome.SELF_PENETRATION,
    Outcome.START_BLOCKED,
)


@dataclass(frozen=True)
class Made:
    """What one way of generating gave for one object."""

    way: str
    name: str
    real: bool
    height_mm: float
    tries: int
    free: int
    good: int
    cpu_s: float


def generate(hand: Hand, made: dict[str, GenerateSettings], job: tuple[str, Scene, bool, int]) -> Made:
    """Make the grasps of one object in one way."""
    way, scene, real, seed = job
    grasps = made[way].grasps
    made[way].synthesis.proposer(prepare(hand, scene, 0))  # what a process prepares once is not this object's
    start = time.process_time()
    result = synthesize(hand, scene, 0, made[way].synthesis, grasps, np.random.default_rng(seed))
    free = int((~np.isin(result.labeled.outcome, BLOCKED)).sum())
    spent = time.process_time() - start
    name, tries = scene.objects[0].name, grasps.max_attempts
    return Made(way, name, real, 1e3 * height_m(scene), tries, free, result.successes, spent)


def height_m(scene: Scene) -> float:
    """Return how high the object of a scene lies."""
    T = scene.T_world_object[0]
    return float((scene.objects[0].vertices @ T[2, :3] + T[2, 3]).max())


def scenes(records: list[ObjectRecord], made: GenerateSettings, poses: int) -> Iterator[tuple[Scene, int]]:
    """Yield every object alone on the table, in some of its poses; those that never rest are left out."""
    for number, record in enumerate(records):
        for pose in range(poses):
            seed = 1000 * number + pose
            try:
                yield drop_scene((record,), np.random.default_rng(seed), made.scene), seed
            except ValueError:
                continue


def summary(rows: list[Made]) -> dict[str, Any]:
    """Sum up objects of one bin."""
    tries, free, good = (sum(getattr(r, key) for r in rows) for key in ("tries", "free", "good"))
    cpu_s = sum(r.cpu_s for r in rows)
    return {
        "scenes": len(rows),
        "with_a_grasp": round(sum(r.good > 0 for r in rows) / max(1, len(rows)), 3),
        "free": round(free / max(1, tries), 3),
        "good": round(good / max(1, tries), 3),
        "good_per_cpu_s": round(good / max(cpu_s, 1e-9), 2),
    }


def by_object(rows: list[Made]) -> str:
    """Return what all ways gave for one object, in a line."""
    first = rows[0]
    return f"{first.name}, {first.height_mm:.1f} mm: good {', '.join(str(row.good) for row in rows)}"


def main() -> None:
    """Measure, print a table and write all."""
    parser = command_line(__doc__)
    parser.add_argument(
        "--objects", type=int, default=4, help="of each flat family; half of that of each other one"
    )
    parser.add_argument("--first-seed", type=int, default=900_000, help="of the procedural objects")
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="folders of meshes")
    parser.add_argument("--below", type=float, default=36.0, help="greatest height of real objects (mm)")
    parser.add_argument("--poses", type=int, default=1, help="scenes of each real object")
    parser.add_argument("--tries", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    many = f"grasps.max_attempts={arguments.tries}"
    made = {way: settings([many, "grasps.successes=1000000", *overrides]) for way, overrides in WAYS.items()}
    common, hand = next(iter(made.values())), load_hand("leap_right")
    first, k = arguments.first_seed, arguments.objects
    counts = {**dict.fromkeys(FLAT_FAMILIES, k), **dict.fromkeys(FAMILIES, k // 2)}
    records = [make_object(family, first + i) for family, number in counts.items() for i in range(number)]
    jobs = [(scene, False, seed) for scene, seed in scenes(records, common, 1)]
    executor = LocalExecutor(workers=arguments.workers)
    for folder in arguments.real:
        found = load_objects(folder, repair=True, max_bad_fraction=0.5, executor=executor)
        lying = scenes([replace(r, name=f"{folder.name}/{r.name}") for r in found], common, arguments.poses)
        jobs += [(scene, True, seed) for scene, seed in lying if 1e3 * height_m(scene) < arguments.below]
    tasks = [(way, *job) for job in jobs for way in WAYS]
    rows = list(
        map_ordered(partial(generate, hand, made), tasks, executor, describe=lambda t: t[1].objects[0].name)
    )
    lines, result = [], {}
    for real in (False, True):
        for way in WAYS:
            for low, high in pairwise(BINS_MM):
                chosen = [r for r in rows if r.way == way and r.real == real and low <= r.height_mm < high]
                if not chosen:
                    continue
                sums = summary(chosen)
                kind, span = (
                    "real" if real else "procedural",
                    f"{low:g}-{high:g} mm" if high < 1000 else f"> {low:g} mm",
                )
                result[f"{kind}, {way}, {span}"] = sums
                lines.append([kind, way, span, *map(str, sums.values())])
    print(
        table(["objects", "way", "height", "scenes", "with a grasp", "free", "good", "good per cpu s"], lines)
    )
    document = {
        "tries": arguments.tries,
        "rows": result,
        "objects": [by_object(rows[i : i + len(WAYS)]) for i in range(0, len(rows), len(WAYS))],
    }
    write(document, arguments.output, seed=first)


if __name__ == "__main__":
    main()
