"""What helps at equal compute: loss terms, matching, prediction and process, by what is picked; several seeds each.

    python -m benchmarks.objectives --store data/quick.h5 --runs runs/objectives --output objectives.json

Every variant is the quickstart's recipe with one change, trained for the same number of steps with each seed and judged
by scene-lift on the same items. Finished runs are not made again, so the command continues where it was stopped.
Differences are paired with the recipe as it is, seed by seed and object by object.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import command_line, put_into_pages, table, write
from benchmarks.trials import RECIPE, run, steps, train

VARIANTS: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "predicts v": ("model.generator.process.prediction=v",),
    "predicts noise": (
        "model/generator/process=vp_linear",
        "model.generator.process.noise.zero_terminal_snr=false",
        "model.generator.process.prediction=eps",
    ),
    "weighted alike": ("model/objective/weighting=uniform",),
    "weighted by min-SNR": ("model/objective/weighting=min_snr",),
    "flow matching": (
        "model/generator/process=flow",
        "model.generator.process.prediction=u",
        "model/objective/weighting=velocity",
        "sampling/solver=heun",
        "sampling.solver.steps=10",
    ),
    "EDM": (
        "model/generator/process=edm",
        "model/objective/weighting=edm",
        "sampling/solver=edm_heun",
        "sampling.solver.steps=10",
    ),
    "Hungarian matching": ("model/objective/matching=hungarian",),
    "hand points": ("model/objective/terms=[hand_points]",),
    "hand Chamfer": ("model/objective/terms=[hand_chamfer]",),
    "object penetration": ("model/objective/terms=[object_penetration]",),
    "table and neighbors": ("model/objective/terms=[table_penetration,neighbor_penetration]",),
    "contact map": ("model/objective/terms=[contact_map]",),
    "attracted fingertips": ("model/objective/terms=[fingertip_attraction]",),
}
TEST = ("baselines=null", "top=null", "pictures=0", "workers=1", "protocol=scene-lift", "samples_per_item=4")


def measure(name: str, seed: int, options: Any) -> dict[str, Any]:
    """Train and judge one variant with one seed."""
    folder = options.runs / f"{name.replace(' ', '_')}_{seed}"
    words = [*RECIPE, *steps(options.steps), f"data.store={options.store}", f"seed={seed}", *VARIANTS[name]]
    cost = train(folder, words)
    output = folder / "test"
    if not (output / "results.json").is_file():
        arguments = [
            f"checkpoint={folder / 'checkpoints' / 'last.ckpt'}",
            f"store={options.store}",
            f"output={output}",
        ]
        arguments += [*TEST, f"max_items={options.items}", f"sampling.temperature={options.temperature}"]
        run("test_lightning.py", arguments, folder / "test.log")
    methods = json.loads((output / "results.json").read_text())["methods"]
    rows = [method["rows"] for method in methods if method["method"] == "model"]
    return {
        "name": name,
        "seed": seed,
        "cpu_s": cost["cpu_s"],
        "clean": np.concatenate([np.array(r["picked_cleanly"], dtype=bool) for r in rows]),
        "object": np.concatenate([np.array(r["object_name"]) for r in rows]),
    }


def difference(name: str, found: list[dict[str, Any]], resamples: int = 4000) -> dict[str, Any]:
    """Return a variant's rate and how far it is from the recipe as it is, in points, with a 95 % interval.

    The interval draws objects, and seeds, with replacement; both variants keep the same draws.
    """
    seeds = sorted({row["seed"] for row in found})
    by = {(row["name"], row["seed"]): row for row in found}
    objects = np.unique(by[name, seeds[0]]["object"])

    def rates(variant: str) -> np.ndarray:
        """Mean success of each object (columns) with each seed (rows)."""
        rows = [by[variant, seed] for seed in seeds]
        return np.array([[r["clean"][r["object"] == o].mean() for o in objects] for r in rows])

    own, base = rates(name), rates("as it is")
    rng = np.random.default_rng(0)
    drawn_seeds = rng.integers(len(seeds), size=(resamples, len(seeds)))
    drawn_objects = rng.integers(len(objects), size=(resamples, len(objects)))
    apart = [(own - base)[np.ix_(s, o)].mean() for s, o in zip(drawn_seeds, drawn_objects, strict=True)]
    low, high = np.percentile(apart, (2.5, 97.5))
    return {
        "percent": round(100 * float(own.mean()), 1),
        "by_seed": [round(100 * float(x), 1) for x in own.mean(1)],
        "points": round(100 * float((own - base).mean()), 1),
        "interval": [round(100 * float(low), 1), round(100 * float(high), 1)],
        "cpu_s": round(float(np.mean([by[name, seed]["cpu_s"] for seed in seeds])), 1),
    }


def tables(rows: dict[str, Any]) -> str:
    """Return a line of each variant."""
    header = ["one change", "picked cleanly, %", "by seed", "points [95 %]", "processor s"]
    lines = []
    for name, r in rows.items():
        by_seed, (low, high) = ", ".join(map(str, r["by_seed"])), r["interval"]
        apart = f"{r['points']:+} [{low:+}, {high:+}]" if name != "as it is" else ""
        lines.append([name, f"{r['percent']}", by_seed, apart, f"{r['cpu_s']:.0f}"])
    return table(header, lines)


def main() -> None:
    """Train, judge, print and write."""
    parser = command_line(__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=750)
    parser.add_argument("--items", type=int, default=40, help="of each split")
    parser.add_argument("--temperature", type=float, default=0.2)
    parser.add_argument("--at-once", type=int, default=2, help="models that are trained at the same time")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--pages", action="store_true", help="put the table into docs/losses")
    options = parser.parse_args()
    options.runs, options.store = options.runs.resolve(), options.store.resolve()
    names = list(dict.fromkeys(["as it is", *options.variants]))
    cells = [(name, seed) for seed in options.seeds for name in names]
    with ThreadPoolExecutor(options.at_once) as pool:  # each runs processes of its own
        found = [f.result() for f in [pool.submit(measure, name, seed, options) for name, seed in cells]]
    rows = {name: difference(name, found) for name in names}
    document = {
        "what": f"experiment=quickstart, {options.steps} steps, seeds {options.seeds}, judged by scene-lift",
        "overrides": {name: " ".join(VARIANTS[name]) for name in names},
        "rows": rows,
    }
    write(document, options.output, seed=options.seeds)
    print(tables(rows))
    if options.pages:
        put_into_pages("losses", "python -m benchmarks.objectives", tables(rows))


if __name__ == "__main__":
    main()
