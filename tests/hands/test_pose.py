import pytest
import roma
import torch

from sceneleapultra.hands import GraspPose


def random_pose(*shape):
    rotation = roma.random_rotmat(shape, dtype=torch.float64)
    return GraspPose(
        torch.randn(*shape, 3, dtype=torch.float64), rotation, torch.randn(*shape, 16, dtype=torch.float64)
    )


def same(a, b):
    torch.testing.assert_close(a.translation, b.translation)
    torch.testing.assert_close(a.rotation, b.rotation)
    torch.testing.assert_close(a.qpos, b.qpos)


def test_both_vector_forms_round_trip():
    pose = random_pose(4, 7)
    assert pose.pack().shape == (4, 7, 25)
    assert pose.to_hand_pose().shape == (4, 7, 23)
    same(GraspPose.unpack(pose.pack()), pose)
    same(GraspPose.from_hand_pose(pose.to_hand_pose()), pose)
    same(GraspPose.from_matrix(pose.matrix(), pose.qpos), pose)


def test_layouts_are_the_documented_ones():
    pose = random_pose(2)
    packed, hand_pose = pose.pack(), pose.to_hand_pose()
    torch.testing.assert_close(packed[:, :3], pose.translation)
    torch.testing.assert_close(packed[:, 3:19], pose.qpos)
    torch.testing.assert_close(packed[:, 19:22], pose.rotation[:, 0])  # first row
    torch.testing.assert_close(packed[:, 22:25], pose.rotation[:, 1])  # second row
    xyzw = roma.rotmat_to_unitquat(pose.rotation)
    sign = torch.where(xyzw[:, 3:] < 0, -1.0, 1.0)
    torch.testing.assert_close(hand_pose[:, 19:], sign * xyzw[:, [3, 0, 1, 2]])


def test_transforming_composes_and_inverts():
    pose, T = random_pose(3), random_pose(1).matrix()
    same(pose.transform(T).transform(torch.linalg.inv(T)), pose)
    torch.testing.assert_close(pose.transform(T).matrix(), T @ pose.matrix())


def test_too_short_a_vector_is_a_sentence():
    with pytest.raises(ValueError, match="at least 9 numbers, got 8"):
        GraspPose.unpack(torch.zeros(2, 8))
