"""How proposed grasps become judged ones: fit, clear of the scene, and through the protocol in every direction."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from sceneleapultra.simulation.collision import clearance
from sceneleapultra.simulation.protocols import GraspSimulator, Protocol
from sceneleapultra.simulation.protocols.evaluate import stages
from sceneleapultra.simulation.protocols.motion import pose_from_matrix
from sceneleapultra.simulation.synthesis.base import Candidates, Target
from sceneleapultra.utils.records import Grasps, LabeledGrasps, Outcome


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


class Judge:
    """Judges grasps of one target; the physics is compiled once."""

    def __init__(self, target: Target, protocol: Protocol, quality: QualitySettings) -> None:
        self.target, self.quality = target, quality
        self._simulator = GraspSimulator(target.model, target.scene.objects[target.index], protocol)
        self._object_pose = pose_from_matrix(target.scene.T_world_object[target.index])

    def fit(self, candidates: Candidates) -> Candidates:
        """Drop what no one should learn from: a hand deep in the object or in itself, or too few fingers on it."""
        measured = [
            self._simulator.metrics(stages(candidates.grasps, i)[1], self._object_pose)
            for i in range(len(candidates.grasps))
        ]
        q = self.quality
        fit = np.array(
            [
                m.penetration_m <= q.max_penetration_m and m.self_penetration_m <= q.max_self_penetration_m
                for m in measured
            ],
            dtype=bool,
        )
        # A grasp that never touched is an honest failure; one finger alone is neither.
        fit &= (candidates.fingers >= q.min_fingers) | (candidates.fingers == 0)
        return Candidates(candidates.grasps[fit], candidates.fingers[fit])

    def judge(self, grasps: Grasps) -> LabeledGrasps:
        """Test every grasp; one that is not clear of the scene fails untested, directions not run count as failed."""
        n = len(grasps)
        clear_m = clearance(self.target.balls, self.target.distance, grasps)
        outcome = np.full(n, Outcome.SCENE_COLLISION, dtype=np.uint8)
        directions = np.zeros((n, len(self._simulator.protocol.directions)), dtype=bool)
        depth = np.zeros((n, 2))
        for i in range(n):
            pregrasp, grasp, squeeze = stages(grasps, i)
            metrics = self._simulator.metrics(grasp, self._object_pose)
            depth[i] = metrics.penetration_m, metrics.self_penetration_m
            if clear_m[i] >= self.quality.min_clearance_m:
                verdict = self._simulator.run(
                    pregrasp, grasp, squeeze, self._object_pose, stop_at_failure=True
                )
                outcome[i], directions[i] = verdict.outcome, verdict.direction_success
        return LabeledGrasps(
            grasps=grasps,
            success=outcome == Outcome.SUCCESS,
            direction_success=directions,
            outcome=outcome,
            penetration_m=depth[:, 0],
            self_penetration_m=depth[:, 1],
            clearance_m=clear_m,
            robustness=np.full(n, np.nan),
        )

    def with_robustness(
        self, labeled: LabeledGrasps, settings: RobustnessSettings, rng: np.random.Generator
    ) -> LabeledGrasps:
        """Repeat each success with the hand displaced; the repetitions are appended as grasps of their own."""
        chosen = np.flatnonzero(labeled.success)
        if not settings.trials or not len(chosen):
            return labeled
        repeated = labeled.grasps[np.repeat(chosen, settings.trials)]
        again = self.judge(displaced(repeated, self.target, settings, rng))
        robustness = labeled.robustness.copy()
        robustness[chosen] = again.success.reshape(-1, settings.trials).mean(axis=1)
        return LabeledGrasps.concatenate([replace(labeled, robustness=robustness), again])


def displaced(
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
