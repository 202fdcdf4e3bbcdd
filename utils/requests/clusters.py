"""The objects above a table: clusters of points, told apart where they touch."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sceneleapultra.utils.requests.cells import cells_of
from sceneleapultra.utils.requests.parts import part_labels

_CELL_M = 0.003
_LEAST_POINTS, _LEAST_SIZE_M = 30, 0.01
MOST_M = 0.6  # what is larger is a wall or a person, no object on a table


@dataclass(frozen=True)
class Cluster:
    """Points of one object."""

    index: Int[np.ndarray, "m"]  # into the valid points
    center: Float[np.ndarray, "3"]
    size_m: Float[np.ndarray, "3"]  # largest extent first
    pixel: tuple[int, int] | None  # column and row of a point near the center, where there is an image

    def describe(self, number: int) -> str:
        """Return a line of a list."""
        size = " x ".join(f"{100 * x:.1f}" for x in self.size_m)
        place = ", ".join(f"{x:.3f}" for x in self.center)
        pixel = "" if self.pixel is None else f", pixel {self.pixel[0]} {self.pixel[1]}"
        return f"  {number}: {size} cm at ({place}){pixel}, {len(self.index):,} points"


def principal_extents(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3"]:
    """Return how far points extend along their principal axes (m), strays aside; the largest first."""
    if len(points) == 0:
        return np.zeros(3)
    centered = np.asarray(points, dtype=np.float64) - points.mean(0, dtype=np.float64)
    axes = np.linalg.eigh(centered.T @ centered)[1]
    low, high = np.percentile(centered @ axes, (0.5, 99.5), axis=0)
    return np.sort(high - low)[::-1]


def find_clusters(
    points: Float[np.ndarray, "n 3"],
    candidates: Int[np.ndarray, "c"],
    pixels: Int[np.ndarray, "n 2"] | None,
    viewpoint: Float[np.ndarray, "3"],
) -> tuple[Cluster, ...]:
    """Return the clusters of some of the points, the one with most points first.

    Args:
        points: all valid points (m).
        candidates: which of them may belong to an object.
        pixels: column and row of each point, where there is an image.
        viewpoint: camera center in the frame of the points.
    """
    if len(candidates) == 0:
        return ()
    origin = points[candidates[0]].astype(np.float64)
    cells = cells_of(points[candidates] - origin, _CELL_M)
    label = part_labels(cells.centers, viewpoint - origin)[cells.owner]
    order = np.argsort(label, kind="stable")
    found = []
    for members in np.split(candidates[order], np.flatnonzero(np.diff(label[order])) + 1):
        size = principal_extents(points[members])
        if len(members) >= _LEAST_POINTS and _LEAST_SIZE_M <= size[0] <= MOST_M:
            center = points[members].mean(0, dtype=np.float64)
            found.append(Cluster(members, center, size, _pixel_near(points, members, center, pixels)))
    return tuple(sorted(found, key=lambda cluster: (-len(cluster.index), int(cluster.index[0]))))


def _pixel_near(
    points: np.ndarray, members: np.ndarray, center: np.ndarray, pixels: np.ndarray | None
) -> tuple[int, int] | None:
    if pixels is None:
        return None
    nearest = members[np.square(points[members] - center).sum(-1).argmin()]
    return int(pixels[nearest, 0]), int(pixels[nearest, 1])
