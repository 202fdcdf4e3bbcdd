"""Grasp synthesis: methods that propose grasps in a scene, and the labeler that tries them."""

from sceneleapultra.simulation.synthesis.base import Candidates, Proposer, Synthesis, Target, prepare
from sceneleapultra.simulation.synthesis.closing import ClosingSettings
from sceneleapultra.simulation.synthesis.fingertips import FingertipGrasps, ReachSettings
from sceneleapultra.simulation.synthesis.forecast import ForecastSettings
from sceneleapultra.simulation.synthesis.labeling import GraspLabeler, QualitySettings, RobustnessSettings
from sceneleapultra.simulation.synthesis.mixture import Mixture
from sceneleapultra.simulation.synthesis.optimize import EnergySettings, Optimize
from sceneleapultra.simulation.synthesis.pinch import PinchSettings
from sceneleapultra.simulation.synthesis.placement import PlacementSettings, initial_palm_poses
from sceneleapultra.simulation.synthesis.postures import PostureSettings
from sceneleapultra.simulation.synthesis.preshape import PreshapeSettings
from sceneleapultra.simulation.synthesis.sim_close import SimClose
from sceneleapultra.simulation.synthesis.synthesize import GraspSettings, SynthesisResult, synthesize

__all__ = [
    "Candidates",
    "ClosingSettings",
    "EnergySettings",
    "FingertipGrasps",
    "ForecastSettings",
    "GraspLabeler",
    "GraspSettings",
    "Mixture",
    "Optimize",
    "PinchSettings",
    "PlacementSettings",
    "PostureSettings",
    "PreshapeSettings",
    "Proposer",
    "QualitySettings",
    "ReachSettings",
    "RobustnessSettings",
    "SimClose",
    "Synthesis",
    "SynthesisResult",
    "Target",
    "initial_palm_poses",
    "prepare",
    "synthesize",
]
