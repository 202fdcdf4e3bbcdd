"""Do augmented points look as a depth camera and a segmentation could have made them?"""

from dataclasses import fields, replace

import pytest
import torch
from torch.testing import assert_close

from factories.batches import SURE, batch, chain, hand_to_cloud
from sceneleapultra.datasets.augmentation.sensor import rays
from sceneleapultra.utils.batch import GraspBatch


def test_jitter_moves_points_by_its_deviation_and_nothing_else() -> None:
    before = batch()
    before.point_valid[:, 150:] = False
    after = chain("jitter", sigma_m=0.002)(before)
    moved = after.scene_pc - before.scene_pc
    assert moved[:, 150:].abs().max() == 0.0
    assert moved[:, :150].std() == pytest.approx(0.002, rel=0.08)  # 1800 numbers: 1.7 % standard error
    changed = {f.name for f in fields(GraspBatch) if getattr(after, f.name) is not getattr(before, f.name)}
    assert changed == {"scene_pc"}


@pytest.mark.parametrize("name", ["depth_noise", "quantization", "edge_pixels"])
def test_a_depth_camera_moves_points_along_their_rays(name: str) -> None:
    before = batch()
    direction, distance = rays(before)
    seen, moved = rays(chain(name)(before))
    assert_close(seen, direction, rtol=0, atol=1e-5)
    assert 1e-5 < (moved - distance).abs().max() < 0.8


def test_depth_noise_grows_with_the_range() -> None:
    """At 1.4 m the deviation is 0.0012 + 0.0019 m = 3.1 mm."""
    before = batch(16)
    direction, _ = rays(before)
    before = replace(before, scene_pc=before.viewpoint[:, None] + 1.4 * direction)
    _, moved = rays(chain("depth_noise")(before))
    assert (moved - 1.4).std() == pytest.approx(0.0031, rel=0.06)  # 3200 numbers: 1.3 % standard error


def test_quantized_ranges_are_steps_that_grow_with_their_square() -> None:
    before = batch()
    _, ranges = rays(before)
    _, moved = rays(chain("quantization", step_m_at_1m=0.01)(before))
    steps = 1.0 / moved / 0.01
    assert_close(steps, steps.round(), rtol=0, atol=1e-3)
    # Half a step at range r is 0.005 r^2.
    assert ((moved - ranges).abs() <= 0.0055 * ranges**2).all()


def test_flying_pixels_fly_between_two_sides_of_a_jump() -> None:
    """A near patch in front of a far wall: only points at the rim move, and none beyond either side."""
    y = torch.linspace(-0.2, 0.2, 21)
    wall = torch.cartesian_prod(y, y)
    near = (wall.abs() < 0.1).all(-1)
    points = torch.cat((wall, torch.where(near, 0.5, 1.0)[:, None]), 1)
    points[:, :2] *= points[:, 2:]  # one ray for each place
    n = len(points)
    before = GraspBatch(
        points[None], torch.ones(1, n, dtype=torch.bool), near[None], torch.zeros(1, 3), torch.tensor([[0.0, -1, 0]]),
        torch.eye(4)[None], draw_key=torch.tensor([3]),
    )  # fmt: skip
    _, ranges = rays(before)
    _, moved = rays(chain("edge_pixels", share=1.0)(before))
    flown = ((moved - ranges).abs() > 1e-4)[0]
    rim = (wall.abs() < 0.13).all(-1) & ~(wall.abs() < 0.07).all(-1)
    assert flown.sum() > 20 and not (flown & ~rim).any()
    assert (moved[0, flown] > 0.5).all() and (moved[0, flown] < 1.06).all()


REMOVING = ("holes", "occlusion", "background", "density")


@pytest.mark.parametrize("name", REMOVING)
def test_what_is_left_keeps_its_order_and_its_mask(name: str) -> None:
    before = batch()
    after = chain(name)(before)
    assert (after.point_valid.sum(1) < before.point_valid.sum(1)).any()
    assert (after.object_mask & after.point_valid).sum(1).min() >= 1
    for i in range(before.size):
        n = int(after.point_valid[i].sum())
        assert after.point_valid[i, :n].all() and not after.point_valid[i, n:].any()
        assert (after.scene_pc[i, n:] == 0).all() and not after.object_mask[i, n:].any()
        same = (after.scene_pc[i, :n, None] == before.scene_pc[i]).all(-1)
        row = same.float().argmax(1)
        assert same.any(1).all() and (row.diff() > 0).all()
        assert torch.equal(after.object_mask[i, :n], before.object_mask[i, row])
        assert torch.equal(after.scene_rgb[i, :n], before.scene_rgb[i, row])  # type: ignore[index]


def test_an_occluder_hides_a_cone_and_leaves_enough_of_the_target() -> None:
    before = batch(32)
    direction, _ = rays(before)
    target = before.object_mask.sum(1)
    after = chain("occlusion", max_radius_deg=60.0, min_visible=0.7)(before)
    left = (after.object_mask & after.point_valid).sum(1)
    assert (left >= 0.7 * target - 1e-6).all() and (left < target).any()
    for i in range(before.size):
        kept = (before.scene_pc[i, :, None] == after.scene_pc[i, after.point_valid[i]]).all(-1).any(1)
        # About some point of the target, all hidden rays are nearer than all seen ones: a cone, at every range.
        cosine = direction[i] @ direction[i, before.object_mask[i]].T
        assert ((cosine[~kept].amin(0) if (~kept).any() else 1.0) >= cosine[kept].amax(0) - 1e-6).any()


