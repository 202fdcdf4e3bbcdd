import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.hands.fingertips import Fingertips
from sceneleapultra.simulation.objects.solid import Solid, box, frusta
from sceneleapultra.simulation.protocols import get_protocol
from sceneleapultra.simulation.synthesis import (
    Candidates,
    FingertipGrasps,
    GraspLabeler,
    GraspSettings,
    Mixture,
    SimClose,
    Target,
    prepare,
)
from sceneleapultra.simulation.synthesis.pinch import PinchFinder
from sceneleapultra.simulation.synthesis.postures import all_postures, finger_sets
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.records import GraspType, ObjectRecord, Scene


def lying(solid: Solid) -> Scene:
    """A solid that rests on the table, its lowest point at z = 0."""
    vertices, faces = solid.mesh()
    record = ObjectRecord("thing", "thing", vertices, faces, solid.pieces, 0.1)
    T = np.eye(4)
    T[2, 3] = -vertices[:, 2].min()
    return Scene((record,), T[None], table=True)


def coin(height: float = 0.010, radius: float = 0.015) -> Scene:
    return lying(frusta([(radius, -height / 2), (radius, height / 2)], sides=48))


@pytest.fixture(scope="module")
def method() -> FingertipGrasps:
    made: FingertipGrasps = build(load_group("synthesis", "fingertips"))
    return made


@pytest.fixture(scope="module")
def small(hand: Hand) -> Target:
    return prepare(hand, coin(), 0)


@pytest.fixture(scope="module")
def pinched(method: FingertipGrasps, small: Target) -> Candidates:
    return method.proposer(small).propose(8, np.random.default_rng(0))


def finder(hand: Hand, scene: Scene, method: FingertipGrasps) -> tuple[PinchFinder, torch.Tensor]:
    tips = Fingertips(hand)
    thumb = hand.finger_names.index(hand.thumb)
    used = torch.zeros(len(hand.finger_names), dtype=torch.bool)
    used[[0, thumb]] = True
    return PinchFinder(prepare(hand, scene, 0), tips.radii, thumb, method.pinch), used


def test_pinches_of_a_box_are_on_opposite_faces(hand: Hand, method: FingertipGrasps) -> None:
    found, used = finder(hand, lying(box(0.03, 0.04, 0.05)), method)
    pinches = found.draw(used, torch.zeros(len(used)), 256, np.random.default_rng(0))
    assert len(pinches.axis) > 30
    # Lines across a corner meet one of the upright edges, whose normal is that of neither face.
    on_faces = (pinches.normals[:, used].abs().amax(-1) > 0.9999).all(1)
    assert on_faces.sum() > 50
    pinches = pinches[torch.nonzero(on_faces)[:, 0]]
    normals = pinches.normals[:, used]
    torch.testing.assert_close(normals[:, 0], -normals[:, 1], atol=1e-3, rtol=0)
    # Balls touch the faces, and the line is in both friction cones.
    size = torch.tensor([0.015, 0.020, 0.025])
    radii = found.radii[used]
    offset = (pinches.centers[:, used] * normals).sum(-1).abs() - radii
    torch.testing.assert_close(offset, (normals.abs() * size).sum(-1), atol=3e-4, rtol=0)
    cosine = (normals[:, 1] * pinches.axis).sum(-1).abs()
    assert (cosine >= math.cos(math.atan(method.pinch.friction)) - 1e-5).all()


def test_a_coin_is_met_at_its_edge(hand: Hand, method: FingertipGrasps) -> None:
    """A ball of radius r on the table touches the edge at height h: the normal rises by asin((r - h) / r)."""
    found, used = finder(hand, coin(0.010), replace(method, pinch=replace(method.pinch, table_gap_m=0.0)))
    pinches = found.draw(used, torch.zeros(len(used)), 256, np.random.default_rng(0))
    rise = pinches.normals[:, used, 2].arcsin()
    r = float(found.radii[0])
    torch.testing.assert_close(rise, torch.full_like(rise, math.asin((r - 0.010) / r)), atol=0.02, rtol=0)
    assert (pinches.margin > 0).all()


def test_what_balls_cannot_pinch_is_left(hand: Hand, method: FingertipGrasps) -> None:
    """A coin of 3 mm lies deeper than the friction cone allows."""
    found, used = finder(hand, coin(0.003), method)
    assert len(found.draw(used, torch.zeros(len(used)), 64, np.random.default_rng(0)).axis) == 0


def test_a_coin_of_ten_millimetres_is_lifted_from_above(
    small: Target, pinched: Candidates, grasp_settings: GraspSettings
) -> None:
    labeler = GraspLabeler(small, get_protocol("scene-lift"), grasp_settings.quality)
    labeled = labeler.label_grasps(labeler.drop_unfit(pinched).grasps)
    assert labeled.success.sum() >= 2
    assert (labeled.grasp_type == GraspType.PRECISION).all()
    hand = small.hand
    pose = GraspPose.from_hand_pose(
        torch.as_tensor(labeled.grasps.hand_pose[labeled.success], dtype=torch.float32)
    )
    palm = (pose.rotation @ hand.palm_center) + pose.translation
    assert (palm[:, 2] > 0.05).all()


