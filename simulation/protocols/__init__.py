"""Physics tests of grasps: protocols, the engine that runs them, and their verdicts."""

from simulation.protocols.contacts import ContactMetrics
from simulation.protocols.evaluate import evaluate_grasps, evaluate_many
from simulation.protocols.model import HandModel, ObjectModel
from simulation.protocols.protocol import Protocol, get_protocol
from simulation.protocols.simulator import GraspSimulator, GraspVerdict
from simulation.protocols.verdicts import Verdicts

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
