"""What thin clouds cost a model that was trained with the density consistency term, and one that was not.

    python benchmarks/density_robustness.py --store data/quick.h5 --steps 600 --runs runs/density \
        --output benchmarks/results/density_robustness.json

Both models see the same items and steps; success at shares of the points of the test views (`points_share` of
test_lightning.py). Finished runs are not made again. Prints a table.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.trials import RECIPE, rate, steps, table, test, train, write

SHARES = (1.0, 0.5, 0.25, 0.1)
ENCODER = ("model.encoder.num_fine=160", "model.encoder.num_tokens=64", "model.encoder.dim=64")
MODELS = {
    "without": [],
    "with": ["model.density.feature_weight=0.1", "model.density.prediction_weight=1.0"],
}


def main() -> None:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--items", type=int, default=32)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    document: dict[str, object] = {
        "what": f"success at a share of the test views' points; {arguments.steps} steps of 12 scenes each"
    }
    lines = []
    for name, overrides in MODELS.items():
        run_dir = arguments.runs / name
        words = [*RECIPE, *ENCODER, *steps(arguments.steps), f"data.store={arguments.store}", *overrides]
        cost = train(run_dir, words)
        rows = [
            {
                "points_share": share,
                **test(
                    run_dir,
                    run_dir / f"test_{share:g}",
                    [f"max_items={arguments.items}", "min_points=200", f"points_share={share}"],
                ),
            }
            for share in SHARES
        ]
        document[name] = {"overrides": overrides, **cost, "shares": rows}
        lines.append([f"{name} the term", *map(rate, rows), f"{cost['cpu_s']:.0f}"])
    write(document, arguments.output)
    header = ["model", *(f"{100 * share:.0f} % of the points" for share in SHARES), "training, processor s"]
    print(table(header, lines))


if __name__ == "__main__":
    main()
