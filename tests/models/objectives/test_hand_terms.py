"""Terms over the predicted hand: exact values on hands and points placed by hand, gradients, precision, waiting."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from factories.predictions import GivenPrediction, open_hands, scene_with
from sceneleapultra.hands import GraspPose, load_hand
from sceneleapultra.models.objectives.contact import ContactMap, FingertipAttraction
from sceneleapultra.models.objectives.geometry import HandChamfer, HandPoints
from sceneleapultra.models.objectives.matching import Hungarian, PoseCost
from sceneleapultra.models.objectives.physics import (
    JointLimits,
    NeighborPenetration,
    ObjectPenetration,
    SelfPenetration,
    TablePenetration,
)
from sceneleapultra.models.objectives.schedule import BySNR, ByTime

HAND = load_hand("leap_right")
OPEN = open_hands(HAND)
SCAN = {"weight": 1.0, "by_noise": None, "scanned": 96, "num_points": 8}
NOWHERE = torch.tensor([[0.0, 0.0, 5.0]])
TERMS = {
    "hand_points": HandPoints(weight=1.0, by_noise=None, num_points=32),
    "hand_chamfer": HandChamfer(weight=1.0, by_noise=None, num_points=32),
    "object_penetration": ObjectPenetration(**SCAN, thickness_m=(0.01,)),
    "neighbor_penetration": NeighborPenetration(**SCAN, table_m=0.005, margin_m=0.0),
    "table_penetration": TablePenetration(weight=1.0, by_noise=None, scanned=96, table_m=0.005, margin_m=0.0),
    "self_penetration": SelfPenetration(weight=1.0, by_noise=None),
    "joint_limits": JointLimits(weight=1.0, by_noise=None),
    "contact_map": ContactMap(**SCAN, scale_m=0.01),
    "fingertip_attraction": FingertipAttraction(**SCAN, within_m=0.01),
}


def moved(pose: GraspPose, shift: tuple[float, float, float]) -> GraspPose:
    return replace(pose, translation=pose.translation + torch.tensor(shift))


def value(term, context) -> torch.Tensor:
    values, counted = term.values(context)
    assert counted.all()
    return values


def free_face() -> tuple[torch.Tensor, torch.Tensor]:
    """Middle of a face of one of the hand's boxes and its outward normal, where no other part is within 6 mm."""
    depth = torch.linspace(-0.006, 0.006, 13)
    for box in range(sum(p.shape == "box" for p in HAND.geometry.primitives)):
        T = HAND.body_poses(OPEN)[0, 0, HAND.geometry.body[box]] @ HAND.geometry.T_body_primitive[box]
        for axis in range(3):
            middle = T[:3, 3] + HAND.geometry.size[box, axis] * T[:3, axis]
            points = middle - depth[:, None] * T[:3, axis]
            if torch.allclose(HAND.signed_distance(points, OPEN)[0, 0], -depth, atol=1e-6, rtol=0):
                return middle, T[:3, axis]
    raise AssertionError("every face is covered")


MIDDLE, NORMAL = free_face()


def points_at(*depths: float) -> torch.Tensor:
    """Points at these depths in the hand (m); negative: in front of it."""
    return MIDDLE - torch.tensor(depths)[:, None] * NORMAL


# Geometry


def test_hand_points_of_a_shifted_hand():
    """3 and 4 cm along two axes: every point is 5 cm off."""
    context = GivenPrediction(scene_with(NOWHERE, torch.tensor([True]), OPEN), moved(OPEN, (0.03, 0.0, 0.04)))
    assert_close(value(TERMS["hand_points"], context), torch.tensor([[0.05]]))


def test_chamfer_of_a_hand_that_is_shifted_less_than_its_points_are_apart():
    """Then each point's nearest one is its own: 1 mm."""
    context = GivenPrediction(scene_with(NOWHERE, torch.tensor([True]), OPEN), moved(OPEN, (0.001, 0.0, 0.0)))
    points, _ = HAND.surface_points(OPEN, 32)
    apart = torch.cdist(points[0], points[0]) + torch.eye(32)
    assert apart.min() > 0.002
    assert_close(value(TERMS["hand_chamfer"], context), torch.tensor([[0.001]]))


