import pickle

import mujoco
import numpy as np
import pytest
import torch

from sceneleapultra.hands import GraspPose, energies


def base_pose(qpos):
    n = len(qpos)
    return GraspPose(
        torch.zeros(n, 3, dtype=qpos.dtype), torch.eye(3, dtype=qpos.dtype).expand(n, 3, 3), qpos
    )


def test_surface_points_lie_on_the_surface_with_unit_normals(any_hand, draw):
    pose = base_pose(draw(any_hand, 2))
    points, normals = any_hand.surface_points(pose, 512)
    # A point may lie inside a neighboring link, never outside the hand.
    distance = any_hand.signed_distance(points, pose)
    assert distance.max() < 1e-5
    assert (distance.abs() < 1e-5).float().mean() > 0.6
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(2, 512, dtype=normals.dtype))
    with pytest.raises(ValueError, match="n must be 1 to"):
        any_hand.surface_points(pose, 10**6)


def test_normals_point_out(any_hand):
    pose = base_pose(any_hand.joint_limits.mean(-1)[None].clone())
    points, normals = any_hand.surface_points(pose, 512)
    at, out = (any_hand.signed_distance(p, pose) for p in (points, points + 1e-4 * normals))
    into = any_hand.signed_distance(points - 1e-4 * normals, pose)
    # Next to another link the nearest surface may be that link's, hence not every point.
    exposed = (at.abs() < 1e-5) & (into < 0)
    assert exposed.float().mean() > 0.6
    assert (out > into)[exposed].float().mean() > 0.97


def test_contacts_are_16_per_tip_on_the_pad(leap, draw):
    pose = base_pose(draw(leap, 3))
    points, normals = leap.contact_candidates(pose)
    assert points.shape == normals.shape == (3, 64, 3)
    assert leap.contact_finger.bincount().tolist() == [16] * 4
    assert leap.finger_names == ("index", "middle", "ring", "thumb")
    T = leap.body_poses(pose)
    for finger, body in enumerate(leap.fingertip_bodies):
        pad = -T[:, leap.body_names.index(body), :3, 0]  # the pad looks along -x of the tip
        cos = (normals[:, leap.contact_finger == finger] * pad[:, None]).sum(-1)
        assert cos.min() > 0.3


def test_spheres_fill_the_hand(any_hand, draw):
    pose = base_pose(draw(any_hand, 2))
    centers, radii = any_hand.spheres(pose)
    assert (
        any_hand.signed_distance(centers, pose) <= -0.9 * radii
    ).all()  # none sticks out by more than a tenth
    points, _ = any_hand.surface_points(pose, 512)
    gap = (torch.cdist(points, centers) - radii).amin(-1)
    assert gap.mean() < 0.004
    assert gap.max() < 0.016  # box corners stay bare


def test_faster_placement_is_the_plain_one(leap64, draw):
    pose = base_pose(draw(leap64, 3))
    centers, bodies, radii = leap64.collision_spheres
    T = leap64.body_poses(pose)[:, bodies]
    plain = (T[..., :3, :3] @ centers[:, :, None]).squeeze(-1) + T[..., :3, 3]
    torch.testing.assert_close(leap64.spheres(pose)[0], plain)
    assert len(radii) == len(centers)


def test_rest_pose_is_free_within_limits_and_closing_brings_pads_together(leap):
    rest = leap.rest_qpos[None]
    assert energies.joint_limits(rest, leap.joint_limits) == 0
    model = mujoco.MjSpec.from_string(leap.to_mjcf()).compile()
    data = mujoco.MjData(model)
    data.qpos[:] = leap.rest_qpos.numpy()
    mujoco.mj_forward(model, data)
    assert data.ncon == 0

    def opening(qpos):
        points, _ = leap.contact_candidates(base_pose(qpos))
        thumb = leap.contact_finger == leap.finger_names.index(leap.thumb)
        return (points[0, thumb].mean(0) - points[0, ~thumb].mean(0)).norm()

    assert opening(rest + 0.2 * leap.flexion_sign) < opening(rest) - 0.01


def test_keypoints_do_not_overlap_in_free_poses(leap):
    for qpos in (leap.rest_qpos[None], torch.zeros(1, 16)):
        keypoints = leap.keypoints(base_pose(qpos))
        assert energies.self_penetration(keypoints, leap.keypoint_radius, leap.keypoint_pairs) == 0


def test_self_penetration_of_spheres_follows_mujoco(leap, draw):
    # Poses that MuJoCo calls deeply self-penetrating cost, and poses without a contact cost next to nothing.
    model = mujoco.MjSpec.from_string(leap.to_mjcf()).compile()
    data = mujoco.MjData(model)
    qpos = draw(leap, 200, seed=2)
    centers, radii = leap.spheres(base_pose(qpos))
    energy = energies.self_penetration(centers, radii, leap.sphere_pairs)
    depth = []
    for q in qpos.numpy():
        data.qpos[:] = q
        mujoco.mj_forward(model, data)
        depth.append(max((-c.dist for c in data.contact), default=0.0))
    depth = np.array(depth)
    assert (depth > 0.01).sum() > 10
    assert (energy.numpy()[depth > 0.01] > 0).mean() > 0.95
    assert energy.numpy()[depth == 0].max() < 1e-4


def test_palm_is_on_the_surface_and_looks_out(leap, allegro):
    for hand in (leap, allegro):
        pose = base_pose(hand.rest_qpos[None])
        ahead = torch.stack([hand.palm_center + s * hand.palm_direction for s in (0.0, 0.005, -0.005)])
        on, out, into = hand.signed_distance(ahead[None], pose)[0]
        assert abs(on) < 1e-6
        assert out > 0.004
        assert into < -0.004


def test_one_cloud_serves_a_batch_of_poses(leap, draw):
    pose = base_pose(draw(leap, 3))
    points = 0.1 * torch.randn(20, 3)
    torch.testing.assert_close(
        leap.signed_distance(points, pose), leap.signed_distance(points.expand(3, 20, 3), pose)
    )


def test_mesh_is_the_hand(leap64):
    vertices, faces = leap64.mesh(leap64.rest_qpos)
    assert faces.max() < len(vertices)
    distance = leap64.signed_distance(torch.tensor(vertices)[None], base_pose(leap64.rest_qpos[None]))
    assert distance.max() < 1e-6


def test_nothing_of_a_hand_is_saved_in_a_checkpoint(leap):
    assert leap.state_dict() == {}


def test_a_hand_survives_pickling_and_conversion(leap, draw):
    other = pickle.loads(pickle.dumps(leap))
    qpos = draw(leap, 2)
    torch.testing.assert_close(other.forward_kinematics(qpos), leap.forward_kinematics(qpos))
    double = other.double().forward_kinematics(qpos.double())
    torch.testing.assert_close(double.float(), leap.forward_kinematics(qpos))


def test_second_hand_has_what_the_first_has(allegro):
    pose = base_pose(allegro.rest_qpos[None])
    points, _ = allegro.contact_candidates(pose)
    assert points.shape == (1, 64, 3)
    assert (allegro.signed_distance(points, pose).abs() < 2e-3).all()
    assert allegro.fingertip_bodies[-1] == "link_15.0_tip"
    assert allegro.keypoints(pose).shape[-1] == 3
