"""How well a scene is completed: overlap of solids, and distances between surfaces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from sceneleapultra.models.metrics import MetricPart
from sceneleapultra.utils.geometry.voxels.grid import VoxelGrid

THRESHOLDS_M = (0.005, 0.01)
_QUANTILE = 0.95  # of the Hausdorff distance, which a single stray voxel would decide


@dataclass(frozen=True)
class OverlapPart(MetricPart):
    """How many voxels are predicted, true, and both."""

    counts: Int[Tensor, "3"]

    @classmethod
    def of(cls, predicted: Bool[Tensor, "n"], true: Bool[Tensor, "n"]) -> "OverlapPart":
        """Count."""
        return cls(torch.stack([(predicted & true).sum(), predicted.sum(), true.sum()]))

    @classmethod
    def join(cls, parts: Sequence["OverlapPart"]) -> "OverlapPart":
        """Add the counts."""
        return cls(torch.stack([part.counts for part in parts]).sum(0))

    def cpu(self) -> "OverlapPart":
        """Return it in main memory."""
        return OverlapPart(self.counts.cpu())

    def figures(self) -> dict[str, float]:
        """Return intersection over union; none where there is nothing."""
        both, predicted, true = self.counts.tolist()
        union = predicted + true - both
        return {"iou": both / union} if union else {}


def surface_points(
    distance: Float[np.ndarray, "x y z"], grid: VoxelGrid, counted: Bool[np.ndarray, "x y z"] | None = None
) -> Float[np.ndarray, "n 3"]:
    """Return where a field passes zero between neighboring voxels, in the grid's frame (m).

    Args:
        distance: signed distances at the voxels' centers.
        grid: where they are.
        counted: voxels that count; a crossing counts where the voxel outside does.
    """
    centers, found = grid.centers, [np.zeros((0, 3))]
    for axis in range(3):
        low = tuple(slice(None, -1) if i == axis else slice(None) for i in range(3))
        high = tuple(slice(1, None) if i == axis else slice(None) for i in range(3))
        a, b = distance[low], distance[high]
        crosses = (a < 0.0) != (b < 0.0)
        if counted is not None:
            crosses &= np.where(a >= 0.0, counted[low], counted[high])
        share = (a / np.where(a == b, 1.0, a - b))[crosses, None]
        found.append(centers[low][crosses] * (1.0 - share) + centers[high][crosses] * share)
    return np.concatenate(found)


def surface_errors(predicted: Float[np.ndarray, "n 3"], true: Float[np.ndarray, "m 3"]) -> dict[str, float]:
    """Return how far two surfaces given by points are apart; nothing where one of them has no point.

    ``chamfer_l1_mm``: mean of the two mean distances. ``chamfer_l2_mm2``: of the two mean squares.
    ``hausdorff95_mm``: the larger of the two 95th percentiles. ``precision``, ``recall``, ``f`` with the threshold
    behind: share of predicted points so near to the true surface, of true points so near to the predicted one, and
    their harmonic mean.
    """
    if len(predicted) == 0 or len(true) == 0:
        return {}
    to_true, to_predicted = cKDTree(true).query(predicted)[0], cKDTree(predicted).query(true)[0]
    found = {
        "chamfer_l1_mm": 1e3 * 0.5 * float(to_true.mean() + to_predicted.mean()),
        "chamfer_l2_mm2": 1e6 * 0.5 * float(np.square(to_true).mean() + np.square(to_predicted).mean()),
        "hausdorff95_mm": 1e3 * float(max(np.quantile(d, _QUANTILE) for d in (to_true, to_predicted))),
    }
    for threshold in THRESHOLDS_M:
        precision, recall = float((to_true <= threshold).mean()), float((to_predicted <= threshold).mean())
        both = precision + recall
        name = f"{1e3 * threshold:.0f}mm"
        found |= {f"precision_{name}": precision, f"recall_{name}": recall}
        found[f"f_{name}"] = 2.0 * precision * recall / both if both else 0.0
    return found


def overlap(predicted: Bool[np.ndarray, "n"], true: Bool[np.ndarray, "n"]) -> float | None:
    """Return intersection over union; None where there is nothing."""
    union = int((predicted | true).sum())
    return int((predicted & true).sum()) / union if union else None
