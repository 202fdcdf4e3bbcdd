"""What of a request lies beside its object, as a hand's distance to it is measured; needs no torch."""

import numpy as np
from jaxtyping import Float

from sceneleapultra.utils.requests import GraspRequest
from sceneleapultra.utils.requests.cells import cells_of

FAR_CLEARANCE_M = 0.1  # reported where nothing observed is nearer
MEASURED = 192  # points of which the exact distance is taken: those deepest in the hand's spheres
GRASPS_AT_ONCE = 8
_REACH_M = 0.35  # of a hand about its object
_CELL_M = 0.002  # one point of each is kept


def points_beside(
    request: GraspRequest, hand_pose: Float[np.ndarray, "g p"]
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "g p"]]:
    """Return the points beside the object within a hand's reach, and the grasps, both from the object's middle."""
    center = request.target_points.mean(0, dtype=np.float64)
    beside = request.points[~request.object_mask] - center
    beside = beside[np.square(beside).sum(-1) <= _REACH_M**2]
    beside = beside[cells_of(beside, _CELL_M).first]
    moved = np.array(hand_pose, dtype=np.float64)
    moved[:, :3] -= center
    return beside.astype(np.float32), moved.astype(np.float32)
