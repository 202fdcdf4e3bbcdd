"""The table's plane in a cloud, and with it the direction against gravity: found by RANSAC, the same in every call."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from sceneleapultra.utils.requests.cells import cells_of

_VOXEL_M = 0.01  # each counts once, so that what is near counts no more than what is far
_MOST_VOXELS = 6000
_TRIPLES = 800
# A point lies on a plane up to this distance: a base, and a share of its distance from the camera.
_BASE_M, _PER_M = 0.004, 0.004
_LEAST_VOXELS = 60
_LEAST_SHARE = 0.25  # of the voxels: less is no table
_RIVAL_SHARE = 0.6  # a tilted plane with this share of the best one's voxels could be the table as well
_LEVEL_SHARE = 0.35  # the same of a level one above: then the best one is the floor
_PARALLEL = np.cos(np.deg2rad(10.0))
_REFINEMENTS = 4


@dataclass(frozen=True)
class TablePlane:
    """A plane, seen from its upper side."""

    up: Float[np.ndarray, "3"]  # unit vector against gravity, in the frame of the cloud
    height: float  # of the plane along it (m), from the origin of the cloud
    share: float  # of the surface near the target, or the camera, that lies in it
    spread_m: float  # standard deviation of its points about it

    def heights(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """Return the heights of points above the plane (m)."""
        heights: np.ndarray = np.asarray(points, dtype=np.float64) @ self.up - self.height
        return heights

    def height_of(self, point: Float[np.ndarray, "3"]) -> float:
        """Return the height of a point above the plane (m)."""
        return float(self.heights(point[None])[0])


class NoTableError(ValueError):
    """No plane, or more than one, could be the table."""


def fit_table(points: Float[np.ndarray, "n 3"], viewpoint: Float[np.ndarray, "3"]) -> TablePlane:
    """Find the plane that most of the surface lies in.

    Args:
        points: of the surface that may show the table (m).
        viewpoint: camera center; the upper side of a table faces it.

    Raises:
        NoTableError: none dominates, or several do; the message says which and what to pass.
    """
    origin = viewpoint.astype(np.float64)
    centered = np.asarray(points, dtype=np.float64) - origin
    voxels = cells_of(centered, _VOXEL_M).centers
    rng = np.random.default_rng(0)
    if len(voxels) < _LEAST_VOXELS:
        raise NoTableError(
            f"up: the table is to be found in {len(points):,} points that cover {len(voxels)} cells of 1 cm, which is "
            "too few. Pass the direction against gravity, up (--up X Y Z), or a larger view."
        )
    if len(voxels) > _MOST_VOXELS:
        voxels = voxels[rng.choice(len(voxels), _MOST_VOXELS, replace=False)]
    planes, rest = [], np.ones(len(voxels), dtype=bool)
    for _ in range(4):
        if rest.sum() < _LEAST_VOXELS:
            break
        up, offset = _largest_plane(voxels[rest], rng)
        on_it = _near(voxels, up, offset) & rest
        spread = _spread(centered, up, offset)
        planes.append(TablePlane(up, offset + float(origin @ up), float(on_it.mean()), spread))
        rest &= ~_near(voxels, up, offset, slack=2.0)
    return _choose(planes)


def _choose(planes: list[TablePlane]) -> TablePlane:
    """Return the table among the planes of a view, the largest first."""
    planes = sorted(planes, key=lambda plane: -plane.share)
    best = planes[0]
    if best.share < _LEAST_SHARE:
        raise NoTableError(
            "up: no plane dominates this view, so none is taken for the table: the largest holds "
            f"{100 * best.share:.0f} % of the surface, expected at least {100 * _LEAST_SHARE:.0f} %. Pass the "
            "direction against gravity, up (--up X Y Z)."
        )
    for other in planes[1:]:
        if other.share >= _RIVAL_SHARE * best.share and best.up @ other.up < _PARALLEL:
            one, two = (" ".join(f"{x:.3f}" for x in plane.up) for plane in (best, other))
            raise NoTableError(
                f"up: two planes could be the table, with {100 * best.share:.0f} and {100 * other.share:.0f} % of the "
                f"surface. Pass the direction against gravity: --up {one} for the first, --up {two} for the second."
            )
    # Table and floor are level both: what stands on the table is seen above the higher one.
    level = [p for p in planes if p.share >= _LEVEL_SHARE * best.share and p.up @ best.up >= _PARALLEL]
    return max(level, key=lambda plane: plane.height)


def _largest_plane(
    voxels: Float[np.ndarray, "n 3"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "3"], float]:
    """Return the unit normal towards the origin, where the camera is, and the offset along it."""
    corners = voxels[rng.integers(0, len(voxels), (_TRIPLES, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1)
    usable = length > 1e-6
    normals = normals[usable] / length[usable, None]
    offsets = (normals * corners[usable, 0]).sum(-1)
    counted = voxels if len(voxels) <= 2000 else voxels[rng.choice(len(voxels), 2000, replace=False)]
    tolerance = _tolerance(counted)
    support = (np.abs(normals @ counted.T - offsets[:, None]) < tolerance).sum(1)
    best = int(support.argmax())
    normal, offset = normals[best], float(offsets[best])
    for _ in range(_REFINEMENTS):
        on_it = voxels[_near(voxels, normal, offset)]
        if len(on_it) < 3:
            break
        center = on_it.mean(0)
        normal = np.linalg.svd(on_it - center, full_matrices=False)[2][2]
        offset = float(center @ normal)
    return (normal, offset) if offset <= 0 else (-normal, -offset)


def _spread(points: Float[np.ndarray, "n 3"], normal: Float[np.ndarray, "3"], offset: float) -> float:
    """Return the standard deviation of the points about the plane that they lie in, by their median."""
    distance = np.abs(points @ normal - offset)
    on_it = distance[distance < _tolerance(points)]
    return 1.4826 * float(np.median(on_it)) if len(on_it) else 0.0


def _near(
    voxels: Float[np.ndarray, "n 3"], normal: Float[np.ndarray, "3"], offset: float, slack: float = 1.0
) -> Bool[np.ndarray, "n"]:
    near: np.ndarray = np.abs(voxels @ normal - offset) < slack * _tolerance(voxels)
    return near


def _tolerance(voxels: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    tolerance: np.ndarray = _BASE_M + _PER_M * np.linalg.norm(voxels, axis=1)
    return tolerance
