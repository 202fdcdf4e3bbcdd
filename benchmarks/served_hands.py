"""What the shipped model picks with other hands than its own: mirrored, or carried over by fingertips.

    python -m benchmarks.served_hands --store data/test_all.h5 --items 80 --output benchmarks/results/served_hands.json

The same scenes for every hand, judged by scene-lift: the best of 64 samples by the score of what is served.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import command_line, commit, machine, table, write
from benchmarks.picking import SPLITS, rate
from sceneleapultra.datasets import GraspStore
from sceneleapultra.evaluation.methods.model import ModelMethod
from sceneleapultra.evaluation.stored import chosen_items
from sceneleapultra.hands import load_hand
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.many_hands import served
from sceneleapultra.simulation.protocols import HandModel, evaluate_many
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.core.parallel import LocalExecutor
from sceneleapultra.utils.verdicts import VerdictTable

HANDS = ("leap_right", "leap_left", "allegro_like", "parallel_gripper")


def main() -> None:
    """Measure, print and write."""
    parser = command_line(__doc__)
    parser.add_argument(
        "--store", type=Path, required=True, help="scenes of unseen objects; nothing of its grasps"
    )
    parser.add_argument("--hands", nargs="+", default=list(HANDS), help="names or cards")
    parser.add_argument("--items", type=int, default=80, help="half of known families, half of others")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    model = load_grasp_model("leap_table")
    store = GraspStore(options.store, model.hand)
    items = [
        item
        for split in SPLITS
        for item in chosen_items(
            store, split, max_items=options.items // 2, per_object=1, min_points=100, seed=0
        )
    ]
    protocol = build(load_group("protocol", "scene-lift"))
    rows: dict[str, Any] = {}
    for name in options.hands:
        hand = load_hand(name)
        method = ModelMethod(model=served(model, name, retarget=True), sampling={}, seed=0)
        start = time.process_time()
        proposals = method.sample_items(items, options.samples)
        seconds = (time.process_time() - start) / len(items)
        jobs = [
            (item.scene, item.target, made.grasps[np.array([int(np.argmax(made.score))])])
            for item, made in zip(items, proposals, strict=True)
        ]
        tested = evaluate_many(HandModel.from_hand(hand), jobs, protocol, LocalExecutor(workers=0))
        verdicts = VerdictTable.concatenate(tested)
        names = verdicts["object_name"]
        rows[hand.name] = {key: rate(verdicts[key], names) for key in ("picked_cleanly", "picked")}
        rows[hand.name] |= {"served": type(method.model).__name__, "cpu_seconds_per_cloud": round(seconds, 2)}
    document = {
        "what": f"the shipped leap_table, best of {options.samples}, with the hand it learned and with others",
        "commit": commit(),
        "machine": machine("cpu"),
        "seed": 0,
        "items": len(items),
        "protocol": f"{protocol.name} ({protocol.hash})",
        "rows": rows,
    }
    write(document, options.output, seed=0)
    lines = [
        [name, *(f"{row[key]['percent']} {row[key]['wilson95']}" for key in ("picked_cleanly", "picked"))]
        for name, row in rows.items()
    ]
    print(table(["hand", "picked cleanly, %", "picked, %"], lines))


if __name__ == "__main__":
    main()
