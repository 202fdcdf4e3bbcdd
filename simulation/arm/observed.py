"""What an arm must not touch, from one view: the table, and a solid around the seen points of each object.

A solid reaches from the points down to the table: what is behind and below them is not seen, and is not free.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import ConvexHull

from sceneleapultra.simulation.protocols.spec import ObjectModel, WorldSpec
from sceneleapultra.utils.requests.clusters import find_clusters

_ABOVE_TABLE_M = 0.006
_DENSITY = 1000.0  # nothing moves in it


def observed_world(
    points: Float[np.ndarray, "n 3"], is_target: Bool[np.ndarray, "n"], viewpoint: Float[np.ndarray, "3"]
) -> tuple[WorldSpec, Float[np.ndarray, "k 7"]]:
    """Return a world of what is seen, the target first, and the poses of its objects.

    Args:
        points: in the world's frame, the table at z = 0 (m).
        is_target: which are of the object to grasp.
        viewpoint: where the camera is.
    """
    beside = np.flatnonzero(~is_target & (points[:, 2] > _ABOVE_TABLE_M))
    clusters = find_clusters(points, beside, None, viewpoint)
    groups = [points[is_target], *(points[cluster.index] for cluster in clusters)]
    solids = tuple(ObjectModel((_down_to_the_table(group),), _DENSITY) for group in groups)
    spec = WorldSpec(solids, tuple(range(len(solids))), table=True, gravity=True)
    return spec, np.tile([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0], (len(solids), 1))


def _down_to_the_table(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "v 3"]:
    both = np.concatenate([points, points * [1.0, 1.0, 0.0]]).astype(float)
    found: Float[np.ndarray, "v 3"] = both[ConvexHull(both).vertices]
    return found
