"""Grasps carried over by fingertips: to the same hand they stay, to another its pads take the first one's places."""

import numpy as np
import torch

from sceneleapultra.hands import GraspPose, load_hand
from sceneleapultra.hands.retargeting import Around, Retargeting
from sceneleapultra.utils.geometry.rotation import so3_exp
from sceneleapultra.utils.records import Grasps


def grasps_of(hand, number=3):
    """Half-closed grasps anywhere; the squeeze closes every joint further."""
    rng = torch.Generator().manual_seed(0)
    low, high = hand.joint_limits.unbind(-1)
    qpos = hand.rest_qpos + 0.1 * torch.rand(number, hand.num_joints, generator=rng) * (high - low)
    qpos = qpos.clamp(low + 0.05 * (high - low), high - 0.05 * (high - low))
    position = torch.rand(number, 3, generator=rng)
    pose = GraspPose(position, so3_exp(torch.randn(number, 3, generator=rng)), qpos)
    squeeze = (qpos + 0.05 * hand.semantics.flexion_sign).clamp(low, high)
    return Grasps(pose.to_hand_pose().numpy(), hand.rest_qpos.expand(number, -1).numpy(), squeeze.numpy())


def pads(hand, grasps):
    """The middle of each finger's pad, by finger."""
    points, _ = hand.contact_candidates(GraspPose.from_hand_pose(torch.as_tensor(grasps.hand_pose)))
    return {
        name: points[:, hand.contact_finger == k].mean(1).numpy() for k, name in enumerate(hand.finger_names)
    }


def test_to_the_same_hand_nothing_moves():
    hand = load_hand("leap_right")
    grasps = grasps_of(hand)
    carried, misfit = Retargeting(hand, hand)(grasps, None)
    for name, place in pads(hand, carried).items():
        np.testing.assert_allclose(place, pads(hand, grasps)[name], atol=0.003)
    assert misfit.max() < 0.3**2 * len(hand.finger_names)
    np.testing.assert_allclose(
        Retargeting(hand, hand).shares, np.eye(len(hand.finger_names)), err_msg="each finger its own place"
    )


def test_another_hand_takes_the_places_of_thumb_and_fingers():
    leap, allegro = load_hand("leap_right"), load_hand("allegro_like")
    grasps = grasps_of(leap)
    carried, misfit = Retargeting(leap, allegro)(grasps, None)
    theirs, own = pads(leap, grasps), pads(allegro, carried)
    off = sum(np.square(own[b] - theirs[a]).sum(-1) for a, b in places(leap, allegro))
    np.testing.assert_allclose(misfit, 1e4 * off, rtol=1e-3)
    assert np.sqrt(off / len(own)).max() < 0.02
    low, high = allegro.joint_limits.numpy().T
    for qpos in (carried.hand_pose[:, 3:-4], carried.pregrasp_qpos, carried.squeeze_qpos):
        assert (qpos >= low).all() and (qpos <= high).all()


def places(source, target):
    shares = Retargeting(source, target).shares
    return [(source.finger_names[int(row.argmax())], target.finger_names[k]) for k, row in enumerate(shares)]


def test_a_gripper_takes_thumb_and_middle():
    leap, gripper = load_hand("leap_right"), load_hand("parallel_gripper")
    shares = Retargeting(leap, gripper).shares
    thumb = shares[gripper.finger_names.index(gripper.thumb)]
    assert thumb[leap.finger_names.index(leap.thumb)] == 1.0 and thumb.sum() == 1.0
    (other,) = [k for k, name in enumerate(gripper.finger_names) if name != gripper.thumb]
    assert shares[other].sum() == 1.0 and (shares[other] == 1.0).sum() == 1, "the middle one of three"


def test_the_hand_stays_out_of_what_is_seen():
    leap, allegro = load_hand("leap_right"), load_hand("allegro_like")
    carry, grasps = Retargeting(leap, allegro), grasps_of(leap, 1)
    free, _ = carry(grasps, None)
    pose = GraspPose.from_hand_pose(torch.as_tensor(free.hand_pose))
    center = pose.translation + pose.rotation @ allegro.palm_center
    surface, normals = (x[0] for x in allegro.surface_points(pose))
    near = (surface - center).norm(dim=-1).argsort()[:40]  # a bump that reaches 5 mm into the palm
    bump = surface[near] - 0.005 * normals[near]

    def depth(made):
        pose = GraspPose.from_hand_pose(torch.as_tensor(made.hand_pose))
        return float((-allegro.signed_distance(bump[None], pose)).clamp(min=0).sum())

    clear, misfit = carry(grasps, Around(bump, torch.zeros(len(bump))))
    assert depth(clear) < 0.2 * depth(free) and misfit.max() < 4.0
