"""How well scenes are completed: overlap and surfaces of a checkpoint beside what the view shows alone.

    python -m benchmarks.completion_quality runs/completion/checkpoints/best.ckpt
        --sets "unseen objects=data/test_all.h5:test" "clutter of 6 to 12=data/test_clutter.h5:test"
        --output benchmarks/results/completion_quality.json

Overlap is that of voxels whose centers are inside, over all and over those that no ray passed. Surfaces are points
where distances pass zero; those of hidden voxels are counted apart. The view alone has the points of its cloud for a
surface. Means over items; an item counts where there is something to compare.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import command_line, table, write
from benchmarks.picking_table import read_sets
from sceneleapultra.datasets.completion.truth import TrueDistances
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.provenance import file_hash
from sceneleapultra.hands import load_hand
from sceneleapultra.models.completion.complete import CompletionModel, load_completion
from sceneleapultra.models.completion.metrics import overlap, surface_errors, surface_points
from sceneleapultra.models.objectives.completion import PARTS
from sceneleapultra.utils.geometry.voxels.observe import FREE, TABLE_M
from sceneleapultra.utils.requests import GraspRequest

UP = np.array([0.0, 0.0, 1.0])
SHOWN = (
    "iou",
    "hidden_iou",
    "chamfer_l1_mm",
    "hausdorff95_mm",
    "f_5mm",
    "f_10mm",
    "hidden_chamfer_l1_mm",
    "hidden_f_10mm",
)


def figures(
    model: CompletionModel, truth: TrueDistances, item: Item
) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Yield the figures of an item by method and part."""
    view, mask = item.view, item.target_mask
    request = GraspRequest(points=view.points, object_mask=mask, viewpoint=view.T_world_cam[:3, 3], up=UP)
    grid, observed = model.observed(request)
    predicted, true = model.field(request).values[0].numpy(), truth.field(item.scene, item.target, grid)
    hidden = observed[FREE] == 0.0
    visible = [mask, ~mask & (view.points[:, 2] > TABLE_M)]
    half = grid.size * grid.voxel_m / 2
    for i, part in enumerate(PARTS):
        if not (true[i] < 0.0).any():
            continue
        inside, solid = predicted[i] < 0.0, true[i] < 0.0
        whole, back = (surface_points(true[i], grid, counted) for counted in (None, hidden))
        surfaces = [surface_points(predicted[i], grid, counted) for counted in (None, hidden)]
        found = {"iou": overlap(inside, solid), "hidden_iou": overlap(inside[hidden], solid[hidden])}
        yield (
            "completed",
            part,
            {
                **{name: value for name, value in found.items() if value is not None},
                **surface_errors(surfaces[0], whole),
                **{f"hidden_{name}": x for name, x in surface_errors(surfaces[1], back).items()},
            },
        )
        points = grid.to_grid(view.points[visible[i]].astype(np.float64))
        points = points[(np.abs(points - [0.0, 0.0, half]) <= half).all(-1)]
        yield (
            "view alone",
            part,
            {
                **surface_errors(points, whole),
                **{f"hidden_{name}": x for name, x in surface_errors(points, back).items()},
            },
        )


def main() -> None:
    """Measure, print and write."""
    parser = command_line(__doc__)
    parser.add_argument("completion", type=Path, help="checkpoint of experiment=completion")
    parser.add_argument("--sets", nargs="+", required=True, help="name=store:split")
    parser.add_argument("--items", type=int, default=120, help="of each set")
    parser.add_argument("--per-object", type=int, default=4, help="items of one object at most")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()

    model = load_completion(options.completion)
    truth = TrueDistances(reach_m=model.voxels.reach_m, step_m=0.004)
    document: dict[str, Any] = {"completion": file_hash(options.completion), "sets": {}}
    lines = []
    for name, items in read_sets(options, load_hand("leap_right")).items():
        values: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for item in items:
            for method, part, found in figures(model, truth, item):
                for key, value in found.items():
                    values[method, part][key].append(value)
        document["sets"][name] = {
            f"{method}, {part}": {key: round(float(np.mean(x)), 4) for key, x in of.items()}
            | {"items": max(map(len, of.values()))}
            for (method, part), of in values.items()
        }
        for row, of_row in document["sets"][name].items():
            lines.append(
                [name, row, str(of_row["items"]), *(f"{of_row[k]:.3g}" if k in of_row else "" for k in SHOWN)]
            )
        write(document, options.output, seed=0)
    print(table(["set", "row", "items", *SHOWN], lines), flush=True)


if __name__ == "__main__":
    main()
