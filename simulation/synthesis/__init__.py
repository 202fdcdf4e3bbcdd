"""Grasp synthesis: methods that propose grasps in a scene, and the judge that tests them."""

from simulation.synthesis.base import Candidates, Proposer, Synthesis, Target, prepare
from simulation.synthesis.closing import ClosingSettings
from simulation.synthesis.forecast import ForecastSettings
from simulation.synthesis.judging import Judge, QualitySettings, RobustnessSettings
from simulation.synthesis.optimise import EnergySettings, Optimise
from simulation.synthesis.placement import PlacementSettings, initial_palm_poses
from simulation.synthesis.preshape import PreshapeSettings
from simulation.synthesis.sim_close import SimClose
from simulation.synthesis.synthesise import GraspSettings, Synthesised, synthesise

__all__ = [
    "Candidates",
    "ClosingSettings",
    "EnergySettings",
    "ForecastSettings",
    "GraspSettings",
    "Judge",
    "Optimise",
    "PlacementSettings",
    "PreshapeSettings",
    "Proposer",
    "QualitySettings",
    "RobustnessSettings",
    "SimClose",
    "Synthesis",
    "Synthesised",
    "Target",
    "initial_palm_poses",
    "prepare",
    "synthesise",
]