def test_hands_meet_the_true_ones_that_they_are_matched_with():
    """Two grasps 20 cm apart, predicted in the other order and 1 cm off."""
    true = open_hands(HAND, 1, 2)
    true = replace(true, translation=torch.tensor([[[0.0, 0.0, 0.0], [0.2, 0.0, 0.0]]]))
    swapped = replace(true, translation=true.translation.flip(1) + torch.tensor([0.0, 0.01, 0.0]))
    batch = scene_with(NOWHERE, torch.tensor([True]), true)
    hungarian = Hungarian(cost=PoseCost(translation_m=0.02, rotation_rad=0.3, joints_rad=0.2))
    context = GivenPrediction(batch, swapped, matching=hungarian)
    context.set_id = torch.zeros(1, 2, dtype=torch.int64)
    assert_close(value(TERMS["hand_points"], context), torch.full((1, 2), 0.01))
    # The states to be predicted are those of the matched grasps, seen from the anchors of the predicted ones.
    away = (context.x0_hat - context.target_x0)[..., 3:]
    assert_close(away, torch.zeros_like(away), atol=1e-5, rtol=0)
    by_index = GivenPrediction(batch, swapped)
    assert_close(value(TERMS["hand_points"], by_index), torch.full((1, 2), (0.2**2 + 0.01**2) ** 0.5))


# Physics


def test_penetration_is_the_summed_depth_of_the_targets_points():
    """3 and 2 mm deep, and one 4 mm outside: 5 mm. Of a neighbor or not valid, they do not count."""
    points = points_at(0.003, 0.002, -0.004)
    term = ObjectPenetration(**SCAN, thickness_m=())
    batch = scene_with(points, torch.tensor([True, True, True]), OPEN)
    assert_close(value(term, GivenPrediction(batch, OPEN)), torch.tensor([[0.005]]), atol=1e-6, rtol=0)
    valid = batch.point_valid.clone()
    valid[:, 0] = False
    context = GivenPrediction(replace(batch, point_valid=valid), OPEN)
    assert_close(value(term, context), torch.tensor([[0.002]]), atol=1e-6, rtol=0)
    neighbor = scene_with(points, torch.tensor([False, False, True]), OPEN)
    assert value(term, GivenPrediction(neighbor, OPEN)) == 0.0


def test_the_target_is_solid_behind_what_is_seen_of_it():
    """The point seen is 4 mm before the palm; 6 mm behind it, along the ray, 2 mm deep."""
    seen = points_at(-0.004)
    inward = torch.nn.functional.normalize(points_at(0.0) - seen, dim=-1)
    batch = scene_with(seen, torch.tensor([True]), OPEN)
    batch = replace(batch, viewpoint=seen - 0.5 * inward)
    term = ObjectPenetration(**SCAN, thickness_m=(0.006,))
    assert_close(value(term, GivenPrediction(batch, OPEN)), torch.tensor([[0.002]]), atol=1e-6, rtol=0)


def test_neighbors_are_what_is_neither_target_nor_table():
    points = points_at(0.003, 0.002)
    batch = scene_with(points, torch.tensor([False, True]), OPEN)
    T_world_frame = torch.eye(4)[None].clone()
    T_world_frame[:, 2, 3] = 0.02 - points[0, 2]  # the neighbor's point is 2 cm above the table
    batch = replace(batch, T_world_frame=T_world_frame)
    term = NeighborPenetration(**SCAN, table_m=0.005, margin_m=0.0)
    assert_close(value(term, GivenPrediction(batch, OPEN)), torch.tensor([[0.003]]), atol=1e-6, rtol=0)
    with_margin = NeighborPenetration(**SCAN, table_m=0.005, margin_m=0.001)
    assert_close(value(with_margin, GivenPrediction(batch, OPEN)), torch.tensor([[0.004]]), atol=1e-6, rtol=0)
    its_own = NeighborPenetration(**SCAN, table_m=0.021, margin_m=0.0)
    assert value(its_own, GivenPrediction(batch, OPEN)) == 0.0


