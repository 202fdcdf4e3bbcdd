"""Point operations behind one interface: the order of points, their neighbors, interpolation, gathering.

Plain torch is the reference and needs nothing else. Other backends give the same indices, ties to the lowest
index, and are chosen by name; see :mod:`utils.points.backends`. Voxels: :mod:`utils.grid_sampling`.
"""

from sceneleapultra.utils.points.backends import Backend, require_backend
from sceneleapultra.utils.points.farthest import farthest_point_order, farthest_point_order_numpy
from sceneleapultra.utils.points.indexing import gather
from sceneleapultra.utils.points.neighbors import ball_query, interpolate, knn

__all__ = [
    "Backend",
    "ball_query",
    "farthest_point_order",
    "farthest_point_order_numpy",
    "gather",
    "interpolate",
    "knn",
    "require_backend",
]
