"""Physics tests of grasps: protocols, the engine that runs them, and their verdicts."""

from sceneleapultra.simulation.protocols.contacts import ContactMetrics
from sceneleapultra.simulation.protocols.evaluate import evaluate_grasps, evaluate_many
from sceneleapultra.simulation.protocols.model import HandModel, ObjectModel
from sceneleapultra.simulation.protocols.protocol import Protocol, get_protocol
from sceneleapultra.simulation.protocols.simulator import GraspSimulator, GraspVerdict
from sceneleapultra.simulation.protocols.verdicts import Verdicts

__all__ = [
    "ContactMetrics",
    "GraspSimulator",
    "GraspVerdict",
    "HandModel",
    "ObjectModel",
    "Protocol",
    "Verdicts",
    "evaluate_grasps",
    "evaluate_many",
    "get_protocol",
]
