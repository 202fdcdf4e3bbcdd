"""Hands: description, kinematics, geometry, energies, and the simulated model made from them."""

from sceneleapultra.hands.hand import CollisionSpheres, Hand, PlacedHand
from sceneleapultra.hands.loading import load_hand
from sceneleapultra.hands.pose import GraspPose

__all__ = ["CollisionSpheres", "GraspPose", "Hand", "PlacedHand", "load_hand"]
