"""Two fingers that slide, one of which follows the other: made, closed and judged like any hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sceneleapultra.hands import Hand, load_hand
from sceneleapultra.hands.loading import parse_semantics
from sceneleapultra.simulation.hand_trial import weak_joints
from sceneleapultra.simulation.protocols import evaluate_grasps
from sceneleapultra.simulation.synthesis import GraspSettings, SimClose, synthesize
from sceneleapultra.simulation.synthesis.base import prepare
from sceneleapultra.simulation.synthesis.placement import Placer
from sceneleapultra.utils.records import Scene
from tests.factories.hands import GRIPPERS, HANDS, write


def gripper(folder: Path, name: str) -> Hand:
    description = load_hand(write(folder, name)).description
    said = parse_semantics(GRIPPERS[name], name)
    known = {key: getattr(said, key) for key in GRIPPERS[name]}
    return Hand(replace(description, semantics=replace(description.semantics, **known)))


@pytest.mark.slow
@pytest.mark.parametrize("name", GRIPPERS)
def test_grippers_close_and_hold(
    tmp_path: Path, scene: Scene, sim_close: SimClose, grasp_settings: GraspSettings, name: str
) -> None:
    hand = gripper(tmp_path, name)
    made = synthesize(hand, scene, 1, sim_close, grasp_settings, np.random.default_rng(0))
    good = made.labeled.grasps[made.labeled.success]
    assert len(good) >= 3
    assert good.hand_pose.shape[1] == 3 + 1 + 4  # one number says how far the gripper is closed
    closing, (low, high) = hand.flexion_sign.numpy(), hand.joint_limits.numpy()[0]
    assert (closing * (good.squeeze_qpos - good.hand_pose[:, 3:4]) > 0).all()
    assert (closing * (good.hand_pose[:, 3:4] - good.pregrasp_qpos) > 0).all()
    for qpos in (good.pregrasp_qpos, good.squeeze_qpos):
        assert (qpos >= low - 1e-6).all() and (qpos <= high + 1e-6).all()
    again = evaluate_grasps(hand, scene, good, "dgb-fc-quick", workers=1, target=1)
    assert again["stable"].all()


def test_servos_that_are_too_weak_are_known(tmp_path: Path, sim_close: SimClose) -> None:
    assert weak_joints(gripper(tmp_path, "jaws.xml"), sim_close.closing) == {}
    text = HANDS["jaws.xml"].replace('"0.156862745"', '"0.0156862745"').replace("0 -1000 -30", "0 -100 -10")
    (tmp_path / "weak.xml").write_text(text)
    description = gripper(tmp_path, "jaws.xml").description
    weak = Hand(replace(load_hand(tmp_path / "weak.xml").description, semantics=description.semantics))
    # 100 N/m over the 2 cm from rest to closed, at 5 cm for a radian; asked for is the torque of two fingers.
    share = 100 * 0.02 * 0.05 / (2 * sim_close.closing.torque_nm)
    assert weak_joints(weak, sim_close.closing) == pytest.approx({"left": share}, rel=1e-5)


def test_jaws_that_swing_meet_the_object_at_once(tmp_path: Path, scene: Scene, sim_close: SimClose) -> None:
    hand = gripper(tmp_path, "swings.urdf")
    target = prepare(hand, scene, 1)
    placed = Placer(target, sim_close.placement).draw(8, np.random.default_rng(0))
    assert len(placed.qpos) >= 4
    # Closed by a twentieth of a degree at a time, one jaw touches less than a degree before the other, on average.
    closed = torch.linspace(0, 0.9, 1032)
    spheres = hand.collision_spheres
    touched = []
    for jaw in ("left", "right"):
        own = (spheres.bodies == hand.body_names.index(jaw)).nonzero()[:, 0]
        first = []
        for T, qpos in zip(placed.T_world_base, placed.qpos, strict=True):
            path = (qpos - closed[:, None]).clamp_min(0)
            bodies = T @ hand.forward_kinematics(path)[:, spheres.bodies[own]]
            centers = (bodies[..., :3, :3] @ spheres.centers[own, :, None]).squeeze(-1) + bodies[..., :3, 3]
            touches = (
                target.distance.target(centers.reshape(-1, 3)).reshape(len(path), -1) <= spheres.radii[own]
            ).any(1)
            assert touches.any()
            first.append(int(touches.int().argmax()))
        touched.append(first)
    assert np.abs(np.subtract(*touched)).mean() <= 20


@pytest.mark.parametrize("name", ["jaws.urdf", "jaws.xml"])
def test_the_jaws_are_as_far_apart_as_they_say(tmp_path: Path, name: str) -> None:
    hand = gripper(tmp_path, name)
    opened = torch.tensor([[0.0], [0.013], [0.04]])
    T = hand.forward_kinematics(opened)[..., :3, 3]
    left, right = (T[:, hand.body_names.index(jaw)] for jaw in ("left", "right"))
    torch.testing.assert_close((left - right).norm(dim=-1), 0.01 + 2 * opened[:, 0])
    torch.testing.assert_close(hand.closing, torch.tensor([-0.05]))  # five centimetres for a radian
