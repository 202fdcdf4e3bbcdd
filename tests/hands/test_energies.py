import torch

from sceneleapultra.hands import GraspPose, energies

POINTS = torch.tensor([[0.03, 0.0, 0.0], [-0.03, 0.0, 0.0]])
NORMALS = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
ORIGIN = torch.zeros(3)


def closure(points, normals, weights):
    return energies.force_closure(points, normals, weights, origin=ORIGIN, torque_length_m=0.05)


def test_two_opposing_contacts_close():
    assert closure(POINTS, NORMALS, torch.ones(2)) == 0


def test_an_offset_pair_leaves_its_torque():
    points = POINTS + torch.tensor([[0.0, 0.01, 0.0], [0.0, -0.01, 0.0]])
    # Forces cancel; torque = 2 * 0.01 m * 1 N about z, over 0.05 m, squared: 0.4^2.
    torch.testing.assert_close(closure(points, NORMALS, torch.ones(2)), torch.tensor(0.16))


def test_one_thumb_balances_three_fingers_only_with_weights():
    normals = torch.stack([NORMALS[0], *[NORMALS[1]] * 3])
    points = 0.03 * normals
    finger = torch.tensor([3, 0, 1, 2])
    weights = energies.contact_weights(finger, 3, torch.ones(4, dtype=torch.bool))
    torch.testing.assert_close(weights, torch.tensor([1.0, 1 / 3, 1 / 3, 1 / 3]))
    torch.testing.assert_close(closure(points, normals, weights), torch.tensor(0.0))
    torch.testing.assert_close(closure(points, normals, torch.ones(4)), torch.tensor(4.0))  # (1 - 3)^2


def test_contacts_not_selected_carry_nothing():
    finger = torch.tensor([0, 0, 1, 1])
    selected = torch.tensor([[True, False, True, True], [False, False, True, False]])
    weights = energies.contact_weights(finger, 0, selected)
    torch.testing.assert_close(weights, torch.tensor([[1.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 0.0]]))


def test_distance_and_penetration_split_the_sign():
    d = torch.tensor([0.002, -0.003, 0.001])
    torch.testing.assert_close(energies.distance(d, torch.ones(3)), torch.tensor(0.006))
    torch.testing.assert_close(energies.penetration(d), torch.tensor(0.003))


def test_a_sphere_in_a_sphere_has_the_analytic_depth():
    def ball(points):  # radius 5 cm at the origin
        return points.norm(dim=-1) - 0.05

    centers = torch.tensor([[[0.055, 0.0, 0.0], [0.0, 0.08, 0.0]]])
    # Gap of centers to the surface 5 mm, radius 10 mm: depth 5 mm; the other is 2 cm clear.
    depth = energies.sphere_penetration(centers, torch.tensor([0.01, 0.01]), ball)
    torch.testing.assert_close(depth, torch.tensor([0.005]))


def test_self_penetration_counts_the_given_pairs_only():
    centers = torch.tensor([[0.0, 0.0, 0.0], [0.015, 0.0, 0.0], [0.015, 0.0, 0.0]])
    pairs = torch.tensor([[0], [1]])
    overlap = energies.self_penetration(centers, torch.tensor(0.01), pairs)
    torch.testing.assert_close(overlap, torch.tensor(0.005))  # 2 * 10 mm - 15 mm


def test_joint_limits_and_table():
    limits = torch.tensor([[-1.0, 1.0], [0.0, 2.0]])
    excess = energies.joint_limits(torch.tensor([[1.5, -0.25], [0.0, 1.0]]), limits)
    torch.testing.assert_close(excess, torch.tensor([0.75, 0.0]))
    centers = torch.tensor([[0.0, 0.0, 0.004], [0.0, 0.0, 0.05]])
    torch.testing.assert_close(energies.table(centers, torch.tensor([0.01, 0.01])), torch.tensor(0.006))


def test_misalignment_is_zero_for_a_pad_on_its_surface():
    torch.testing.assert_close(energies.misalignment(-NORMALS, NORMALS, torch.ones(2)), torch.tensor(0.0))
    torch.testing.assert_close(energies.misalignment(NORMALS, NORMALS, torch.ones(2)), torch.tensor(4.0))


def test_fingers_are_drawn_to_the_nearest_point_within_reach():
    # Finger 0 at 3 and 4 mm (its nearest candidate counts), finger 1 at 20 mm: out of reach; finger 2 has no candidate.
    candidates = torch.tensor([[0.003, 0.0, 0.0], [0.0, 0.004, 0.0], [0.0, 0.0, 0.02]], requires_grad=True)
    finger = torch.tensor([0, 0, 1])
    points = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    total = energies.attraction(candidates, finger, points, num_fingers=3, within_m=0.01)
    torch.testing.assert_close(total, torch.tensor(0.003))
    total.backward()
    expected = torch.zeros(3, 3)
    expected[0, 0] = 1.0  # straight away from the point
    torch.testing.assert_close(candidates.grad, expected)


def test_gradients_are_finite_where_things_coincide(leap):
    qpos = leap.rest_qpos[None].clone().requires_grad_()
    pose = GraspPose(torch.zeros(1, 3), torch.eye(3)[None], qpos)
    centers, radii = leap.spheres(pose)
    total = (
        energies.self_penetration(centers, radii, leap.sphere_pairs)
        + energies.self_penetration(leap.keypoints(pose), leap.keypoint_radius, leap.keypoint_pairs)
        + energies.sphere_penetration(centers, radii, lambda p: p.norm(dim=-1) - 0.05)
        + energies.penetration(leap.signed_distance(centers.detach(), pose))
        + energies.table(centers, radii)
        + energies.joint_limits(qpos, leap.joint_limits)
    )
    total.sum().backward()
    assert torch.isfinite(qpos.grad).all()
    assert qpos.grad.abs().max() > 0
