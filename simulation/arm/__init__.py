"""An arm that carries the hand: description, inverse kinematics, plans, and the world in which it picks."""

from sceneleapultra.simulation.arm.description import ArmDescription, ArmJoint
from sceneleapultra.simulation.arm.observed import observed_world
from sceneleapultra.simulation.arm.planning import ArmPlan, ArmPlanner, ReachError
from sceneleapultra.simulation.arm.world import ArmWorld

__all__ = ["ArmDescription", "ArmJoint", "ArmPlan", "ArmPlanner", "ArmWorld", "ReachError", "observed_world"]
