import mujoco
import numpy as np
import pytest
import torch

from sceneleapultra.hands import GraspPose, Hand, load_hand
from sceneleapultra.simulation.collision import FAR_M, HandBalls, SceneDistance, scene_clearance
from sceneleapultra.simulation.objects import make_object
from sceneleapultra.utils.records import Grasps, Scene


@pytest.fixture(scope="module")
def hand() -> Hand:
    return load_hand("leap_right")


def grasps(hand: Hand, n: int, height: float, seed: int = 0) -> Grasps:
    rng = np.random.default_rng(seed)
    limits = hand.joint_limits.numpy()
    q = rng.uniform(limits[:, 0], limits[:, 1], (n, hand.num_joints))
    quat = rng.normal(size=(n, 4))
    quat /= np.linalg.norm(quat, axis=1, keepdims=True)
    center = np.tile([0.0, 0.0, height], (n, 1))
    return Grasps(np.concatenate([center, q, quat], 1), q.copy(), q.copy())


def box_at(*positions: tuple[float, float, float], table: bool) -> Scene:
    T = np.tile(np.eye(4), (len(positions), 1, 1))
    T[:, :3, 3] = positions
    return Scene(tuple(make_object("box", i) for i in range(len(positions))), T, table)


def lowest_in_mujoco(hand: Hand, hand_pose: np.ndarray) -> float:
    """Least distance of the hand's geoms to the plane z = 0, by MuJoCo."""
    spec = mujoco.MjSpec.from_string(hand.to_mjcf())
    spec.worldbody.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[1, 1, 1])
    body = spec.body(hand.root_body)
    body.pos, body.quat = hand_pose[:3], hand_pose[-4:]
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[:] = hand_pose[3:-4]
    mujoco.mj_forward(model, data)
    floor = model.geom("floor").id
    geoms = [g for g in range(model.ngeom) if g != floor]
    return min(mujoco.mj_geomDistance(model, data, floor, g, 1.0, None) for g in geoms)


def test_distance_to_the_table_is_exact(hand: Hand) -> None:
    made = grasps(hand, 12, 0.15)
    ours = scene_clearance(hand, box_at((0.8, 0, 0.1), table=True), 0, made)
    theirs = [lowest_in_mujoco(hand, pose) for pose in made.hand_pose]
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_pregrasp_counts_too(hand: Hand) -> None:
    made = grasps(hand, 6, 0.15)
    other = grasps(hand, 6, 0.15, seed=1)
    mixed = Grasps(made.hand_pose, other.hand_pose[:, 3:-4], made.squeeze_qpos)
    scene = box_at((0.8, 0, 0.1), table=True)
    at_pregrasp = Grasps(
        np.concatenate([made.hand_pose[:, :3], other.hand_pose[:, 3:-4], made.hand_pose[:, -4:]], 1),
        mixed.pregrasp_qpos,
        mixed.squeeze_qpos,
    )
    both = np.minimum(scene_clearance(hand, scene, 0, made), scene_clearance(hand, scene, 0, at_pregrasp))
    np.testing.assert_allclose(scene_clearance(hand, scene, 0, mixed), both, atol=1e-6)


def test_a_neighbor_in_the_hand_is_negative_and_the_target_does_not_count(hand: Hand) -> None:
    made = grasps(hand, 6, 0.5)
    scene = box_at((0.0, 0.0, 0.5), (2.0, 0.0, 0.5), table=False)
    np.testing.assert_array_equal(scene_clearance(hand, scene, 0, made), FAR_M)
    assert (scene_clearance(hand, scene, 1, made) < 0).all()


def test_neighbors_distance_follows_the_surface(hand: Hand) -> None:
    made = grasps(hand, 8, 0.5)
    pose = GraspPose.from_hand_pose(torch.as_tensor(made.hand_pose, dtype=torch.float32))
    for away in (0.12, 0.16, 0.2):
        scene = box_at((5.0, 0.0, 0.5), (away, 0.0, 0.5), table=False)
        found = scene_clearance(hand, scene, 0, made)
        record = scene.objects[1]
        surface = torch.as_tensor(_dense_surface(record.vertices, record.faces), dtype=torch.float32)
        surface = surface + torch.tensor([away, 0.0, 0.5])
        exact = hand.signed_distance(surface.expand(8, -1, -1), pose).amin(-1).numpy()
        apart = (exact > 0) & (exact < 0.1)  # beyond, only a lower bound is promised
        assert apart.any()
        assert (found <= exact + 0.012).all()
        # Spheres leave the edges of boxes bare by some millimetres; beyond that they agree.
        assert np.abs(found - exact)[apart].max() < 0.012


def test_balls_are_inside_the_hand(hand: Hand) -> None:
    balls = HandBalls(hand)
    pose = GraspPose(torch.zeros(3), torch.eye(3), hand.rest_qpos)
    centers, radii = balls.world(pose)
    depth = hand.signed_distance(centers, pose)
    assert (depth <= -radii + 1e-5).all()


def test_target_must_be_an_object_of_the_scene() -> None:
    with pytest.raises(ValueError, match=r"one of the scene's 1 objects, got 3"):
        SceneDistance(box_at((0, 0, 0.1), table=True), 3)


def _dense_surface(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(3), size=(len(faces), 2000))
    return np.concatenate([np.einsum("fnk,fkd->fnd", weights, vertices[faces]).reshape(-1, 3), vertices])
