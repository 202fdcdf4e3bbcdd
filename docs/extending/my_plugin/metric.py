"""A metric: how high the hand is above the object."""

from sceneleapultra.simulation.protocols import GraspState, Metric
from sceneleapultra.utils.columns import Column


def palm_height() -> Metric:
    """Return the column and its measure."""
    column = Column("palm_height_m", "f8", "Height of the hand above the object.", unit="m", shown_unit="mm")
    return Metric(column, measure)


def measure(state: GraspState) -> float:
    """Return the height at the grasp (m)."""
    return float(state.world.data.qpos[2] - state.world.target_pose[2])
