"""How well scenes are completed: overlap and surfaces of models beside one another and what the view shows alone.

    python -m benchmarks.completion_quality regression=runs/completion/checkpoints/best.ckpt
        diffusion=runs/completion_latent/checkpoints/best.ckpt
        consistency=runs/completion_consistency/checkpoints/best.ckpt
        --sets "unseen objects=data/test_all.h5:test" "clutter of 6 to 12=data/test_clutter.h5:test"
        --output benchmarks/results/completion_quality.json

Overlap is that of voxels whose centers are inside, over all and over those that no ray passed. Surfaces are points
where distances pass zero; those of hidden voxels are counted apart. The view alone has the points of its cloud for a
surface. Means over items; an item counts where there is something to compare.

Of a model that draws hypotheses, --hypotheses are drawn: ``name`` has the first, ``name, best`` and ``name, worst`` the
one of the highest and of the lowest overlap with the truth, part by part, and ``name, nearest`` the least of their
distances at every voxel, by which clearances are measured; ``spread_correlation`` is Spearman's between the hypotheses'
standard deviation and the error of their mean, over voxels that no ray passed. ``name, codes`` has the truth after the
model's autoencoder. Milliseconds are processor time from a cloud to its field.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import spearmanr

from benchmarks.common import command_line, table, write
from benchmarks.picking_table import read_sets
from sceneleapultra.datasets.completion.truth import TrueDistances
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.provenance import file_hash
from sceneleapultra.hands import load_hand
from sceneleapultra.models.completion.complete import CompletionModel, load_completion
from sceneleapultra.models.completion.latent import LatentCompleter
from sceneleapultra.models.completion.metrics import overlap, surface_errors, surface_points
from sceneleapultra.models.objectives.completion import PARTS
from sceneleapultra.utils.geometry.voxels.grid import VoxelGrid
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
    "spread_correlation",
    "ms",
)


@dataclass(frozen=True)
class Truth:
    """What an item's completions are compared with."""

    grid: VoxelGrid
    hidden: Bool[np.ndarray, "x y z"]
    distance: Float[np.ndarray, "2 x y z"]

    def figures(self, predicted: Float[np.ndarray, "x y z"], part: int) -> dict[str, float]:
        """Return the figures of a predicted field of a part."""
        true, hidden = self.distance[part], self.hidden
        inside, solid = predicted < 0.0, true < 0.0
        whole, back = (surface_points(predicted, self.grid, counted) for counted in (None, hidden))
        found = {"iou": overlap(inside, solid), "hidden_iou": overlap(inside[hidden], solid[hidden])}
        return {name: x for name, x in found.items() if x is not None} | self.surface_figures(
            whole, back, part
        )

    def surface_figures(
        self, whole: Float[np.ndarray, "n 3"], back: Float[np.ndarray, "m 3"], part: int
    ) -> dict[str, float]:
        """Return how far points of a surface, and those of hidden voxels, are from a part's."""
        true, hidden = (
            surface_points(self.distance[part], self.grid, counted) for counted in (None, self.hidden)
        )
        found = {f"hidden_{name}": x for name, x in surface_errors(back, hidden).items()}
        return surface_errors(whole, true) | found


