"""Real hands: their motors' order, limits, currents and protocol; way-points as trajectories and messages."""

from sceneleapultra.hands.adapters.adapter import HandAdapter, load_adapter
from sceneleapultra.hands.adapters.settings import Gains, Mount, Preset, Timing
from sceneleapultra.hands.adapters.trajectory import HandTrajectory, HandWaypoint, plan_waypoints

__all__ = [
    "Gains",
    "HandAdapter",
    "HandTrajectory",
    "HandWaypoint",
    "Mount",
    "Preset",
    "Timing",
    "load_adapter",
    "plan_waypoints",
]