def test_only_fingertips_touch_and_nothing_is_in_the_table(
    hand: Hand, small: Target, pinched: Candidates
) -> None:
    tips, grasps = Fingertips(hand), pinched.grasps
    pose = GraspPose.from_hand_pose(torch.as_tensor(grasps.hand_pose, dtype=torch.float32))
    centers, _ = tips.place(pose.matrix(), pose.qpos)
    gap = small.distance.target_exact(centers) - tips.radii
    touching = gap.abs() < 1.5e-3
    np.testing.assert_array_equal(touching.sum(1), pinched.fingers)
    assert touching[:, hand.finger_names.index(hand.thumb)].all()
    opened = GraspPose(
        pose.translation, pose.rotation, torch.as_tensor(grasps.pregrasp_qpos, dtype=torch.float32)
    )
    assert (small.distance.target_clearance(small.balls.world(opened)) > 0).all()
    for at in (pose, opened):
        points, _ = hand.surface_points(at)
        assert (points[..., 2] >= -1e-5).all()
    limits = hand.joint_limits.numpy()
    for qpos in (grasps.hand_pose[:, 3:-4], grasps.pregrasp_qpos, grasps.squeeze_qpos):
        assert (qpos >= limits[:, 0] - 1e-6).all() and (qpos <= limits[:, 1] + 1e-6).all()


def test_same_seed_same_grasps(method: FingertipGrasps, small: Target, pinched: Candidates) -> None:
    again = method.proposer(small).propose(8, np.random.default_rng(0))
    np.testing.assert_array_equal(again.grasps.hand_pose, pinched.grasps.hand_pose)
    np.testing.assert_array_equal(again.grasps.squeeze_qpos, pinched.grasps.squeeze_qpos)
    other = method.proposer(small).propose(8, np.random.default_rng(1))
    assert not np.array_equal(other.grasps.hand_pose, pinched.grasps.hand_pose)


def test_fingers_are_those_of_the_hands_card_whatever_their_names_and_order(
    hand: Hand, method: FingertipGrasps
) -> None:
    """The same hand, its thumb listed first and all fingers renamed, pinches just so."""
    known = hand.description.semantics
    assert known.fingers is not None
    names = [hand.thumb, *(name for name in hand.finger_names if name != hand.thumb)]
    fingers = {f"digit {k}": known.fingers[name] for k, name in enumerate(names)}
    semantics = replace(known, fingers=fingers, thumb="digit 0")
    other = Hand(replace(hand.description, semantics=semantics))
    few = replace(method, postures=replace(method.postures, drawn=1024))
    made = few.proposer(prepare(other, coin(0.02), 0)).propose(6, np.random.default_rng(0))
    assert len(made.grasps) == 6
    pose = GraspPose.from_hand_pose(torch.as_tensor(made.grasps.hand_pose, dtype=torch.float32))
    tips = Fingertips(other)
    centers, _ = tips.place(pose.matrix(), pose.qpos)
    gap = prepare(other, coin(0.02), 0).distance.target_exact(centers) - tips.radii
    assert (gap[:, 0].abs() < 1.5e-3).all()


def test_an_object_out_of_reach_gets_no_grasp(hand: Hand, method: FingertipGrasps) -> None:
    wide = prepare(hand, lying(box(0.3, 0.3, 0.01)), 0)
    assert len(method.proposer(wide).propose(4, np.random.default_rng(0)).grasps) == 0


def test_postures_oppose_the_thumb(hand: Hand, method: FingertipGrasps) -> None:
    tips, thumb = Fingertips(hand), hand.finger_names.index(hand.thumb)
    for postures in all_postures(hand, method.fingers, method.postures):
        T = torch.eye(4).expand(len(postures.qpos), 4, 4)
        _, pads = tips.place(T, postures.qpos)
        assert ((pads[:, thumb] * postures.axis).sum(-1) > method.postures.min_opposition).all()
        assert (postures.width_m > 0).all()
        assert postures.rank[postures.used].sum() == 0


def test_sets_of_fingers(hand: Hand) -> None:
    assert finger_sets(hand, (1, 2)).sum(1).tolist() == [2, 2, 2, 3, 3]
    assert finger_sets(hand, (1,))[:, hand.finger_names.index(hand.thumb)].all()
    with pytest.raises(ValueError, match=r"fingers: expected \[1\], \[2\] or \[1, 2\]"):
        finger_sets(hand, (3,))


def test_the_lower_an_object_the_more_precision_grasps(
    hand: Hand, method: FingertipGrasps, sim_close: SimClose
) -> None:
    mixed = Mixture(precision=method, power=sim_close, heights_m=(0.02, 0.06), least_precision=0.3)
    shares = [
        mixed.precision_share(prepare(hand, lying(box(0.03, 0.03, height)), 0))
        for height in (0.01, 0.04, 0.1)
    ]
    np.testing.assert_allclose(shares, [1.0, 0.65, 0.3], atol=1e-6)
    afloat = replace(coin(), table=False)
    assert mixed.precision_share(prepare(hand, afloat, 0)) == 0.3
    assert set(mixed.needs) == {*method.needs, *sim_close.needs}


def test_both_methods_of_a_mixture_propose(hand: Hand, method: FingertipGrasps, sim_close: SimClose) -> None:
    mixed = Mixture(precision=method, power=sim_close, heights_m=(0.02, 0.06), least_precision=0.5)
    target = prepare(hand, lying(box(0.04, 0.05, 0.07)), 0)
    made = mixed.proposer(target).propose(8, np.random.default_rng(0))
    alone = method.proposer(target).propose(4, np.random.default_rng(0))
    assert 4 < len(made.grasps) <= 8 and len(made.fingers) == len(made.grasps)
    assert (made.fingers[: len(alone.fingers)] >= 2).all()