@dataclass
class Comparison:
    """Compares models with the truth, item by item."""

    models: Mapping[str, CompletionModel]
    hypotheses: int
    distances: TrueDistances

    def rows(self, item: Item) -> Iterator[tuple[str, dict[str, float]]]:
        """Yield the figures of an item by method and part."""
        view, mask = item.view, item.target_mask
        request = GraspRequest(points=view.points, object_mask=mask, viewpoint=view.T_world_cam[:3, 3], up=UP)
        grid, observed = next(iter(self.models.values())).observed(request)
        truth = Truth(grid, observed[FREE] == 0.0, self.distances.field(item.scene, item.target, grid))
        parts = [i for i in range(len(PARTS)) if (truth.distance[i] < 0.0).any()]
        half = grid.size * grid.voxel_m / 2
        for i in parts:
            visible = mask if i == 0 else ~mask & (view.points[:, 2] > TABLE_M)
            points = grid.to_grid(view.points[visible].astype(np.float64))
            points = points[(np.abs(points - [0.0, 0.0, half]) <= half).all(-1)]
            yield f"view alone, {PARTS[i]}", truth.surface_figures(points, points, i)
        for name, model in self.models.items():
            yield from self._rows_of(name, model, request, truth, parts)

    def _rows_of(
        self, name: str, model: CompletionModel, request: GraspRequest, truth: Truth, parts: list[int]
    ) -> Iterator[tuple[str, dict[str, float]]]:
        made, ms = _timed(model, request)
        for i in parts:
            yield f"{name}, {PARTS[i]}", truth.figures(made[0, i], i) | {"ms": ms}
        if not isinstance(model.completer, LatentCompleter):
            return
        vae = model.completer.vae
        with torch.no_grad():
            codes = vae.encode(torch.from_numpy(truth.distance)[None])[0]
            decoded = vae.decode(codes)[0].numpy()
        made, ms = _timed(replace(model, hypotheses=self.hypotheses), request)
        error = np.abs(made.mean(0) - truth.distance)
        for i in parts:
            each = sorted((truth.figures(one[i], i) for one in made), key=lambda found: found.get("iou", 0.0))
            nearest = truth.figures(made[:, i].min(0), i)
            pairs = made[:, i].std(0)[truth.hidden], error[i][truth.hidden]
            nearest["spread_correlation"] = float(spearmanr(*pairs).statistic)
            yield f"{name}, codes, {PARTS[i]}", truth.figures(decoded[i], i)
            yield f"{name}, worst of {self.hypotheses}, {PARTS[i]}", each[0]
            yield f"{name}, best of {self.hypotheses}, {PARTS[i]}", each[-1]
            yield f"{name}, nearest of {self.hypotheses}, {PARTS[i]}", nearest | {"ms": ms}


def _by_family(sets: Mapping[str, Sequence[Item]]) -> dict[str, list[Item]]:
    """Return the items of each family of each set."""
    found: dict[str, list[Item]] = defaultdict(list)
    for name, items in sets.items():
        for item in items:
            found[f"{name}: {item.object.family}"].append(item)
    return dict(sorted(found.items()))


def _timed(model: CompletionModel, request: GraspRequest) -> tuple[Float[np.ndarray, "k 2 x y z"], float]:
    start = time.process_time()
    values = model.field(request).values.numpy()
    return values, 1e3 * (time.process_time() - start)


def main() -> None:
    """Measure, print and write."""
    parser = command_line(__doc__)
    parser.add_argument("completions", nargs="+", help="name=checkpoint; of the same grids")
    parser.add_argument("--sets", nargs="+", required=True, help="name=store:split")
    parser.add_argument("--items", type=int, default=120, help="of each set")
    parser.add_argument("--per-object", type=int, default=4, help="items of one object at most")
    parser.add_argument("--hypotheses", type=int, default=8, help="of each scene")
    parser.add_argument("--by-family", action="store_true", help="each family of a set by itself")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()

    if options.hypotheses < 2:
        parser.error(f"--hypotheses: expected at least 2, got {options.hypotheses}")
    paths = dict(word.split("=", 1) for word in options.completions)
    models = {name: load_completion(path) for name, path in paths.items()}
    if len({str(model.voxels) for model in models.values()}) > 1:
        parser.error("completions: expected the same grids for all, data.cloud differs")
    reach_m = next(iter(models.values())).voxels.reach_m
    comparison = Comparison(models, options.hypotheses, TrueDistances(reach_m=reach_m, step_m=0.004))
    document: dict[str, Any] = {"completions": {n: file_hash(Path(p)) for n, p in paths.items()}, "sets": {}}
    lines = []
    sets = read_sets(options, load_hand("leap_right"))
    for name, items in (_by_family(sets) if options.by_family else sets).items():
        values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for item in items:
            for row, found in comparison.rows(item):
                for key, value in found.items():
                    values[row][key].append(value)
        document["sets"][name] = {
            row: {key: round(float(np.mean(x)), 4) for key, x in of.items()}
            | {"items": max(map(len, of.values()))}
            for row, of in values.items()
        }
        for row, of_row in document["sets"][name].items():
            lines.append(
                [name, row, str(of_row["items"]), *(f"{of_row[k]:.3g}" if k in of_row else "" for k in SHOWN)]
            )
        write(document, options.output, seed=0)
    print(table(["set", "row", "items", *SHOWN], lines), flush=True)


if __name__ == "__main__":
    main()
