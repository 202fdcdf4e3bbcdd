"""Procedures that try a grasp in simulation."""

from sceneleapultra.simulation.protocols.trials.approach_choice import ApproachChoice
from sceneleapultra.simulation.protocols.trials.base import Approach, Runs, Trial, Verdict
from sceneleapultra.simulation.protocols.trials.force_closure import ForceClosure
from sceneleapultra.simulation.protocols.trials.force_margin import ForceMargin
from sceneleapultra.simulation.protocols.trials.lift_settings import (
    CleanRule,
    LiftMotion,
    LiftTiming,
    ObjectWeight,
    PickRule,
)
from sceneleapultra.simulation.protocols.trials.scene_lift import SceneLift
from sceneleapultra.simulation.protocols.trials.tabletop_lift import TabletopLift

__all__ = [
    "Approach",
    "ApproachChoice",
    "CleanRule",
    "ForceClosure",
    "ForceMargin",
    "LiftMotion",
    "LiftTiming",
    "ObjectWeight",
    "PickRule",
    "Runs",
    "SceneLift",
    "TabletopLift",
    "Trial",
    "Verdict",
]
