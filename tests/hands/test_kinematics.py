from pathlib import Path

import mujoco
import numpy as np
import pytest
import roma
import torch

from sceneleapultra.hands import GraspPose, load_hand

REFERENCE = Path(__file__).parents[2].parent / "shared/data/dexgraspbench_reference/hand_leap/right_hand.xml"


def compiled(hand):
    model = mujoco.MjSpec.from_string(hand.to_mjcf(), assets=hand.mesh_assets).compile()
    return model, mujoco.MjData(model)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_agrees_with_mujoco_over_1000_random_poses(any_hand, draw, dtype, tolerance):
    model, data = compiled(any_hand)
    qpos = draw(any_hand, 1000)
    T_base_body = (
        type(any_hand)(any_hand.description, dtype=dtype).forward_kinematics(qpos.to(dtype)).double()
    )
    T_world_body = (torch.tensor(any_hand.T_world_root) @ T_base_body).numpy()
    position, angle = 0.0, 0.0
    for q, T in zip(qpos.numpy(), T_world_body, strict=True):
        data.qpos[:] = q
        mujoco.mj_kinematics(model, data)
        position = max(position, np.abs(T[:, :3, 3] - data.xpos[1:]).max())
        R = data.xmat[1:].reshape(-1, 3, 3)
        # The chord |R - R'|_F = 2 sqrt 2 sin(angle / 2); acos of a trace would lose half of the digits.
        chord = np.linalg.norm(T[:, :3, :3] - R, axis=(1, 2)).max()
        angle = max(angle, 2 * np.arcsin(chord / np.sqrt(8)))
    assert position <= tolerance  # the requirement is 1e-5 m
    assert angle <= 3 * tolerance  # and 1e-5 rad


def test_joints_and_bodies_are_in_the_order_of_the_simulated_model(any_hand):
    model, _ = compiled(any_hand)
    assert tuple(model.joint(i).name for i in range(model.njnt)) == any_hand.joint_names
    driven = tuple(model.joint(model.actuator_trnid[i, 0]).name for i in range(model.nu))
    assert driven == any_hand.joint_names
    if any_hand.description.source_mjcf is None:  # a foreign MJCF names its servos as it likes
        assert tuple(model.actuator(i).name for i in range(model.nu)) == any_hand.joint_names
    assert tuple(model.body(i).name for i in range(1, model.nbody)) == any_hand.body_names
    torch.testing.assert_close(torch.tensor(model.jnt_range), any_hand.joint_limits)


def test_gradients_agree_with_finite_differences(any_hand, draw):
    qpos = draw(any_hand, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(any_hand.forward_kinematics, (qpos,))


def test_limits_belong_to_their_joint_name(leap):
    limits = dict(zip(leap.joint_names, leap.joint_limits.tolist(), strict=True))
    assert limits["if_mcp"] == pytest.approx((-0.314, 2.23))
    assert limits["if_rot"] == pytest.approx((-1.047, 1.047))
    # The intersection of the MJCF's (-0.349, 2.094) and the URDF's (-0.47, 2.443), and so on.
    assert limits["th_axl"] == pytest.approx((-0.349, 2.094))
    assert limits["th_mcp"] == pytest.approx((-0.47, 1.90))


def test_own_leap_is_the_menagerie_leap(leap64, draw):
    if not REFERENCE.is_file():
        pytest.skip("reference LEAP MJCF absent")
    theirs = load_hand(REFERENCE, dtype=torch.float64)
    qpos = draw(leap64, 100)
    ours, other = leap64.forward_kinematics(qpos), theirs.forward_kinematics(qpos)
    # Their quaternions have six digits.
    assert (ours - other)[..., :3, 3].abs().max() < 2e-6
    assert roma.rotmat_geodesic_distance(ours[..., :3, :3], other[..., :3, :3]).max() < 5e-5


def test_wrong_number_of_joints_is_a_sentence(leap):
    with pytest.raises(ValueError, match=r"'leap_right' has 16 joints .* qpos has 15"):
        leap.forward_kinematics(torch.zeros(2, 15))


def test_no_poses_have_no_bodies(leap):
    assert leap.forward_kinematics(torch.zeros(0, 16)).shape == (0, len(leap.body_names), 4, 4)


def test_body_poses_follow_the_base(leap64, draw):
    T = torch.eye(4, dtype=torch.float64)
    T[:3, :3] = roma.random_rotmat(1, dtype=torch.float64)[0]
    T[:3, 3] = torch.tensor([0.1, -0.2, 0.3])
    qpos = draw(leap64, 4)
    moved = leap64.body_poses(GraspPose.from_matrix(T.expand(4, 4, 4), qpos))
    torch.testing.assert_close(moved, T @ leap64.forward_kinematics(qpos))
