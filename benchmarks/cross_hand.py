"""One model for many hands on a hand it never saw, against retargeting, a model of that hand alone, and tuning.

    python -m benchmarks.cross_hand --runs runs/cross_hand --held-out allegro_like leap_left
        --output benchmarks/results/cross_hand.json
    python -m benchmarks.cross_hand --runs runs/cross_hand --held-out parallel_gripper procedural_1 procedural_2
        --rows own shipped --output benchmarks/results/cross_hand_others.json

For every hand that is held out: a model trained on all the others serves it as it is (zero-shot); the model of
`leap_right` alone, whose grasps are carried over (`models/retargeted.py`), and the shipped `leap_table` likewise; a
model of the hand itself, alone; and the first, tuned on 1, 5 and 20 objects of the hand, all weights or a low-rank
adapter. All are judged by scene-lift on the same unseen objects. Finished stores, runs and rows are not made again, so
the command continues where it stopped.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import command_line, commit, machine, table, write
from benchmarks.picking import SPLITS, rate
from benchmarks.trials import RECIPE, run, steps, train
from sceneleapultra.datasets import GraspStore, StoreWriter
from sceneleapultra.evaluation.methods.model import ModelMethod
from sceneleapultra.evaluation.stored import chosen_items, split_records
from sceneleapultra.hands import load_hand
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.many_hands import served
from sceneleapultra.models.retargeted import RetargetedModel
from sceneleapultra.simulation.protocols import HandModel, evaluate_many
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.core.parallel import LocalExecutor
from sceneleapultra.utils.records import LabeledGrasps
from sceneleapultra.utils.verdicts import VerdictTable

HANDS = ("leap_right", "leap_left", "allegro_like", "parallel_gripper", "procedural_1", "procedural_2")
SMALL = (
    "data.batch_size=16",
    "data.cloud.num_points=384",
    "model.generator.contact_points=192",
    "model.generator.encoder.levels.fine.centers=64",
    "model.generator.encoder.levels.coarse.centers=32",
)
NEAREST, *HELD_OUT = HANDS  # the shipped model's hand, whose own model the others are compared with, too
ROWS = {
    "own": "a model of it alone",
    "without": "a model of all others, as it is",
    "retargeted": "a model of leap_right alone, retargeted",
    "shipped": "the shipped leap_table, retargeted or mirrored",
    "full_1": "all weights tuned on 1 object",
    "adapter_1": "an adapter, 1 object",
    "full_5": "all weights tuned on 5 objects",
    "adapter_5": "an adapter, 5 objects",
    "full_20": "all weights tuned on 20 objects",
    "adapter_20": "an adapter, 20 objects",
}
RANK, RATES = 8, {"full": 5e-4, "adapter": 2e-3}
SAMPLES, TEMPERATURE = 8, 0.3
MANY = ("model/generator/hand_encoder=graph", "data=several_hands")


def store_of(folder: Path, hand: str) -> Path:
    """Return the training store of a hand, made if it is not there; drawn hands grasp other objects."""
    path = folder / f"{hand}.h5"
    if not path.is_file():
        seed = 10 + int(hand.removeprefix("procedural_")) if hand.startswith("procedural_") else 0
        words = ["dataset=quick", f"hand={hand}", f"path={path}", f"seed={seed}", "scenes=48", "workers=1"]
        words += ["grasps.successes=6", "grasps.max_attempts=24"]
        run("scripts/generate_dataset.py", words, folder / f"{hand}.log")
    return path


def test_store_of(folder: Path, hand: str) -> Path:
    """Return scenes of unseen objects, the same for every hand; nothing is grasped in them yet."""
    path = folder / f"test_{hand}.h5"
    if not path.is_file():
        words = [
            "dataset=quick",
            f"hand={hand}",
            f"path={path}",
            "seed=1000",
            "scenes=30",
            "views=2",
            "workers=1",
        ]
        words += ["grasps.successes=1", "grasps.max_attempts=0", "splits.train=0.0", "splits.val=0.0"]
        words += ["splits.test=0.5", "splits.test_family=0.5"]
        run("scripts/generate_dataset.py", words, folder / f"test_{hand}.log")
    return path


def train_own(folder: Path, hand: str, number: int) -> Path:
    """Train a model of a hand alone."""
    run_dir = folder / f"own_{hand}"
    words = [*RECIPE, *SMALL, *steps(number), f"hand={hand}", f"data.store={store_of(folder, hand)}"]
    train(run_dir, words)
    return run_dir / "checkpoints" / "last.ckpt"


def train_without(folder: Path, hand: str, number: int) -> Path:
    """Train a model of all hands but one."""
    run_dir = folder / f"without_{hand}"
    others = [other for other in HANDS if other != hand]
    stores = ",".join(str(store_of(folder, other)) for other in others)
    words = [*RECIPE, *SMALL, *MANY, *steps(number), f"hand={others[0]}", f"data.store=[{stores}]"]
    train(run_dir, words)
    return run_dir / "checkpoints" / "last.ckpt"


def few_store_of(folder: Path, hand: str, count: int) -> Path:
    """Return the hand's store with grasps of its first training objects alone; validation scenes stay as they are."""
    path = folder / f"{hand}_{count}.h5"
    if path.is_file():
        return path
    loaded = load_hand(hand)
    store = GraspStore(store_of(folder, hand), loaded)
    generator = {**json.loads(store.attributes["generator"]), "objects": count}
    writer = StoreWriter(
        path,
        hand=loaded,
        protocol=store.attributes["protocol"],
        protocol_hash=store.attributes["protocol_hash"],
        generator=generator,
        seed=int(store.attributes["seed"]),
    )
    left = count
    for record in (*split_records(store, "train"), *split_records(store, "val")):
        labeled = list(record.labeled)
        for i, grasps in enumerate(labeled if record.split == "train" else ()):
            if left and grasps.success.any():
                left -= 1
            else:
                labeled[i] = LabeledGrasps.none(loaded.num_joints, grasps.direction_success.shape[1])
        if any(len(each.success) for each in labeled):
            writer.write(replace(record, labeled=tuple(labeled)))
    if left:
        raise ValueError(
            f"{store.path}: expected {count} training objects with a grasp, found {count - left}."
        )
    return writer.finish()