@pytest.mark.parametrize("turned", [False, True])
def test_the_table_is_the_worlds_plane_whatever_the_frame(turned):
    """The lowest sphere alone reaches below z = 0, by half of what the next one is higher."""
    centers, radii = HAND.spheres(OPEN)
    low = (centers[0, 0, :, 2] - radii).sort().values
    depth = float(low[1] - low[0]) / 2
    assert depth > 1e-5
    T_world_hand = torch.eye(4)
    T_world_hand[2, 3] = -low[0] - depth
    R = torch.linalg.qr(torch.randn(3, 3)).Q if turned else torch.eye(3)
    R = R * torch.linalg.det(R)
    T_frame_hand = GraspPose(torch.tensor([[[0.1, 0.2, 0.3]]]), R[None, None], OPEN.qpos)
    T_world_frame = T_world_hand @ torch.linalg.inv(T_frame_hand.matrix()[0, 0])
    on_table = (torch.linalg.inv(T_world_frame) @ torch.tensor([0.05, 0.0, 0.001, 1.0]))[None, :3]
    batch = scene_with(on_table, torch.tensor([False]), T_frame_hand)
    batch = replace(batch, T_world_frame=T_world_frame[None])
    term = TERMS["table_penetration"]
    assert_close(
        value(term, GivenPrediction(batch, T_frame_hand)), torch.tensor([[depth]]), atol=1e-6, rtol=0
    )
    unseen = replace(batch, object_mask=torch.ones_like(batch.object_mask))
    assert value(term, GivenPrediction(unseen, T_frame_hand)) == 0.0, "no point of a table is seen"


def test_self_penetration_is_that_of_all_pairs_that_must_not_touch():
    low, high = HAND.joint_limits.unbind(-1)
    fist = replace(OPEN, qpos=(0.3 * low + 0.7 * high).expand(1, 1, -1))
    context = GivenPrediction(scene_with(NOWHERE, torch.tensor([True]), OPEN), fist)
    points, overlap = HAND.keypoints(fist)[0, 0], 0.0
    for i, k in HAND.keypoint_pairs.T.tolist():
        overlap += max(0.0, float(2 * HAND.keypoint_radius - (points[i] - points[k]).norm()))
    assert overlap > 0.001
    assert_close(value(TERMS["self_penetration"], context), torch.tensor([[overlap]]), atol=1e-5, rtol=0)
    calm = GivenPrediction(scene_with(NOWHERE, torch.tensor([True]), OPEN), OPEN)
    assert value(TERMS["self_penetration"], calm) == 0.0


def test_joints_are_called_back_from_beyond_their_limits():
    """0.2 rad above one limit and 0.1 rad below another: 0.3. The clamped hand itself would not say so."""
    qpos = OPEN.qpos.clone()
    qpos[..., 1] = HAND.joint_limits[1, 1] + 0.2
    qpos[..., 3] = HAND.joint_limits[3, 0] - 0.1
    context = GivenPrediction(scene_with(NOWHERE, torch.tensor([True]), OPEN), replace(OPEN, qpos=qpos))
    excess = value(TERMS["joint_limits"], context)
    assert_close(excess, torch.tensor([[0.3]]), atol=1e-5, rtol=0)
    excess.sum().backward()
    joints = context.x0_hat.grad[0, 0, 3 : 3 + HAND.num_joints]
    std = context.generator.normalizer.std[3 : 3 + HAND.num_joints]
    expected = torch.zeros_like(joints)
    expected[1], expected[3] = std[1], -std[3]
    assert_close(joints, expected)


# Contact


def test_contact_maps_of_a_hand_that_touches_and_one_that_does_not():
    """Both points lie in the true hand and half a metre from the predicted one: each is off by 1."""
    batch = scene_with(points_at(0.003, 0.002), torch.tensor([True, True]), OPEN)
    term = ContactMap(**{**SCAN, "num_points": 2}, scale_m=0.01)
    assert_close(value(term, GivenPrediction(batch, moved(OPEN, (0.0, 0.0, -0.5)))), torch.ones(1, 1))
    assert_close(value(term, GivenPrediction(batch, OPEN)), torch.zeros(1, 1), atol=1e-9, rtol=0)


def test_fingertips_are_drawn_to_a_target_within_reach():
    """One point 3 mm before a candidate of a fingertip, along its normal; the other fingers are far from all."""
    points, normals = HAND.contact_candidates(OPEN)
    touched = points[0, 0, :1] + 0.003 * normals[0, 0, :1]
    assert_close((points[0, 0] - touched).norm(dim=-1).min(), torch.tensor(0.003), atol=1e-5, rtol=0)
    context = GivenPrediction(scene_with(touched, torch.tensor([True]), OPEN), OPEN)
    assert_close(value(TERMS["fingertip_attraction"], context), torch.tensor([[0.003]]), atol=1e-5, rtol=0)
    short = FingertipAttraction(**SCAN, within_m=0.002)
    assert value(short, GivenPrediction(scene_with(touched, torch.tensor([True]), OPEN), OPEN)) == 0.0


