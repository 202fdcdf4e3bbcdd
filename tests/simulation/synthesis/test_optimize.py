from dataclasses import replace

import numpy as np
import pytest

from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.simulation.protocols import get_protocol
from sceneleapultra.simulation.synthesis import Candidates, GraspLabeler, GraspSettings, Optimize, prepare
from sceneleapultra.simulation.synthesis.optimize import Descent
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.records import Scene


@pytest.fixture(scope="module")
def method() -> Optimize:
    made: Optimize = build(load_group("synthesis", "optimize"))
    return replace(made, placement=replace(made.placement, oversampling=32), steps=120)


@pytest.fixture(scope="module")
def lone(scene: Scene) -> Scene:
    return Scene(scene.objects[1:], scene.T_world_object[1:], table=False)


@pytest.fixture(scope="module")
def candidates(hand: Hand, lone: Scene, method: Optimize) -> Candidates:
    return method.proposer(prepare(hand, lone, 0)).propose(12, np.random.default_rng(0))


def test_descended_grasps_hold(
    hand: Hand, lone: Scene, candidates: Candidates, grasp_settings: GraspSettings
) -> None:
    labeler = GraspLabeler(prepare(hand, lone, 0), get_protocol("dgb-fc-quick"), grasp_settings.quality)
    labeled = labeler.label_grasps(labeler.drop_unfit(candidates).grasps)
    assert labeled.success.sum() >= 0.15 * len(candidates.grasps)


def test_same_seed_same_grasps(hand: Hand, lone: Scene, method: Optimize, candidates: Candidates) -> None:
    few = replace(method, steps=3)
    one, other = (
        few.proposer(prepare(hand, lone, 0)).propose(4, np.random.default_rng(1)).grasps for _ in range(2)
    )
    np.testing.assert_array_equal(one.hand_pose, other.hand_pose)
    np.testing.assert_array_equal(one.squeeze_qpos, other.squeeze_qpos)


def test_descent_lowers_the_energy(hand: Hand, lone: Scene, method: Optimize) -> None:
    def energy(steps: int) -> float:
        proposer = replace(method, steps=steps).proposer(prepare(hand, lone, 0))
        assert isinstance(proposer, Descent)
        start = proposer.placer.draw(12, np.random.default_rng(0))
        fingers = proposer.finger_sets(len(start.qpos), np.random.default_rng(0))
        pose = GraspPose.from_matrix(start.T_world_base, start.qpos)
        return float(proposer.descend(pose, fingers)[1].mean())

    assert energy(60) < 0.6 * energy(1)


def test_joints_stay_within_limits_and_the_squeeze_closes(hand: Hand, candidates: Candidates) -> None:
    limits, grasps = hand.joint_limits.numpy(), candidates.grasps
    for qpos in (grasps.hand_pose[:, 3:-4], grasps.pregrasp_qpos, grasps.squeeze_qpos):
        assert (qpos >= limits[:, 0] - 1e-6).all() and (qpos <= limits[:, 1] + 1e-6).all()
    closing = hand.flexion_sign.numpy() != 0
    assert (grasps.squeeze_qpos - grasps.hand_pose[:, 3:-4])[:, closing].mean() > 0.01
