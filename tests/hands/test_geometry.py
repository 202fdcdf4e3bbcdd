import mujoco
import numpy as np
import pytest
import torch
import trimesh

from sceneleapultra.hands import GraspPose
from sceneleapultra.hands.description import Primitive
from sceneleapultra.hands.geometry import PrimitiveSet
from sceneleapultra.hands.sampling import primitives_distance
from sceneleapultra.utils.geometry.rotation import so3_exp

TILT = (0.8, 0.4, -0.3, 0.33)
BOX = Primitive("box", (0.02, 0.03, 0.01), (0.01, 0.0, 0.02), TILT)
CAPSULE = Primitive("capsule", (0.012, 0.02), (0.0, 0.01, 0.0), TILT)
CYLINDER = Primitive("cylinder", (0.015, 0.025), (0.0, 0.01, 0.0), TILT)
SPHERE = Primitive("sphere", (0.02,), (0.0, 0.01, 0.0))


def cloud(n, seed=0):
    return np.random.default_rng(seed).uniform(-0.05, 0.05, (n, 3))


def mujoco_distances(primitive, points):
    """Distance by MuJoCo's own collision code, to a sphere too small to matter."""
    spec = mujoco.MjSpec()
    kind = getattr(mujoco.mjtGeom, f"mjGEOM_{primitive.shape.upper()}")
    size = [*primitive.size, 0.0, 0.0][:3]
    spec.worldbody.add_geom(type=kind, size=size, pos=primitive.pos, quat=primitive.quat_wxyz)
    probe = spec.worldbody.add_body(mocap=True)
    radius = 1e-7
    probe.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[radius, 0, 0])
    model = spec.compile()
    data = mujoco.MjData(model)
    out = []
    for point in points:
        data.mocap_pos[0] = point
        mujoco.mj_kinematics(model, data)
        out.append(mujoco.mj_geomDistance(model, data, 0, 1, 1.0, np.zeros(6)) + radius)
    return np.array(out)


@pytest.mark.parametrize("primitive", [BOX, CAPSULE, CYLINDER, SPHERE], ids=lambda p: p.shape)
def test_primitives_agree_with_mujoco(primitive):
    points = cloud(600)
    ours = primitives_distance((primitive,), points)
    assert (ours < 0).sum() > 5
    outside = ours > 0
    theirs = mujoco_distances(primitive, points)
    np.testing.assert_allclose(ours[outside], theirs[outside], atol=2e-6)
    # Inside, MuJoCo's depth is exact only where its narrow phase is analytic: compare signs, and depth by sampling.
    assert (theirs[~outside] <= 1e-6).all()


@pytest.mark.parametrize("primitive", [BOX, CAPSULE, CYLINDER, SPHERE], ids=lambda p: p.shape)
def test_the_distance_is_a_distance(primitive):
    # Walking from a point against the gradient by its distance ends on the surface, from inside and outside;
    # together with |gradient| = 1 that is the definition.
    solid = PrimitiveSet([(0, primitive)], torch.float64)
    eye = torch.eye(4, dtype=torch.float64)[None]
    points = torch.tensor(cloud(500, seed=1)).requires_grad_()
    distance = solid(points, eye)
    (gradient,) = torch.autograd.grad(distance.sum(), points)
    torch.testing.assert_close(gradient.norm(dim=-1), torch.ones(500, dtype=torch.float64))
    landed = solid(points - distance[:, None] * gradient, eye)
    assert landed.abs().max() < 1e-9


def test_convex_pieces_have_exact_sign_and_never_overestimate():
    vertices = np.random.default_rng(0).normal(size=(40, 3)) * 0.02
    hull = trimesh.PointCloud(vertices).convex_hull
    piece = Primitive("convex", (), vertices=tuple(map(tuple, hull.vertices.tolist())))
    points = cloud(2000, seed=2)
    ours = primitives_distance((piece,), points)
    truth = -trimesh.proximity.signed_distance(hull, points)
    clear = np.abs(truth) > 1e-6
    assert ((ours < 0) == (truth < 0))[clear].all()
    assert (ours <= truth + 1e-6).all()
    inside = truth < 0
    np.testing.assert_allclose(
        ours[inside], truth[inside], atol=1e-6
    )  # inside a convex body, planes are exact


def test_hand_distance_agrees_with_mujoco(leap64, draw):
    model = mujoco.MjSpec.from_string(leap64.to_mjcf())
    probe = model.worldbody.add_body(mocap=True)
    probe.add_geom(name="probe", type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[1e-7, 0, 0])
    model = model.compile()
    data = mujoco.MjData(model)
    probe_id = model.geom("probe").id
    qpos = draw(leap64, 4)
    points = torch.tensor(
        np.random.default_rng(3).uniform((-0.1, -0.1, -0.15), (0.13, 0.1, 0.02), (4, 60, 3))
    )
    pose = GraspPose.from_matrix(torch.eye(4, dtype=torch.float64).expand(4, 4, 4), qpos)
    ours = leap64.signed_distance(points, pose)
    for b in range(4):
        data.qpos[:] = qpos[b].numpy()
        for k in range(60):
            data.mocap_pos[0] = points[b, k].numpy()
            mujoco.mj_kinematics(model, data)
            others = (g for g in range(model.ngeom) if g != probe_id)
            best = min(mujoco.mj_geomDistance(model, data, g, probe_id, 1.0, np.zeros(6)) for g in others)
            if ours[b, k] > 0:
                assert float(ours[b, k]) == pytest.approx(best + 1e-7, abs=2e-6)
            else:
                assert best <= 1e-6


def test_distance_does_not_depend_on_the_frame(leap64, draw):
    pose = GraspPose.from_matrix(torch.eye(4, dtype=torch.float64).expand(5, 4, 4), draw(leap64, 5))
    T = torch.eye(4, dtype=torch.float64)
    T[:3, :3] = so3_exp(torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64))
    T[:3, 3] = torch.tensor([0.5, 0.2, -0.4])
    points = torch.tensor(cloud(50)).expand(5, 50, 3)
    moved = points @ T[:3, :3].T + T[:3, 3]
    torch.testing.assert_close(
        leap64.signed_distance(points, pose), leap64.signed_distance(moved, pose.transform(T))
    )


def test_distance_to_a_link_is_that_of_its_own_primitives(leap64, draw):
    pose = GraspPose.from_matrix(torch.eye(4, dtype=torch.float64).expand(5, 4, 4), draw(leap64, 5))
    points = torch.tensor(cloud(50)).expand(5, 50, 3)
    links = leap64.link_distances(points, pose)
    assert links.shape == (5, len(leap64.body_names), 50)
    torch.testing.assert_close(links.amin(-2), leap64.signed_distance(points, pose))
    T = leap64.body_poses(pose)
    for i, body in enumerate(leap64.description.bodies):
        if not body.primitives:
            assert (links[:, i] == float("inf")).all()
            continue
        alone = PrimitiveSet([(0, p) for p in body.primitives], torch.float64)
        torch.testing.assert_close(links[:, i], alone(points, T[:, i : i + 1]))


def test_distance_gradient_reaches_the_whole_pose(leap64, draw):
    rotvec = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64, requires_grad=True)
    translation = torch.tensor([[0.01, 0.0, 0.02]], dtype=torch.float64, requires_grad=True)
    qpos = draw(leap64, 1, seed=5).requires_grad_()
    points = torch.tensor(cloud(20, seed=6))[None]

    def distances(t, r, q):
        return leap64.signed_distance(points, GraspPose(t, so3_exp(r), q))

    assert torch.autograd.gradcheck(distances, (translation, rotvec, qpos))
