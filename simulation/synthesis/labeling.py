"""How proposed grasps get labels: fit, clear of the scene, and tried by the protocol in every direction."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from sceneleapultra.simulation.collision import clearance
from sceneleapultra.simulation.protocols import (
    CONTACT_METRICS,
    GRASP_LABELS,
    Attempt,
    GraspSimulator,
    Metric,
    Protocol,
)
from sceneleapultra.simulation.synthesis.base import Candidates, Target
from sceneleapultra.utils.records import Grasps, LabeledGrasps, Outcome

DEPTHS = CONTACT_METRICS[:2]  # penetration of the object, and of the hand itself


@dataclass(frozen=True, kw_only=True)
class QualitySettings:
    """What a grasp must be besides stable; ``config/generate.yaml`` says what each number means."""

    max_penetration_m: float
    max_self_penetration_m: float
    min_fingers: int
    min_clearance_m: float


@dataclass(frozen=True, kw_only=True)
class RobustnessSettings:
    """How successes are repeated with a displaced hand; ``config/generate.yaml`` says what each number means."""

    trials: int
    sigma_translation_m: float
    sigma_rotation_rad: float


class GraspLabeler:
    """Labels grasps of one target; the physics is compiled once."""

    def __init__(self, target: Target, protocol: Protocol, quality: QualitySettings) -> None:
        self.target, self.quality = target, quality
        spec = protocol.trial.world(target.scene, target.index)
        self._simulator = GraspSimulator(target.model, spec, protocol)
        self._poses = spec.poses(target.scene)

    def drop_unfit(self, candidates: Candidates) -> Candidates:
        """Drop what no one should learn from: a hand deep in the object or in itself, or too few fingers on it."""
        q = self.quality
        depth = self._measure(candidates.grasps, DEPTHS)
        fit = (depth[:, 0] <= q.max_penetration_m) & (depth[:, 1] <= q.max_self_penetration_m)
        # A grasp that never touched is an honest failure; one finger alone is neither.
        fit &= (candidates.fingers >= q.min_fingers) | (candidates.fingers == 0)
        return Candidates(candidates.grasps[fit], candidates.fingers[fit])

    def label_grasps(self, grasps: Grasps) -> LabeledGrasps:
        """Try every grasp; one that collides with the scene fails untried, directions not run count as failed."""
        n = len(grasps)
        clearance_m = clearance(self.target.balls, self.target.distance, grasps)
        outcome = np.full(n, Outcome.SCENE_COLLISION, dtype=np.uint8)
        directions = np.zeros((n, self._simulator.protocol.trial.num_directions), dtype=bool)
        disturbance = np.full(n, np.nan)
        for i in np.flatnonzero(clearance_m >= self.quality.min_clearance_m).tolist():
            verdict = self._simulator.run(Attempt.of(grasps, i, self._poses), stop_at_failure=True)
            outcome[i], directions[i] = verdict.outcome, verdict.direction_success
            disturbance[i] = verdict.details.get("disturbance", np.nan)
        measured = self._measure(grasps, (*DEPTHS, *GRASP_LABELS))
        return LabeledGrasps(
            grasps=grasps,
            success=outcome == Outcome.SUCCESS,
            direction_success=directions,
            outcome=outcome,
            penetration_m=measured[:, 0],
            self_penetration_m=measured[:, 1],
            clearance_m=clearance_m,
            robustness=np.full(n, np.nan),
            grasp_type=measured[:, 2].astype(np.uint8),
            held_part=measured[:, 3].astype(np.uint8),
            touched_parts=measured[:, 4].astype(np.uint16),
            disturbance=disturbance,
        )

    def with_robustness(
        self, labeled: LabeledGrasps, settings: RobustnessSettings, rng: np.random.Generator
    ) -> LabeledGrasps:
        """Repeat each success with the hand displaced; the repetitions are appended as grasps of their own."""
        chosen = np.flatnonzero(labeled.success)
        if not settings.trials or not len(chosen):
            return labeled
        repeated = labeled.grasps[np.repeat(chosen, settings.trials)]
        again = self.label_grasps(displace(repeated, self.target, settings, rng))
        robustness = labeled.robustness.copy()
        robustness[chosen] = again.success.reshape(-1, settings.trials).mean(axis=1)
        return LabeledGrasps.concatenate([replace(labeled, robustness=robustness), again])

    def _measure(self, grasps: Grasps, metrics: tuple[Metric, ...]) -> Float[np.ndarray, "g m"]:
        """Return what is measured at each grasp, one column for each metric."""
        attempts = [Attempt.of(grasps, i, self._poses) for i in range(len(grasps))]
        values = [list(self._simulator.measure(attempt, metrics).values()) for attempt in attempts]
        return np.array(values, dtype=float).reshape(-1, len(metrics))


def displace(
    grasps: Grasps, target: Target, settings: RobustnessSettings, rng: np.random.Generator
) -> Grasps:
    """Move and turn each hand about its palm's center by normal noise."""
    pose = grasps.hand_pose.copy()
    rotation = Rotation.from_quat(pose[:, -4:], scalar_first=True)
    palm = target.hand.palm_center.numpy().astype(float)
    center = pose[:, :3] + rotation.apply(palm)
    turned = Rotation.from_rotvec(settings.sigma_rotation_rad * rng.normal(size=(len(pose), 3))) * rotation
    pose[:, :3] = center - turned.apply(palm) + settings.sigma_translation_m * rng.normal(size=(len(pose), 3))
    pose[:, -4:] = turned.as_quat(canonical=True, scalar_first=True)
    return Grasps(pose, grasps.pregrasp_qpos, grasps.squeeze_qpos)