# What holds for all


def crowded() -> GivenPrediction:
    """Two scenes in which every term has something to say: fists in points, below the table, beyond limits."""
    low, high = HAND.joint_limits.unbind(-1)
    true = open_hands(HAND, 2, 3)
    spread = 0.3 * torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(0))
    fist = replace(true, qpos=(0.2 * low + 0.8 * high).expand(2, 3, -1) + spread)
    tips = HAND.contact_candidates(fist)[0][0, 0, ::8] + 0.001
    inside = HAND.spheres(fist)[0][0, 0, ::20]
    points = torch.cat([tips, inside, torch.tensor([[0.3, 0.0, 0.0]])])
    target = torch.arange(len(points)) % 2 == 0
    target[-1] = False
    return GivenPrediction(scene_with(points, target, moved(true, (0.02, 0.0, 0.0))), fist)


@pytest.mark.parametrize("name", TERMS)
def test_a_small_step_against_the_gradient_lowers_each_term(name):
    context = crowded()
    before = TERMS[name](context)
    before.backward()
    gradient = context.x0_hat.grad
    assert before > 0.0 and gradient.isfinite().all() and gradient.abs().max() > 0.0
    after = crowded()
    with torch.no_grad():
        after.x0_hat.sub_(1e-3 * gradient / gradient.norm())
    assert TERMS[name](after) < before


@pytest.mark.parametrize("name", TERMS)
def test_no_grasp_that_does_not_count_enters_a_term(name):
    context = crowded()
    valid = context.batch.grasp_valid.clone()
    valid[0, 1] = False
    fewer = GivenPrediction(replace(context.batch, grasp_valid=valid), context.predicted)
    values, counted = TERMS[name].values(fewer)
    assert torch.equal(counted, valid)
    expected = (values[0, [0, 2]].mean() + values[1].mean()) / 2
    assert_close(TERMS[name](fewer), expected)
    TERMS[name](fewer).backward()
    assert (fewer.x0_hat.grad[0, 1] == 0.0).all()


@pytest.mark.parametrize("name", TERMS)
def test_each_term_keeps_float32_under_mixed_precision(name):
    exact = TERMS[name](crowded())
    context = crowded()
    _ = context.x0_hat
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(TERMS[name](context), exact, atol=1e-6, rtol=1e-5)


class NoWaiting(TorchDispatchMode):
    """Refuses what makes a GPU's host wait: reading a value, and shapes that depend on one."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in {"_local_scalar_dense", "nonzero", "masked_select", "unique", "item"}, name
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", TERMS)
def test_no_term_waits_for_the_device(name):
    context = crowded()
    _ = context.hand_hat, context.target_pose, context.counted, context.cloud
    with NoWaiting():
        TERMS[name](context).backward()


def test_terms_weigh_by_noise():
    """t = 0.25 lies in the middle of 0.1 and 0.4: one half; the SNR of 9 is bounded to 5."""
    context = crowded()
    plain = TERMS["hand_points"](context)
    half = HandPoints(weight=1.0, by_noise=ByTime(full_until=0.1, zero_from=0.4), num_points=32)
    five = HandPoints(weight=1.0, by_noise=BySNR(minimum=0.0, maximum=5.0), num_points=32)
    assert_close(half(context), 0.5 * plain)
    assert_close(five(context), 5.0 * plain)
    assert {"t", "snr"} <= set(half.needs) and "t" not in TERMS["hand_points"].needs


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: HandPoints(weight=1.0, by_noise=None, num_points=0),
            "num_points: expected at least 1, got 0",
        ),
        (
            lambda: ObjectPenetration(**SCAN, thickness_m=(-0.01,)),
            "thickness_m: expected at least 0, got -0.01",
        ),
        (lambda: ContactMap(**SCAN, scale_m=0.0), "scale_m: expected more than 0, got 0"),
        (
            lambda: NeighborPenetration(**SCAN, table_m=-1.0, margin_m=0.0),
            "table_m: expected at least 0, got -1",
        ),
    ],
)
def test_settings_without_a_meaning_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
