"""How many simulated labels a scorer needs, by the rule that chooses them: random, entropy, disagreement, core-set.

    python -m benchmarks.active_learning --store data/quick.h5 --folder runs/labels
        --output benchmarks/results/active_learning.json

The shipped model proposes grasps for objects of the training split; each rule chooses which are lifted in simulation,
and an ensemble of small score heads is trained from nothing after each round. It is tested on objects that are in none:
area under the ROC curve, and how often its best of an object's grasps is picked cleanly. All rules share one pool and
one simulation of each grasp, whose processor seconds count for every rule that chose it; seeds draw the first labels,
the weights and the order of training. Finished rounds are not run again.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import time
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir

from benchmarks.common import command_line, put_into_pages, table, write
from sceneleapultra.evaluation.acquisition import ACQUISITIONS
from sceneleapultra.scripts.active_learning import active_learning
from sceneleapultra.utils.core.config import CONFIG_DIR

FIGURES = ("auroc", "best")


def run(options: Any, rule: str, seed: int) -> list[dict[str, Any]]:
    """Return the rounds of a rule."""
    words = [f"folder={options.folder}", f"store={options.store}", f"acquisition={rule}", f"seed={seed}"]
    words += [f"scenes={options.scenes}", f"rounds={options.rounds}", f"per_round={options.per_round}"]
    words += ["workers=1", "test_splits=[test,test_family]", *options.also]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return active_learning(compose("active_learning", overrides=words))


def curve(runs: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return mean and standard deviation over seeds, round by round."""
    rows = []
    for rounds in zip(*runs, strict=True):
        row: dict[str, Any] = {"labels": rounds[0]["labels"]}
        row["cpu_s"] = round(float(np.mean([one["cpu_s"] for one in rounds])), 1)
        for name in FIGURES:
            # An area is not defined where all of a round's test grasps succeed, or none does.
            values = [one[name] for one in rounds if one[name] is not None]
            row[name] = round(float(np.mean(values)), 4) if values else None
            row[f"{name}_std"] = round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else None
        rows.append(row)
    return rows


def labels_to_reach(rows: list[dict[str, Any]], name: str, value: float | None) -> int | None:
    """Return the fewest labels of a curve with a figure at least as large; None where it never is."""
    if value is None:
        return None
    return next((row["labels"] for row in rows if row[name] is not None and row[name] >= value), None)


def cell(mean: float | None, deviation: float | None) -> str:
    """Write a mean and its standard deviation in percent, or that there is none."""
    return "undefined" if mean is None else f"{100 * mean:.1f} ± {100 * (deviation or 0):.1f}"


def tables(document: dict[str, Any]) -> str:
    """Write the curves, and what each rule needs to equal the last of random, as tables."""
    curves = document["curves"]
    labels = [row["labels"] for row in curves["random"]]
    parts = []
    for name, head in (("auroc", "AUROC, %"), ("best", "best picked cleanly, %")):
        rows = [[rule, *(cell(r[name], r[f"{name}_std"]) for r in rows)] for rule, rows in curves.items()]
        parts.append(table([head, *(f"{n} labels" for n in labels)], rows))
    needed = [
        [rule, *(str(document["labels_to_equal_random"][rule][name] or "never") for name in FIGURES)]
        for rule in curves
    ]
    parts.append(table([f"labels to equal random with {labels[-1]}", "AUROC", "best picked cleanly"], needed))
    return "\n\n".join(parts)


def main() -> None:
    """Run the benchmark."""
    parser = command_line(__doc__)
    parser.add_argument(
        "--store", type=Path, required=True, help="scenes with splits train, test and test_family"
    )
    parser.add_argument("--folder", type=Path, required=True, help="of the pool and the rounds")
    parser.add_argument("--rules", nargs="+", default=list(ACQUISITIONS), choices=list(ACQUISITIONS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--per-round", type=int, default=50)
    parser.add_argument("--also", nargs="*", default=[], help="further overrides of active_learning.yaml")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--pages", action="store_true", help="put the tables into docs/running")
    options = parser.parse_args()
    options.folder, options.store = options.folder.resolve(), options.store.resolve()
    started, runs = time.process_time(), {}
    for rule in options.rules:
        runs[rule] = [run(options, rule, seed) for seed in options.seeds]
    curves = {rule: curve(found) for rule, found in runs.items()}
    first = runs[options.rules[0]][0][0]
    document = {
        "what": f"{options.rounds} rounds of {options.per_round} labels, {len(options.seeds)} seeds",
        "test": {name: first[name] for name in ("all", "any")},
        "cpu_s": round(time.process_time() - started, 1),
        "curves": curves,
        "labels_to_equal_random": {
            rule: {name: labels_to_reach(rows, name, curves["random"][-1][name]) for name in FIGURES}
            for rule, rows in curves.items()
        },
        "runs": {
            rule: [[{k: v for k, v in one.items() if k != "chosen"} for one in rounds] for rounds in found]
            for rule, found in runs.items()
        },
    }
    write(document, options.output, seed=options.seeds)
    print(tables(document))
    if options.pages:
        put_into_pages("running", "python -m benchmarks.active_learning", tables(document))


if __name__ == "__main__":
    main()
