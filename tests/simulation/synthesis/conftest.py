"""One small world for all tests of synthesis, made once."""

from dataclasses import replace

import numpy as np
import pytest

from sceneleapultra.hands import Hand, load_hand
from sceneleapultra.simulation.objects import make_object
from sceneleapultra.simulation.scene import drop_scene
from sceneleapultra.simulation.synthesis import (
    GraspSettings,
    QualitySettings,
    RobustnessSettings,
    SimClose,
    SynthesisResult,
    synthesize,
)
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.records import Scene


@pytest.fixture(scope="session")
def hand() -> Hand:
    return load_hand("leap_right")


@pytest.fixture(scope="session")
def scene() -> Scene:
    """A box and a cylinder on the table."""
    objects = make_object("box", 4), make_object("cylinder", 3)
    return drop_scene(objects, np.random.default_rng(0), build(load_group("scene", "default")))


@pytest.fixture(scope="session")
def sim_close() -> SimClose:
    method: SimClose = build(load_group("synthesis", "sim_close"))
    return replace(method, placement=replace(method.placement, oversampling=64))


@pytest.fixture(scope="session")
def grasp_settings() -> GraspSettings:
    return GraspSettings(
        successes=3,
        max_attempts=24,
        batch=8,
        protocol="dgb-fc-quick",
        max_failures_per_success=None,
        quality=QualitySettings(
            max_penetration_m=0.005, max_self_penetration_m=0.003, min_fingers=2, min_clearance_m=0.0
        ),
        robustness=RobustnessSettings(trials=0, sigma_translation_m=0.005, sigma_rotation_rad=0.08),
    )


@pytest.fixture(scope="session")
def synthesized(
    hand: Hand, scene: Scene, sim_close: SimClose, grasp_settings: GraspSettings
) -> SynthesisResult:
    return synthesize(hand, scene, 1, sim_close, grasp_settings, np.random.default_rng(0))
