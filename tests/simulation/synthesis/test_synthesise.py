import dataclasses

import numpy as np
import pytest
import torch

from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.simulation.collision import scene_clearance
from sceneleapultra.simulation.protocols import evaluate_grasps
from sceneleapultra.simulation.synthesis import (
    GraspSettings,
    RobustnessSettings,
    SimClose,
    SynthesisResult,
    synthesize,
)
from sceneleapultra.utils.core.config import load_group
from sceneleapultra.utils.records import Outcome, Scene


def arrays(made: SynthesisResult) -> list[np.ndarray]:
    labeled = dataclasses.asdict(made.labeled)
    return [*labeled.pop("grasps").values(), *labeled.values()]


def test_same_seed_same_grasps(
    hand: Hand, scene: Scene, sim_close: SimClose, grasp_settings: GraspSettings, synthesized: SynthesisResult
) -> None:
    again = synthesize(hand, scene, 1, sim_close, grasp_settings, np.random.default_rng(0))
    for one, other in zip(arrays(synthesized), arrays(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_successes_pass_the_protocol_when_tried_again(
    hand: Hand, scene: Scene, synthesized: SynthesisResult
) -> None:
    labeled = synthesized.labeled
    assert labeled.success.sum() >= 3
    good = labeled.grasps[labeled.success]
    table = evaluate_grasps(hand, scene, good, "dgb-fc-quick", workers=1, target=1)
    assert table["stable"].all()
    assert (scene_clearance(hand, scene, 1, good) >= 0).all()


def test_failures_are_kept_with_their_reason(synthesized: SynthesisResult) -> None:
    labeled = synthesized.labeled
    assert len(labeled.success) == synthesized.attempts - synthesized.unfit
    assert (~labeled.success).any()
    np.testing.assert_array_equal(labeled.success, labeled.outcome == Outcome.SUCCESS)
    np.testing.assert_array_equal(labeled.success, labeled.direction_success.all(axis=1))
    untested = labeled.outcome == Outcome.SCENE_COLLISION
    np.testing.assert_array_equal(untested, labeled.clearance_m < 0)


def test_grasps_are_poses_of_this_hand(hand: Hand, synthesized: SynthesisResult) -> None:
    grasps, limits = synthesized.labeled.grasps, hand.joint_limits.numpy()
    for qpos in (grasps.hand_pose[:, 3:-4], grasps.pregrasp_qpos, grasps.squeeze_qpos):
        assert (qpos >= limits[:, 0] - 1e-6).all() and (qpos <= limits[:, 1] + 1e-6).all()
    np.testing.assert_allclose(np.linalg.norm(grasps.hand_pose[:, -4:], axis=1), 1.0, atol=1e-9)


def test_fingers_close_from_pregrasp_to_squeeze(hand: Hand, synthesized: SynthesisResult) -> None:
    grasps = synthesized.labeled.grasps
    closing = hand.flexion_sign.numpy() != 0
    grasp = grasps.hand_pose[:, 3:-4]
    assert ((grasp - grasps.pregrasp_qpos)[:, closing] >= -1e-9).all()
    assert (grasp - grasps.pregrasp_qpos)[:, closing].mean() > 0.03
    good = synthesized.labeled.success
    assert (grasps.squeeze_qpos - grasp)[good][:, closing].mean() > 0.01


def test_successful_hands_are_above_the_table_and_out_of_the_object_before_the_grasp(
    hand: Hand, scene: Scene, synthesized: SynthesisResult
) -> None:
    good = synthesized.labeled.grasps[synthesized.labeled.success]
    pose = GraspPose.from_hand_pose(torch.as_tensor(good.hand_pose, dtype=torch.float32))
    opened = GraspPose(
        pose.translation, pose.rotation, torch.as_tensor(good.pregrasp_qpos, dtype=torch.float32)
    )
    for at in (pose, opened):
        points, _ = hand.surface_points(at)
        assert (points[..., 2] >= -1e-5).all()
    T = torch.as_tensor(scene.T_world_object[1], dtype=torch.float32)
    vertices = torch.as_tensor(scene.objects[1].vertices, dtype=torch.float32) @ T[:3, :3].T + T[:3, 3]
    inside = hand.signed_distance(vertices.expand(len(good), -1, -1), opened)
    assert (inside >= -0.002).all()


def test_robustness_is_the_share_of_displaced_repetitions_that_pass(
    hand: Hand, scene: Scene, sim_close: SimClose, grasp_settings: GraspSettings
) -> None:
    settings = dataclasses.replace(
        grasp_settings,
        successes=1,
        robustness=RobustnessSettings(trials=2, sigma_translation_m=0.004, sigma_rotation_rad=0.05),
    )
    labeled = synthesize(hand, scene, 1, sim_close, settings, np.random.default_rng(1)).labeled
    measured = np.isfinite(labeled.robustness)
    assert measured.any() and labeled.success[measured].all()
    # With one batch, the repetitions of the successes are its last rows.
    repeated = labeled.success[-2 * measured.sum() :].reshape(-1, 2)
    np.testing.assert_allclose(labeled.robustness[measured], repeated.mean(axis=1))


def test_failures_can_be_capped(
    hand: Hand, scene: Scene, sim_close: SimClose, grasp_settings: GraspSettings
) -> None:
    settings = dataclasses.replace(grasp_settings, successes=1, max_failures_per_success=0.0)
    made = synthesize(hand, scene, 1, sim_close, settings, np.random.default_rng(0))
    assert made.labeled.success.all() and len(made.labeled.success) == made.successes < made.attempts


def test_unknown_method_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"Unknown synthesis 'sim_clos'. Did you mean 'sim_close'"):
        load_group("synthesis", "sim_clos")
