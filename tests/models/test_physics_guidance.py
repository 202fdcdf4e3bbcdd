"""Physics guidance: what it reads of a cloud, that it lowers the energy and nothing else, with every kind of model."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from factories.models import scene_batch, small_cvae, small_generator, small_sampling
from sceneleapultra.hands import GraspPose, load_hand
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.guidance.physics import BoundPhysics, SceneGeometry
from sceneleapultra.models.network.context import GeneratedGrasps
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.utils.batch import GraspBatch

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
GUIDANCE = small_sampling().changed(guidance="physics").guidance
PHYSICS = (
    small_sampling().changed(guidance="physics_collision_free").guidance.physics
)  # all energies but attraction


def table_cloud() -> Cloud:
    """A ball of 3 cm on a table at 0.1 m, seen from the side; 40 points of the ball, 60 of the table."""
    g = torch.Generator().manual_seed(0)
    ball = torch.nn.functional.normalize(torch.randn(40, 3, generator=g), dim=-1) * 0.03
    ball = ball + torch.tensor([0.0, 0.0, 0.13])
    table = torch.cat([torch.rand(60, 2, generator=g) - 0.5, torch.full((60, 1), 0.1)], dim=-1)
    points = torch.cat([ball, table])[None]
    return Cloud(
        points=points,
        valid=torch.ones(1, 100, dtype=torch.bool),
        target=(torch.arange(100) < 40)[None],
        viewpoint=torch.tensor([[1.0, 0.0, 0.13]]),
        up=torch.tensor([[0.0, 0.0, 1.0]]),
    )


def bound(generator: GraspGenerator, num_grasps: int, **changes) -> tuple[BoundPhysics, torch.Tensor]:
    cloud = Cloud.of(scene_batch())
    with torch.no_grad():
        scene = generator.encode(cloud)
        index = scene.tokens.target.long().argsort(dim=1, descending=True, stable=True)[:, :num_grasps]
        anchored = generator.anchor(scene, index, torch.zeros_like(index))
    opening = 0.15 * generator.hand.flexion_sign
    energies = {name: changes.pop(name) for name in vars(PHYSICS.weights) if name in changes}
    weights = replace(changes.pop("weights", PHYSICS.weights), **energies)
    settings = replace(PHYSICS, weights=weights, **changes)
    physics = BoundPhysics(settings, generator, anchored, cloud, opening)
    return physics, 0.1 * torch.randn(3, num_grasps, 41)


def test_table_and_inside_are_read_off_the_cloud():
    geometry = SceneGeometry.of(table_cloud(), 100, (0.02,))
    assert_close(geometry.table, torch.tensor([0.1]))
    assert (
        geometry.observed.points.shape == (1, 1, 200, 3)
        and geometry.observed.target.sum() == 80
        and geometry.observed.other.sum() == 60
    )
    moved = geometry.observed.points[0, 0, 100:140] - geometry.observed.points[0, 0, :40]
    assert_close(moved.norm(dim=-1), torch.full((40,), 0.02), atol=1e-6, rtol=1e-5)
    ray = geometry.observed.points[0, 0, :40] - torch.tensor([1.0, 0.0, 0.13])
    assert ((moved * ray).sum(-1) > 0).all(), "away from the camera"


def test_a_cloud_of_the_target_alone_has_no_table():
    cloud = table_cloud()
    geometry = SceneGeometry.of(replace(cloud, valid=cloud.target), 100, ())
    assert geometry.table < -100.0 and not geometry.observed.other.any()


def test_points_that_count_are_the_deepest():
    """Against exact distances: a point inside the palm is chosen before all others."""
    hand = load_hand("leap_right")
    pose = GraspPose(torch.zeros(1, 1, 3), torch.eye(3)[None, None], hand.rest_qpos[None, None])
    cloud = table_cloud()
    spread = torch.rand(1, 100, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    spread[0, 17] = hand.collision_spheres.centers[0] + hand.body_poses(pose)[0, 0, 0, :3, 3]
    geometry = SceneGeometry.of(replace(cloud, points=spread), 100, ())
    near = replace(PHYSICS, num_points=5).nearest(hand, pose, geometry)
    inside = hand.signed_distance(near.target, pose) < 0
    assert inside[0, 0, 0]
    exact = hand.signed_distance(geometry.observed.points, pose)[0, 0, :40].sort().values[:5]
    # Spheres fill the hand to a few millimetres, so the order may differ by as much.
    assert_close(hand.signed_distance(near.target, pose)[0, 0].sort().values, exact, atol=0.02, rtol=0)


def test_energy_falls_and_nothing_is_learned():
    generator = small_generator()
    physics, x0 = bound(generator, 8)
    near = PHYSICS.nearest(generator.hand, physics._stages(x0).grasp, physics.geometry)

    def energy(x):
        return PHYSICS.energy(generator.hand, physics._stages(x), near, physics.geometry)

    before, after = energy(x0), energy(physics(x0))
    assert (before > 0.01).any()
    assert after.sum() < 0.5 * before.sum()
    assert not physics(x0).requires_grad
    assert all(p.grad is None for p in generator.parameters()), "no gradient enters the network"


def test_steps_are_bounded_and_hands_without_conflict_stay():
    generator = small_generator()
    physics, x0 = bound(generator, 8, iterations=1, max_step=0.05)
    assert ((physics(x0) - x0).norm(dim=-1) < 0.05 + 1e-5).all()
    far = x0.clone()
    far[..., :3] += 100.0  # standard deviations: metres away from everything
    calm, _ = bound(generator, 8, self_penetration=0.0, joint_limits=0.0, table=0.0)
    assert_close(calm(far), far, atol=0, rtol=0)


def test_only_physics_collision_free_reads_table_and_neighbors():
    generator = small_generator()
    settings = {"physics": GUIDANCE.physics, "physics_collision_free": PHYSICS}
    for name, physics in settings.items():
        here, x0 = bound(generator, 8, **vars(physics))
        observed = here.geometry.observed
        lifted = replace(
            here.geometry,
            observed=replace(
                observed,
                points=torch.where(observed.other[..., None], observed.points + 0.05, observed.points),
            ),
            table=here.geometry.table + 0.05,
        )
        before, here.geometry = here(x0), lifted
        assert torch.equal(here(x0), before) == (name == "physics")


def test_joints_are_pulled_into_their_limits():
    generator = small_generator()
    only = {name: 0.0 for name in ("penetration", "obstacles", "table", "self_penetration")}
    physics, x0 = bound(generator, 4, **only, max_step=10.0, iterations=20)
    x0[..., 3] = generator.hand.joint_limits[0, 1] + 0.7
    left = physics(x0)[..., 3] - generator.hand.joint_limits[0, 1]
    assert (left < 0.01).all()


SEEDS = (0, 1, 2)


@pytest.mark.parametrize(
    "name", ["ddim", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ddpm", "heun", "dpmpp_2m"))]
)
def test_every_solver_ends_with_less_penetration(name):
    """Over several models without training: how far a single one of them is off decides more than guidance does."""
    batch, depth = lone_batch(), torch.zeros(2)
    for weights in range(4):
        generator = near(small_generator(weights=weights))
        plain, guided = (
            generator.sample(
                batch, 6, seeds=SEEDS, sampling={"solver": name, "steps": 2, "guidance": guidance}
            )
            for guidance in (None, GUIDANCE)
        )
        assert guided.nfe == plain.nfe, "no evaluation of the network is added"
        depth += torch.tensor([penetration(generator, batch, made) for made in (plain, guided)])
    assert depth[0] > 4e-3 and depth[1] < 0.6 * depth[0]


def test_a_cvae_is_guided_too():
    generator, batch = near(small_cvae().generator), lone_batch()
    depth = [
        penetration(
            generator, batch, generator.sample(batch, 6, seeds=SEEDS, sampling={"guidance": guidance})
        )
        for guidance in (None, GUIDANCE)
    ]
    assert depth[0] > 1e-3 and depth[1] < 0.6 * depth[0]


def lone_batch() -> GraspBatch:
    """Objects with nothing about them: what is lowered is penetration alone."""
    batch = scene_batch()
    return replace(batch, object_mask=torch.ones_like(batch.object_mask))


def near(generator: GraspGenerator) -> GraspGenerator:
    """Give states the spread of data, so that the grasps of an untrained model lie in the object."""
    generator.normalizer.std.fill_(0.3)
    generator.normalizer.std[:3] = 0.03
    return generator


def penetration(generator: GraspGenerator, batch: GraspBatch, made: GeneratedGrasps) -> float:
    """Mean depth of the deepest observed point of the target in each hand (m)."""
    pose = GraspPose.from_hand_pose(made.hand_pose)
    distance = generator.hand.signed_distance(batch.scene_pc[:, None], pose)
    return float((-distance.masked_fill(~batch.object_mask[:, None], 1.0).amin(-1)).clamp_min(0).mean())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"iterations": 0}, r"guidance\.physics\.iterations: expected at least 1, got 0"),
        ({"rate": 0.0}, r"guidance\.physics\.rate: expected more than 0, got 0"),
        ({"penetration": -1.0}, r"guidance\.physics\.weights\.penetration: expected at least 0, got -1"),
        ({"below_t": 1.5}, r"guidance\.physics\.below_t: expected 0 to 1, got 1\.5"),
    ],
)
def test_settings_without_a_meaning_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        bound(small_generator(), 1, **changes)
