"""Point operations behind one interface: the order of points, their neighbors, interpolation, gathering.

Plain torch is the reference and needs nothing else. Other backends give the same indices, ties to the lowest
index, and are chosen by name; see :mod:`utils.geometry.points.backends`. Voxels: :mod:`utils.geometry.grid_sampling`.
"""

from sceneleapultra.utils.geometry.point_order import farthest_point_order_numpy
from sceneleapultra.utils.geometry.points.backends import Backend, require_backend
from sceneleapultra.utils.geometry.points.farthest import farthest_point_order
from sceneleapultra.utils.geometry.points.indexing import gather
from sceneleapultra.utils.geometry.points.neighbors import ball_query, interpolate, knn

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
