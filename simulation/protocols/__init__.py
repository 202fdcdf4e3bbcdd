"""Physics tests of grasps: worlds, trials, protocols, metrics, and the engine that runs them."""

from sceneleapultra.simulation.protocols.bare_lift import bare_lift
from sceneleapultra.simulation.protocols.evaluate import evaluate_grasps, evaluate_many, measure_grasps
from sceneleapultra.simulation.protocols.hand_model import HandModel
from sceneleapultra.simulation.protocols.metrics import (
    CONTACT_METRICS,
    GRASP_LABELS,
    GRASP_TYPE,
    PARTS,
    ContactSettings,
    GraspState,
    Metric,
)
from sceneleapultra.simulation.protocols.protocol import Protocol, get_protocol
from sceneleapultra.simulation.protocols.simulator import GraspSimulator
from sceneleapultra.simulation.protocols.spec import Attempt, ObjectModel, Physics, Surroundings, WorldSpec
from sceneleapultra.simulation.protocols.trials import Trial, Verdict
from sceneleapultra.simulation.protocols.world import World

__all__ = [
    "CONTACT_METRICS",
    "GRASP_LABELS",
    "GRASP_TYPE",
    "PARTS",
    "Attempt",
    "ContactSettings",
    "GraspSimulator",
    "GraspState",
    "HandModel",
    "Metric",
    "ObjectModel",
    "Physics",
    "Protocol",
    "Surroundings",
    "Trial",
    "Verdict",
    "World",
    "WorldSpec",
    "bare_lift",
    "evaluate_grasps",
    "evaluate_many",
    "get_protocol",
    "measure_grasps",
]
