"""The world of the project: objects, scenes, cameras, grasps and the protocols that test them."""

from sceneleapultra.simulation.protocols import evaluate_grasps, evaluate_many, get_protocol

__all__ = ["evaluate_grasps", "evaluate_many", "get_protocol"]
