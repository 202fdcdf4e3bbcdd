"""Hands: description, kinematics, geometry, energies, and the simulated model made from them."""

from hands.hand import CollisionSpheres, Hand
from hands.loading import load_hand
from hands.pose import GraspPose

__all__ = ["CollisionSpheres", "GraspPose", "Hand", "load_hand"]