def tune(folder: Path, hand: str, count: int, kind: str, number: int) -> Path:
    """Tune the model of all other hands on a few objects of the hand: all its weights, or an adapter's."""
    run_dir = folder / f"{kind}_{count}_{hand}"
    start = folder / f"without_{hand}" / "checkpoints" / "last.ckpt"
    words = [*RECIPE, *SMALL, *MANY, *steps(number), f"hand={hand}", f"init_from={start}"]
    words += [f"data.store=[{few_store_of(folder, hand, count)}]", "scheduler.warmup_steps=10"]
    words += [f"data.batch_size={ {1: 2, 5: 8, 20: 16}[count] }", f"optimizer.lr={RATES[kind]}"]
    if kind == "adapter":
        words.append(f"model.generator.hand_encoder.adapter_rank={RANK}")
    train(run_dir, words)
    return run_dir / "checkpoints" / "last.ckpt"


def method_of(folder: Path, hand: str, row: str) -> ModelMethod:
    """Return what is tested in a row of the table."""
    if row == "shipped":
        model = served(load_grasp_model("leap_table"), hand, retarget=True)
        return ModelMethod(model=model, sampling={}, seed=0)
    if row == "retargeted":
        nearest = load_grasp_model(folder / f"own_{NEAREST}" / "checkpoints" / "last.ckpt")
        model = RetargetedModel.of(nearest, load_hand(hand))
    else:
        model = served(load_grasp_model(folder / f"{row}_{hand}" / "checkpoints" / "last.ckpt"), hand)
    sampling = model.generator.sampling.changed(temperature=TEMPERATURE)
    return ModelMethod(model=model, sampling=sampling, seed=0)


def evaluate_row(folder: Path, hand: str, row: str, number: int) -> dict[str, Any]:
    """Lift what a row answers, on the same items for every row: its best of a few, and one drawn at random."""
    kept = folder / "rows" / f"{hand}-{row}.json"
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    loaded, method = load_hand(hand), method_of(folder, hand, row)
    store = GraspStore(test_store_of(folder, hand), loaded)
    items = [
        item
        for split in SPLITS
        for item in chosen_items(store, split, max_items=number // 2, per_object=1, min_points=100, seed=0)
    ]
    protocol = build(load_group("protocol", "scene-lift"))
    jobs, roles = [], []
    for item in items:
        (made,) = method.sample_items([item], SAMPLES)
        drawn = int(np.random.default_rng([0, item.index]).integers(SAMPLES))
        for role, index in (("best", int(np.argmax(made.score))), ("drawn", drawn)):
            jobs.append((item.scene, item.target, made.grasps[np.array([index])]))
            roles.append(role)
    verdicts = evaluate_many(HandModel.from_hand(loaded), jobs, protocol, LocalExecutor(workers=0))
    found = {"items": len(items), "protocol": f"{protocol.name} ({protocol.hash})"}
    for role in ("best", "drawn"):
        rows = VerdictTable.concatenate([v for v, r in zip(verdicts, roles, strict=True) if r == role])
        names = rows["object_name"]
        found[role] = {key: rate(rows[key], names) for key in ("picked", "picked_cleanly")}
    write(found, kept, seed=0)
    return found


def main() -> None:
    """Measure, print and write."""
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="folder of stores and runs")
    parser.add_argument("--held-out", nargs="+", default=HELD_OUT, choices=HELD_OUT)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--items", type=int, default=40, help="half of known families, half of others")
    parser.add_argument(
        "--steps", type=int, nargs=3, default=[900, 500, 120], help="of many, of one, of tuning"
    )
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    folder = options.runs.resolve()
    of_many, of_one, of_tuning = options.steps
    rows: dict[str, Any] = {}
    for hand in options.held_out:
        for row in options.rows:
            kind, _, count = row.partition("_")
            if row == "own":
                train_own(folder, hand, of_one)
            elif row == "retargeted":
                train_own(folder, NEAREST, of_one)
            elif row != "shipped":
                train_without(folder, hand, of_many)
            if count:
                tune(folder, hand, int(count), kind, of_tuning)
            rows.setdefault(hand, {})[row] = evaluate_row(folder, hand, row, options.items)
    document = {
        "what": f"{options.steps} steps of a model of {len(HANDS) - 1} hands, of one hand, and of tuning",
        "hands": list(HANDS),
        "nearest": NEAREST,
        "commit": commit(),
        "machine": machine("cpu"),
        "seed": 0,
        "samples": SAMPLES,
        "temperature": TEMPERATURE,
        "rows": rows,
    }
    write(document, options.output, seed=0)
    lines = [
        [
            hand,
            ROWS[row],
            *(f"{r['picked']['percent']} {r['picked']['wilson95']}" for r in (found["best"], found["drawn"])),
        ]
        for hand, each in rows.items()
        for row, found in each.items()
    ]
    print(table(["hand", "served by", f"picked, best of {SAMPLES}, %", "picked, any, %"], lines))


if __name__ == "__main__":
    main()
