"""What views a model learned from: ranges of a few numbers that a view of somebody else can be compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from jaxtyping import Float

from sceneleapultra.utils.requests.cells import cells_of
from sceneleapultra.utils.requests.clusters import principal_extents
from sceneleapultra.utils.requests.request import GraspRequest
from sceneleapultra.utils.requests.table_plane import TablePlane

Range = tuple[float, float]
BELOW_M = 0.01  # points so far under a table are not noise
_PERCENTILES = (0.5, 99.5)
_NEIGHBORHOOD_M, _CELL_M = 0.2, 0.02  # of the target, of whose surface its share is taken, and by which cells


@dataclass(frozen=True)
class ViewNumbers:
    """What a view is compared by."""

    extents_m: Float[np.ndarray, "3"]  # of the target along its principal axes, the largest first
    target_share: float  # of the surface around it
    top_m: float  # of the target above the table
    below_share: float  # of the target's points that lie under the table
    distance_m: float
    elevation_deg: float
    camera_height_m: float

    @classmethod
    def of(cls, request: GraspRequest, plane: TablePlane) -> "ViewNumbers":
        """Measure a request with a target."""
        target = request.target_points.astype(np.float64)
        center = target.mean(0)
        near = np.square(request.points - center).sum(-1) <= _NEIGHBORHOOD_M**2
        # By area, in cells: how densely a camera or a store samples target and table says nothing.
        cells = cells_of(request.points[near] - center, _CELL_M)
        covered = len(np.unique(cells.owner[request.object_mask[near]]))
        heights = plane.heights(target)
        ray = request.viewpoint - center
        distance = float(np.linalg.norm(ray))
        return cls(
            extents_m=principal_extents(target),
            target_share=covered / max(len(cells.first), 1),
            top_m=float(np.percentile(heights, 99.5)),
            below_share=float((heights < -BELOW_M).mean()),
            distance_m=distance,
            elevation_deg=float(np.rad2deg(np.arcsin(np.clip(ray @ plane.up / max(distance, 1e-9), -1, 1)))),
            camera_height_m=plane.height_of(request.viewpoint),
        )


@dataclass(frozen=True)
class LearnedViews:
    """From the lowest to the highest value, strays aside."""

    extent_m: Range  # largest extent of the target's visible points
    target_share: Range  # of the surface within 0.2 m of the target
    top_m: Range  # highest visible point of the target above the table
    distance_m: Range  # camera to target
    elevation_deg: Range  # of the line of sight above the table

    @classmethod
    def of(cls, views: Sequence[ViewNumbers]) -> "LearnedViews":
        """Measure the ranges of some views."""
        columns = {
            "extent_m": [v.extents_m[0] for v in views],
            "target_share": [v.target_share for v in views],
            "top_m": [v.top_m for v in views],
            "distance_m": [v.distance_m for v in views],
            "elevation_deg": [v.elevation_deg for v in views],
        }
        return cls.from_dict({k: np.percentile(c, _PERCENTILES).tolist() for k, c in columns.items()})

    def to_dict(self) -> dict[str, list[float]]:
        """Return plain containers, for a checkpoint."""
        return {name: list(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, list[float]]) -> "LearnedViews":
        """Read plain containers."""
        return cls(**{f.name: (float(values[f.name][0]), float(values[f.name][1])) for f in fields(cls)})


# For checkpoints that say nothing of their views, as those of 0.2.0 and before: the views of the shipped models,
# measured by LearnedViews.of on 444 training items of `generate_dataset.py dataset=leap_table_cpu`.
SHIPPED_VIEWS = LearnedViews(
    extent_m=(0.045, 0.183),
    target_share=(0.038, 0.30),
    top_m=(0.022, 0.182),
    distance_m=(0.38, 0.78),
    elevation_deg=(23.0, 72.0),
)
