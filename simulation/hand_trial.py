"""A first try of a hand: closings on a few objects, tested in physics, so that a wrong reading of it shows."""

from dataclasses import dataclass

import numpy as np
import torch

from sceneleapultra.hands import Hand
from sceneleapultra.simulation.objects import make_object
from sceneleapultra.simulation.protocols.hand_model import HandModel
from sceneleapultra.simulation.synthesis import (
    GraspSettings,
    QualitySettings,
    RobustnessSettings,
    Synthesis,
    synthesize,
)
from sceneleapultra.simulation.synthesis.closing import ClosingSettings, closing_torque_nm, servo_stiffness
from sceneleapultra.utils.records import LabeledGrasps, Scene

_OBJECTS = (("box", 5), ("cylinder", 2))  # 42 x 59 x 54 mm; 47 mm across, 92 mm tall
_BATCH = 8


@dataclass(frozen=True)
class HandTrial:
    """What came of the closings on one object.

    Attributes:
        scene: the object, afloat alone.
        labeled: grasps that were fit to be tested, and their verdicts.
        attempts: closings, those included that were not fit.
    """

    scene: Scene
    labeled: LabeledGrasps
    attempts: int

    @property
    def held(self) -> int:
        """How many closings held the object."""
        return int(self.labeled.success.sum())


def weak_joints(hand: Hand, settings: ClosingSettings) -> dict[str, float]:
    """Return the closing joints whose servos cannot press as closing asks for, and what share of it they can.

    A servo presses by its stiffness times how far it can aim beyond the resting pose, which is the joint's limit.

    Args:
        hand: with semantics.
        settings: of the closing.
    """
    low, high = hand.joint_limits.unbind(-1)
    room = torch.where(hand.flexion_sign > 0, high - hand.rest_qpos, hand.rest_qpos - low)
    torque_nm = servo_stiffness(HandModel.from_hand(hand)) * room * hand.joint_scale
    share = (torque_nm / torch.as_tensor(closing_torque_nm(hand, settings))).tolist()
    closes = (hand.flexion_sign != 0).tolist()
    return {
        name: part
        for name, part, own in zip(hand.joint_names, share, closes, strict=True)
        if own and part < 1
    }


def try_hand(hand: Hand, method: Synthesis, attempts: int, seed: int) -> list[HandTrial]:
    """Close a hand on a few objects, as often as asked for in all.

    Args:
        hand: with semantics.
        method: that places and closes hands.
        attempts: closings.
        seed: of all random choices.
    """
    settings = GraspSettings(
        successes=attempts,
        max_attempts=max(_BATCH, attempts // len(_OBJECTS)),
        batch=_BATCH,
        protocol="dgb-fc-quick",
        max_failures_per_success=None,
        quality=QualitySettings(
            max_penetration_m=0.005, max_self_penetration_m=0.003, min_fingers=2, min_clearance_m=-1.0
        ),
        robustness=RobustnessSettings(trials=0, sigma_translation_m=0.0, sigma_rotation_rad=0.0),
    )
    trials = []
    for number, (family, object_seed) in enumerate(_OBJECTS):
        scene = Scene((make_object(family, object_seed),), np.eye(4)[None], table=False)
        made = synthesize(hand, scene, 0, method, settings, np.random.default_rng([seed, number]))
        trials.append(HandTrial(scene, made.labeled, made.attempts))
    return trials
