"""Procedures that try a grasp in simulation."""

from sceneleapultra.simulation.protocols.trials.base import Approach, Runs, Trial, Verdict
from sceneleapultra.simulation.protocols.trials.force_closure import ForceClosure
from sceneleapultra.simulation.protocols.trials.tabletop_lift import TabletopLift

__all__ = ["Approach", "ForceClosure", "Runs", "TabletopLift", "Trial", "Verdict"]
