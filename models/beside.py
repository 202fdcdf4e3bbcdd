"""What of a request lies beside its object: how a hand's distance to it is measured and counts; needs no torch."""

import numpy as np
from jaxtyping import Float

from sceneleapultra.utils.requests import GraspRequest
from sceneleapultra.utils.requests.cells import cells_of

FAR_CLEARANCE_M = 0.1  # reported where nothing observed is nearer
MEASURED = 192  # points of which the exact distance is taken: those deepest in the hand's spheres
GRASPS_AT_ONCE = 8
_REACH_M = 0.35  # of a hand about its object
_CELL_M = 0.002  # one point of each is kept
TABLE_QUANTILE = 0.1  # of the heights of points beside the target: where the top of the table is
_ABOVE_TABLE_M = 0.01  # what is higher stands on the table


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


def neighbor_points(beside: Float[np.ndarray, "n 3"], up: Float[np.ndarray, "3"]) -> Float[np.ndarray, "m 3"]:
    """Return those points beside the object that stand on the table instead of being its surface."""
    if len(beside) == 0:
        return beside
    height = beside @ up.astype(beside.dtype)
    return beside[height > np.quantile(height, TABLE_QUANTILE) + _ABOVE_TABLE_M]


def collision_free_success(
    score: Float[np.ndarray, "g"], clearance_m: Float[np.ndarray, "g"], margin_m: float, softness_m: float
) -> Float[np.ndarray, "g"]:
    """Return the log-odds of two independent events: success as a score has it, and that the hand stays clear.

    ``p = sigmoid(score) sigmoid((c - margin_m) / softness_m)`` with c the clearance.

    Args:
        score: log-odds of success.
        clearance_m: from each hand to its object's neighbors; negative: it is inside of one.
        margin_m: clearance of even odds.
        softness_m: over which these odds change by a factor e.
    """
    log_odds = (clearance_m - margin_m) / softness_m
    log_p = -np.logaddexp(0.0, -score.astype(np.float64)) - np.logaddexp(0.0, -log_odds)
    log_p = log_p.clip(max=-1e-7)
    odds: np.ndarray = (log_p - np.log(-np.expm1(log_p))).astype(score.dtype)
    return odds
