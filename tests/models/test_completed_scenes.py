"""Does a completed scene count in clearances, ranks, guidance and approaches as the solid that it says it is?"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from factories.approaches import HAND, UP, grasp, request
from factories.models import scene_batch, small_generator, small_sampling
from sceneleapultra.hands import GraspPose
from sceneleapultra.models.approach import STANDOFF_M, choose_approaches
from sceneleapultra.models.clearance import field_clearance
from sceneleapultra.models.guidance.physics import BoundPhysics
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.utils.geometry.voxels.field import SceneField
from sceneleapultra.utils.geometry.voxels.grid import VoxelGrid

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
REACH_M = 0.05


def scene(distance: np.ndarray, base_m: float) -> SceneField:
    """A field of what is beside the target over a table at a height; there is no target in it."""
    T = np.eye(4)
    T[2, 3] = base_m
    others = torch.from_numpy(distance.clip(-REACH_M, REACH_M)).float()
    return SceneField.of(
        VoxelGrid(T, 64, 0.01), torch.stack([torch.full_like(others, REACH_M), others])[None], REACH_M
    )


def wall(x_m: float, base_m: float = -0.32) -> SceneField:
    """Solid beyond a vertical plane."""
    return scene(x_m - VoxelGrid(np.eye(4), 64, 0.01).centers[..., 0], base_m)


def spheres(made: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return HAND.spheres(GraspPose.from_hand_pose(torch.from_numpy(made).float()))


def test_clearance_is_that_of_the_hands_spheres() -> None:
    pose = grasp(np.array([1.0, 0.0, 0.0])).hand_pose
    centers, radii = spheres(pose)
    x_m = float(centers[..., 0].max())
    nearest = float((x_m - centers[..., 0] - radii).min())
    assert -REACH_M < nearest < 0.0, "the foremost spheres are half inside"
    assert field_clearance(HAND, pose, wall(x_m))[0] == pytest.approx(nearest, abs=1e-5)
    below = float((centers[..., 2] + 0.05 - radii).min())
    table = scene(np.full((64, 64, 64), REACH_M), -0.05)
    assert field_clearance(HAND, pose, table)[0] == pytest.approx(below, abs=1e-5), "the table has no end"
    far = np.array([[1e4, -3e3, 0.0]])
    pose[:, :3] += far
    shift = np.eye(4)
    shift[:3, 3] = -far
    moved = field_clearance(HAND, pose, wall(x_m).moved_to(shift))
    assert moved[0] == pytest.approx(nearest, abs=1e-5), "in a map's frame, too"


def test_a_hidden_wall_blocks_an_approach() -> None:
    """The hand would come from +x; of the solid there the points show nothing."""
    palm_down_the_x_axis = np.array([-1.0, 0.0, 0.0])
    made = grasp(palm_down_the_x_axis)
    free = choose_approaches(HAND, made, request())
    np.testing.assert_allclose(free.offset_m, [-STANDOFF_M * palm_down_the_x_axis], atol=1e-6)
    centers, radii = spheres(made.hand_pose)
    edge = float((centers[..., 0] + radii).max()) + 0.01
    blocked = choose_approaches(HAND, made, request(), wall(edge))
    np.testing.assert_allclose(blocked.offset_m, [STANDOFF_M * UP], atol=1e-6)
    assert blocked.free.tolist() == [True]


def test_guidance_moves_hands_out_of_what_is_solid() -> None:
    """And lowers the energy, which counts the spheres' depth."""
    generator = small_generator()
    only = {"penetration": 0.0, "self_penetration": 0.0, "joint_limits": 0.0, "table": 0.0}
    settings = small_sampling().changed(guidance="physics_collision_free").guidance.physics
    settings = replace(settings, weights=replace(settings.weights, **only))
    cloud, hand = Cloud.of(scene_batch()), generator.hand
    with torch.no_grad():
        encoded = generator.encode(cloud)
        index = encoded.tokens.target.long().argsort(dim=1, descending=True, stable=True)[:, :4]
        anchored = generator.anchor(encoded, index, torch.zeros_like(index))
    physics = BoundPhysics(settings, generator, anchored, cloud, 0.15 * hand.flexion_sign)
    x0 = 0.1 * torch.randn(3, 4, 41)
    stages = physics._stages(x0)
    centers, radii = hand.spheres(stages.grasp)
    x_m = float((centers[..., 0] + radii).max()) - 0.01
    fields = [wall(x_m, base_m=-0.3)] * 3
    physics.geometry = replace(physics.geometry, fields=fields)
    near = settings.nearest(hand, stages.grasp, physics.geometry)
    before = settings.energy(hand, stages, near, physics.geometry)
    depth = (radii - (x_m - centers[..., 0]) + settings.margin_m).clamp(min=0.0).clamp(max=REACH_M + 0.1)
    table = (radii - (centers[..., 2] + 0.3) + settings.margin_m).clamp(min=0.0)
    torch.testing.assert_close(before, torch.maximum(depth, table).sum(-1), atol=2e-4, rtol=1e-3)
    after = settings.energy(hand, physics._stages(physics(x0)), near, physics.geometry)
    touched = before > 1e-4
    assert touched.any()
    assert (after[touched] < 0.5 * before[touched]).all()


def test_no_field_changes_nothing_without_guidance() -> None:
    generator, batch = small_generator(), scene_batch()
    one = generator.sample(batch, 3, seeds=[0, 1, 2])
    two = generator.sample(batch, 3, seeds=[0, 1, 2], fields=[wall(0.0)] * 3)
    assert torch.equal(one.hand_pose, two.hand_pose) and torch.equal(one.score, two.score)