def test_background_leaves_the_target_alone() -> None:
    before = batch()
    after = chain("background")(before)
    assert torch.equal(after.point_valid.sum(1), before.object_mask.sum(1))
    assert (after.object_mask == after.point_valid).all()


def test_density_keeps_a_share_between_its_bounds() -> None:
    share = chain("density", min_share=0.4)(batch(64)).point_valid.float().mean(1)
    assert share.min() > 0.25 and share.max() > 0.9
    assert share.mean() == pytest.approx(0.7, abs=0.08)  # deviation of 64 uniform numbers: 0.022


@pytest.mark.parametrize(("erode", "dilate"), [(0.01, 0.0), (0.0, 0.01)])
def test_masks_wear_and_grow_at_their_border(erode: float, dilate: float) -> None:
    before = batch(16)
    after = chain("mask_noise", erode_m=erode, dilate_m=dilate)(before)
    shrunk = (before.object_mask & ~after.object_mask).sum(1)
    grown = (after.object_mask & ~before.object_mask).sum(1)
    assert (grown if dilate else shrunk).sum() > 0 and (shrunk if dilate else grown).sum() == 0
    changed = before.object_mask != after.object_mask
    away = torch.cdist(before.scene_pc, before.scene_pc)
    other = before.object_mask[:, None] != before.object_mask[..., None]
    border = away.masked_fill(~other, torch.inf).amin(-1)
    assert border[changed].max() <= 0.01
    assert (2 * after.object_mask.sum(1) >= before.object_mask.sum(1)).all()


def test_colors_change_by_their_gain() -> None:
    before = batch(8)
    after = chain("color")(before)
    assert before.scene_rgb is not None and after.scene_rgb is not None
    dark = (before.scene_rgb < 100) & (before.scene_rgb > 20)
    ratio = after.scene_rgb[dark].float() / before.scene_rgb[dark].float()
    assert ratio.min() > 1 / 1.3 / 1.1 - 0.04 and ratio.max() < 1.3 * 1.1 + 0.04
    assert ratio.std() > 0.05
    assert after.scene_pc is before.scene_pc


def test_a_distractor_stands_on_the_table_beside_the_target() -> None:
    before = batch(8)
    after = chain("clutter", max_points=40, shadow_deg=0.0, gap_m=[0.03, 0.05])(before)
    for i in range(before.size):
        same = (after.scene_pc[i, :, None] == before.scene_pc[i]).all(-1).any(1)
        new = after.scene_pc[i, ~same & after.point_valid[i]]
        own = before.scene_pc[i, before.object_mask[i]]
        donor = before.scene_pc[(i + 1) % 8, before.object_mask[(i + 1) % 8]]
        assert 20 < len(new) <= 40
        gap = torch.cdist(new[:, :2], own[:, :2]).min()
        assert gap >= 0.03 - 1e-5
        assert new[:, 2].min() >= donor[:, 2].min() - 1e-5 and new[:, 2].max() <= donor[:, 2].max() + 1e-5
    assert torch.equal(after.object_mask.sum(1), before.object_mask.sum(1))


@pytest.mark.parametrize("name", ["clutter", *REMOVING])
def test_points_keep_their_class(name: str) -> None:
    """A point that stayed where it was is of the class it was; inserted ones are of another object, padding of none."""
    before = batch(8)
    after = chain(name)(before)
    assert before.point_class is not None and after.point_class is not None
    for i in range(8):
        there = after.point_valid[i]
        away = (after.scene_pc[i][there][:, None] - before.scene_pc[i]).norm(dim=-1)
        stayed = away.amin(1) == 0.0
        found = after.point_class[i][there]
        assert torch.equal(found[stayed], before.point_class[i][away.argmin(1)[stayed]])
        assert (found[~stayed] == 2).all() and (name == "clutter" or stayed.all())
        assert (after.point_class[i][~there] == 255).all()


def test_a_distractor_makes_grasps_that_touch_it_invalid() -> None:
    before = batch(8)
    after = chain("clutter", gap_m=[0.0, 0.01])(before)
    assert before.grasp_valid is not None and after.grasp_valid is not None
    dropped = before.grasp_valid & ~after.grasp_valid
    assert dropped.any() and after.grasp_valid.any() and not (after.grasp_valid & ~before.grasp_valid).any()
    # What stays valid is clear of every point that is new.
    away = hand_to_cloud(after)
    for i in range(8):
        same = (after.scene_pc[i, :, None] == before.scene_pc[i]).all(-1).any(1)
        new = ~same & after.point_valid[i]
        nearest = away[i][:, new].amin(-1)
        assert (nearest[after.grasp_valid[i]] >= SURE["clutter"]["clearance_m"] - 1e-5).all()


def test_what_stands_behind_a_distractor_is_hidden() -> None:
    before = batch(8)
    plain = chain("clutter", shadow_deg=0.0)(before)
    shaded = chain("clutter", shadow_deg=3.0)(before)
    assert (shaded.point_valid.sum(1) < plain.point_valid.sum(1)).any()
    target = (before.object_mask & before.point_valid).sum(1)
    assert (2 * (shaded.object_mask & shaded.point_valid).sum(1) >= target).all()
