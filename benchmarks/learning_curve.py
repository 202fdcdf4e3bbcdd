"""How success grows with data and with training: the quickstart's recipe on parts of its data and of its steps.

    python -m benchmarks.learning_curve --runs runs/learning_curve --output benchmarks/results/learning_curve.json

Stores of fewer scenes begin with the same scenes. Every model is judged on the same unseen objects of the largest one.
Finished stores and runs are not made again. Prints the table of docs/results.md.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.common import command_line, table, write
from benchmarks.trials import RECIPE, rate, run, steps, test, train, validation_loss
from sceneleapultra.datasets import GraspStore

SCENES = (40, 80, 160)
STEPS = (375, 750, 1500)


def store_of(folder: Path, scenes: int) -> Path:
    """Return a store of so many scenes of dataset=quick, made if it is not there."""
    path = folder / f"quick{scenes}.h5"
    if not path.is_file():
        words = ["dataset=quick", f"path={path}", f"scenes={scenes}"]
        run("scripts/generate_dataset.py", words, folder / f"quick{scenes}.log")
    return path


def cells() -> list[tuple[int, int]]:
    """Return (scenes, steps): all data with each number of steps, and the most steps with each amount of data."""
    return [*((SCENES[-1], n) for n in STEPS), *((s, STEPS[-1]) for s in SCENES[:-1])]


def measure(scenes: int, number: int, runs: Path, items: int) -> dict[str, Any]:
    """Train and judge one model."""
    run_dir, store = runs / f"{scenes}_{number}", store_of(runs, scenes)
    cost = train(run_dir, [*RECIPE, *steps(number), f"data.store={store}"])
    labeled = test(run_dir, run_dir / "test", [f"store={store_of(runs, SCENES[-1])}", f"max_items={items}"])
    return {
        "scenes": scenes,
        "steps": number,
        **learned_from(store),
        **labeled,
        "val_loss": round(validation_loss(run_dir), 4),
        "train_cpu_s": cost["cpu_s"],
    }


def learned_from(path: Path) -> dict[str, int]:
    """Count the training objects of a store that have successful grasps, and those grasps."""
    store = GraspStore(path)
    counts = [
        store.num_success(scene, target)
        for scene in range(store.num_scenes)
        if store.split_of(scene) == "train"
        for target in range(len(store.scene_objects(scene)))
    ]
    return {"learned_objects": sum(n > 0 for n in counts), "learned_grasps": sum(counts)}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write where asked to."""
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="folder of stores and runs")
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--at-once", type=int, default=2, help="models that are trained at the same time")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args(argv)
    for scenes in SCENES:
        store_of(arguments.runs, scenes)
    with ThreadPoolExecutor(arguments.at_once) as pool:  # each runs processes of its own
        futures = [pool.submit(measure, *cell, arguments.runs, arguments.items) for cell in cells()]
        rows = [future.result() for future in futures]
    rows.sort(key=lambda row: (row["scenes"], row["steps"]))
    document = {
        "what": "experiment=quickstart with less data and fewer steps, one thread each",
        "rows": rows,
    }
    write(document, arguments.output, seed=0)
    counted = ["scenes", "learned_objects", "learned_grasps", "steps"]
    header = [
        "scenes",
        "objects",
        "grasps",
        "steps",
        "success, % [95 %]",
        "penetration, mm",
        "validation loss",
        "training, processor s",
    ]
    lines = [
        [
            *(str(row[key]) for key in counted),
            rate(row),
            f"{row['penetration_mm']:.1f}",
            f"{row['val_loss']:.2f}",
            f"{row['train_cpu_s']:.0f}",
        ]
        for row in rows
    ]
    print(table(header, lines))


if __name__ == "__main__":
    main()
